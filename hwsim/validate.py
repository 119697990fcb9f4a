"""Checks a program before it runs: names, shapes, formats, and that no intermediate integer can overflow.

A program file is untrusted input. After `validate` the machine can run it without another check.
"""

from collections import Counter

import numpy as np

from hwsim.formats import IntFormat, Overflow
from hwsim.program import (
    ARITHMETIC,
    Add,
    Append,
    ConstantInfo,
    Dimension,
    Dyadic,
    Embed,
    Function,
    LayerNorm,
    MatMul,
    MergeHeads,
    Operation,
    Program,
    Relu,
    Requantize,
    ShiftRight,
    Softmax,
    SplitHeads,
    TensorInfo,
    written,
)
from hwsim.proofs import Interval, activation_product, centred, check_accumulator, weight_product

CODE_BITS = 16
TABLE_BITS = 12
VARIANCE_LIMIT = 1 << 52
PRODUCT_LIMIT = 1 << 62
RANKS, MATRICES = range(1, 9), range(2, 9)
"""How many dimensions a tensor may have, and an operand of a matrix product."""
Dims = tuple[str | int, ...]


def validate(program: Program) -> dict[str, Interval]:
    """Check a program; returns the interval of every accumulator, by tensor name.

    Raises
    ------
    ValueError
        Names the function, the operation's output and what is wrong.
    """
    manifest = program.manifest
    if manifest.arithmetic != ARITHMETIC:
        raise ValueError(f"arithmetic {manifest.arithmetic!r}; this hwsim knows {ARITHMETIC!r}")
    for kind, names in (
        ("tensor", [t.name for t in manifest.tensors] + [c.name for c in manifest.constants]),
        ("function", [f.name for f in manifest.functions]),
        ("dimension", [d.name for d in manifest.dimensions]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                raise ValueError(f"{kind} {name} is declared twice")
    checker = _Checker(program)
    for dimension in manifest.dimensions:
        checker.dimension(dimension)
    for constant in manifest.constants:
        checker.constant(constant)
    for info in manifest.tensors:
        checker.tensor(info)
    for function in manifest.functions:
        checker.function(function)
    for state in manifest.states:
        checker.state(state.function, state.past, state.present)
    return checker.reach


class _Checker:
    """The state of one validation: which tensors exist, and how far accumulators reach."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.reach: dict[str, Interval] = {}
        self.sizes: set[str] = set()
        self.made: set[str] = set()
        self.inputs: set[str] = set()
        self.defined: set[str] = set()

    def dimension(self, dimension: Dimension) -> None:
        for term in dimension.terms:
            if term not in self.sizes:
                raise ValueError(f"dimension {dimension.name}: its term {term!r} is not declared before it")
        self.sizes.add(dimension.name)

    def constant(self, info: ConstantInfo) -> None:
        if not info.format.min <= info.zero_point <= info.format.max:
            raise ValueError(f"constant {info.name}: zero point {info.zero_point} is not a code of {info.format}")

    def tensor(self, info: TensorInfo) -> None:
        for dim in info.dims:
            if isinstance(dim, str) and dim not in self.program.dimensions:
                raise ValueError(f"tensor {info.name}: unknown dimension {dim!r}")
            if isinstance(dim, int) and dim < 1:
                raise ValueError(f"tensor {info.name}: dimension {dim}; sizes are at least 1")
        if not info.format.min <= info.zero_point <= info.format.max:
            raise ValueError(f"tensor {info.name}: zero point {info.zero_point} is not a code of {info.format}")

    def function(self, function: Function) -> None:
        self.inputs = set(function.inputs)
        self.defined = set(function.inputs)
        for name in function.inputs:
            self._info(name)
        for operation in function.operations:
            try:
                self._operation(operation)
            except ValueError as error:
                raise ValueError(f"function {function.name}, {operation.output}: {error}") from error
        for name in function.outputs:
            if name not in self.defined or name in self.inputs:
                raise ValueError(f"function {function.name}: output {name} is never made")

    def state(self, function: str, past: str, present: str) -> None:
        owner = self.program.functions.get(function)
        if owner is None or past not in owner.inputs or present not in owner.outputs:
            raise ValueError(f"state {present}: {past} must be an input and {present} an output of {function!r}")
        self._same_codes(past, present)
        before, after = self._dims(past), self._dims(present)
        if len(before) != 4 or before[:2] + before[3:] != after[:2] + after[3:]:
            raise ValueError(f"state {present}: {before} and {after} differ outside the position axis")

    def _operation(self, operation: Operation) -> None:
        for name in self.program.inputs_of(operation):
            if name not in self.defined:
                raise ValueError(f"reads {name}, which is not made before")
        for name in written(operation):
            if name in self.defined or name in self.made:
                raise ValueError(f"{name} is made twice")
            self._info(name)
            self.defined.add(name)
            self.made.add(name)
        check = getattr(self, f"_{type(operation).__struct_config__.tag}")
        check(operation)

    # --- look-ups -----------------------------------------------------------------------------------------------

    def _info(self, name: str) -> TensorInfo:
        info = self.program.tensors.get(name)
        if info is None:
            raise ValueError(f"tensor {name} is not declared")
        return info

    def _dims(self, name: str, ranks: range = RANKS) -> Dims:
        dims = tuple(self._info(name).dims)
        if len(dims) not in ranks:
            raise ValueError(f"{name} has dimensions {dims}; the operation needs {ranks[0]} to {ranks[-1]} of them")
        return dims

    def _fixed(self, dim: str | int) -> int:
        if isinstance(dim, str):
            raise ValueError(f"dimension {dim!r} varies; the operation needs a fixed size")
        return dim

    def _maximum(self, dim: str | int) -> int:
        return dim if isinstance(dim, int) else self.program.dimensions[dim].maximum

    def _constant(self, name: str, shape: tuple[int, ...], *, code: bool = False, centred_at_zero: bool = True) -> None:
        if name not in self.program.constants:
            raise ValueError(f"constant {name} is not declared")
        if self.program.constants[name].shape != shape:
            raise ValueError(f"constant {name} has shape {self.program.constants[name].shape}, needed {shape}")
        info = self.program.constant_info[name]
        if code and info.format.bits > CODE_BITS:
            raise ValueError(f"constant {name} has {info.format.bits} bits; codes have 2 to {CODE_BITS}")
        if info.zero_point and centred_at_zero:
            raise ValueError(f"constant {name} has zero point {info.zero_point}; only a matmul's weight may have one")

    def _same_dims(self, *names: str) -> Dims:
        first = self._dims(names[0])
        for name in names[1:]:
            if self._dims(name) != first:
                raise ValueError(f"{name} has dimensions {self._dims(name)}, {names[0]} has {first}")
        return first

    def _code(self, name: str, *, signed: bool | None = None, centred_at_zero: bool = False) -> IntFormat:
        info = self._info(name)
        if info.format.bits > CODE_BITS:
            raise ValueError(f"{name} has {info.format.bits} bits; codes have 2 to {CODE_BITS}")
        if signed is not None and info.format.signed != signed:
            raise ValueError(f"{name} must be {'signed' if signed else 'unsigned'}")
        if centred_at_zero and info.zero_point:
            raise ValueError(f"{name} has zero point {info.zero_point}; the operation needs 0")
        return info.format

    def _dyadic(self, dyadic: Dyadic, channels: str | int, magnitude: int) -> None:
        """Check the constants of a requantization, and that |x|*m + 2^(e-1) stays below 2^63."""
        values = []
        for value, lowest, highest in ((dyadic.multiplier, 1, 65535), (dyadic.shift, 0, 62)):
            if isinstance(value, str):
                self._constant(value, (self._fixed(channels),))
                array = self.program.constants[value]
                if array.min() < lowest or array.max() > highest:
                    raise ValueError(f"constant {value} leaves {lowest}..{highest}")
                values.append(array.astype(object))
            else:
                values.append(np.array([value], dtype=object))
        worst = max(magnitude * m + (1 << e >> 1) for m, e in np.broadcast(*values))
        if worst >= 1 << 63:
            raise ValueError(f"|x| * multiplier + rounding reaches {worst}, at or above 2^63")

    # --- one check an operation ---------------------------------------------------------------------------------

    def _embed(self, op: Embed) -> None:
        *lead, width = self._dims(op.output, range(3, 4))
        self._dims(op.position, range(1))
        if tuple(lead) != self._dims(op.ids):
            raise ValueError(f"ids {self._dims(op.ids)} do not fit the output {self._dims(op.output)}")
        self._code(op.output)
        rows, positions = (len(self.program.constants.get(name, ())) for name in (op.table, op.positions))
        self._constant(op.table, (rows, self._fixed(width)), code=True)
        self._constant(op.positions, (positions, self._fixed(width)), code=True)
        if positions < self._maximum(lead[-1]):
            raise ValueError(f"{op.positions} has {positions} rows, {op.output} {self._maximum(lead[-1])} positions")
        self._dyadic(Dyadic(multiplier=op.multiplier, shift=op.shift), rows, 1 << 20)

    def _matmul(self, op: MatMul) -> None:
        left = centred(self._code(op.a), self._info(op.a).zero_point)
        *rows, terms = self._dims(op.a, MATRICES)
        *lead, columns = self._dims(op.output, MATRICES)
        if lead != rows:
            raise ValueError(f"{op.a} {self._dims(op.a)} does not fit the output {self._dims(op.output)}")
        output = self._info(op.output)
        if output.format != IntFormat(bits=op.accumulator.bits) or output.zero_point:
            raise ValueError(f"{op.output} must be as its accumulator, int{op.accumulator.bits} with zero point 0")
        if op.b in self.program.constants:
            reach = self._weight_product(op, left, columns, terms)
        else:
            if op.bias is not None:
                raise ValueError("a product of two activations has no bias")
            right = centred(self._code(op.b), self._info(op.b).zero_point)
            wanted = (*lead[:-1], terms, columns) if op.transpose_b else (*lead[:-1], columns, terms)
            if self._dims(op.b) != wanted:
                raise ValueError(f"{op.b} has dimensions {self._dims(op.b)}, needed {wanted}")
            reach = activation_product(left, right, self._maximum(terms))
        if op.accumulator.overflow is not Overflow.PROVEN and reach.magnitude >= PRODUCT_LIMIT:
            raise ValueError(f"products reach {reach.magnitude}, beyond 64-bit simulation")
        self.reach[op.output] = check_accumulator(op.output, reach, op.accumulator)

    def _weight_product(self, op: MatMul, left: Interval, columns: str | int, terms: str | int) -> Interval:
        if op.transpose_b:
            raise ValueError("a constant operand is stored (out, in); transpose_b is for activations")
        self._constant(op.b, (self._fixed(columns), self._fixed(terms)), code=True, centred_at_zero=False)
        if op.bias is not None:
            self._constant(op.bias, (self._fixed(columns),))
        bias = None if op.bias is None else self.program.constants[op.bias]
        return weight_product(left, self.program.constants[op.b] - self.program.constant_info[op.b].zero_point, bias)

    def _wide(self, name: str) -> Interval:
        if name not in self.reach or name in self.inputs:
            raise ValueError(f"{name} is not an accumulator of this function")
        return self.reach[name]

    def _shift_right(self, op: ShiftRight) -> None:
        reach, half = self._wide(op.input), 1 << op.shift >> 1
        self._same_dims(op.input, op.output)
        self._same_codes(op.input, op.output)
        self.reach[op.output] = Interval((reach.low - half) >> op.shift, (reach.high + half) >> op.shift)

    def _relu(self, op: Relu) -> None:
        reach = self._wide(op.input)
        self._same_dims(op.input, op.output)
        self._same_codes(op.input, op.output)
        self.reach[op.output] = Interval(max(0, reach.low), max(0, reach.high))

    def _requantize(self, op: Requantize) -> None:
        dims = self._same_dims(op.input, op.output)
        output = self._info(op.output).format
        if output.bits > CODE_BITS and (output != IntFormat(bits=32) or self._info(op.output).zero_point):
            raise ValueError(f"output format {output}; codes have 2 to {CODE_BITS} bits, logits are int32")
        self._dyadic(op.requantization, dims[-1], self._wide(op.input).magnitude)

    def _same_codes(self, a: str, b: str) -> None:
        first, second = self._info(a), self._info(b)
        if (first.format, first.zero_point) != (second.format, second.zero_point):
            raise ValueError(f"{a} and {b} differ in format or zero point")

    def _split_heads(self, op: SplitHeads) -> None:
        self._heads(op.output, op.input)

    def _merge_heads(self, op: MergeHeads) -> None:
        self._heads(op.input, op.output)

    def _heads(self, split: str, merged: str) -> None:
        self._same_codes(split, merged)
        batch, heads, length, d_head = self._dims(split, range(4, 5))
        if self._dims(merged) != (batch, length, self._fixed(heads) * self._fixed(d_head)):
            raise ValueError(f"{merged} {self._dims(merged)} is not {split} {self._dims(split)} merged")

    def _append(self, op: Append) -> None:
        for name in (op.past, op.input):
            self._same_codes(name, op.output)
        past, new, out = (self._dims(name, range(4, 5)) for name in (op.past, op.input, op.output))
        terms = self.program.dimensions[out[2]].terms if isinstance(out[2], str) else []
        if (past[:2], past[3]) != (out[:2], out[3]) or (new[:2], new[3]) != (out[:2], out[3]):
            raise ValueError("past, input and output differ outside the position axis")
        if terms != [past[2], new[2]]:
            raise ValueError(f"dimension {out[2]!r} must be the sum of {past[2]!r} and {new[2]!r}")

    def _softmax(self, op: Softmax) -> None:
        dims = self._same_dims(op.input, op.numerator, op.output)
        if self._dims(op.denominator) != (*dims[:-1], 1):
            raise ValueError(f"denominator has dimensions {self._dims(op.denominator)}")
        scores = self._code(op.input)
        if scores.bits > TABLE_BITS:
            raise ValueError(f"scores of {scores.bits} bits need a table of 2^{scores.bits}; allowed are {TABLE_BITS}")
        formats = [
            self._code(name, signed=False, centred_at_zero=True) for name in (op.numerator, op.denominator, op.output)
        ]
        self._constant(op.table, (1 << scores.bits,))
        table = self.program.constants[op.table]
        if table.min() < 0 or table.max() > formats[0].max:
            raise ValueError(f"table {op.table} leaves the numerator's format {formats[0]}")
        if op.mask is not None and (len(dims) != 4 or self._dims(op.mask) != (dims[0], dims[-1])):
            raise ValueError(f"mask {op.mask} has dimensions {self._dims(op.mask)}, needed {(dims[0], dims[-1])}")
        self._dyadic(op.denominator_requantization, 1, self._maximum(dims[-1]) * formats[0].max)
        self._quotient(op.output_requantization, formats[0].max, formats[1].max)

    def _quotient(self, dyadic: Dyadic, numerator: int, denominator: int) -> None:
        if isinstance(dyadic.multiplier, str) or isinstance(dyadic.shift, str):
            raise ValueError("a quotient has one multiplier and one shift, not one a channel")
        if denominator << dyadic.shift >= PRODUCT_LIMIT or numerator * dyadic.multiplier >= PRODUCT_LIMIT:
            raise ValueError(f"the quotient's shift {dyadic.shift} takes its operands beyond 62 bits")

    def _layernorm(self, op: LayerNorm) -> None:
        dims = self._same_dims(op.input, op.numerator, op.quotient, op.output)
        if self._dims(op.denominator) != (*dims[:-1], 1):
            raise ValueError(f"denominator has dimensions {self._dims(op.denominator)}")
        n, x = self._fixed(dims[-1]), self._code(op.input)
        numerator = self._code(op.numerator, signed=True, centred_at_zero=True)
        denominator = self._code(op.denominator, signed=False, centred_at_zero=True)
        quotient = self._code(op.quotient, signed=True, centred_at_zero=True)
        self._code(op.output)
        variance = n * n * (x.max - x.min) ** 2 // 4 + op.eps
        if variance >= VARIANCE_LIMIT:
            raise ValueError(f"n^2 * variance reaches {variance}, at or above 2^52; use fewer residual bits")
        self._dyadic(op.numerator_requantization, 1, n * (x.max - x.min))
        self._dyadic(op.denominator_requantization, 1, 1 << 26)
        self._quotient(op.quotient_requantization, -numerator.min, denominator.max)
        self._constant(op.gamma, (n,), code=True)
        self._constant(op.beta, (n,))
        gamma, beta = self.program.constants[op.gamma], self.program.constants[op.beta]
        reach = int(np.abs(gamma.astype(np.int64)).max()) * -quotient.min + int(np.abs(beta.astype(np.int64)).max())
        self._dyadic(op.output_requantization, 1, reach)

    def _add(self, op: Add) -> None:
        self._same_dims(op.output, op.a, op.b)
        for name in (op.output, op.a, op.b):
            self._code(name)
