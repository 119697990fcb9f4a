"""Runs a program: codes in, codes out, every tensor observable, every event counted."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim import activation, embedding, gemm, layernorm, requantize, residual, softmax
from hwsim.formats import Accumulator, Counter, IntFormat, Overflow
from hwsim.program import (
    Add,
    Append,
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
    written,
)
from hwsim.validate import validate

Array = NDArray[Any]
Observer = Callable[[str, Array], None]


class Scale(NamedTuple):
    """A requantization with its constants at hand, int64 (1,) or (channels,)."""

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]


class Machine:
    """A validated program, ready to run.

    Parameters
    ----------
    program
        Validated here, which also proves its accumulators.

    Attributes
    ----------
    counters
        Tensor -> events (int64, one element a `Counter` member) of the operation that made it, over all runs so far.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.reach = validate(program)
        self.counters: dict[str, NDArray[np.int64]] = {}
        self._operands: dict[str, gemm.Prepared] = {}
        self._scales: dict[Dyadic, Scale] = {}
        self._run = {
            Embed: self._embed,
            MatMul: self._matmul,
            ShiftRight: self._shift_right,
            Relu: self._relu,
            Requantize: self._requantize,
            SplitHeads: self._split_heads,
            MergeHeads: self._merge_heads,
            Append: self._append,
            Softmax: self._softmax,
            LayerNorm: self._layernorm,
            Add: self._add,
        }

    def run(self, function: str, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
        """Run one function.

        Parameters
        ----------
        function
            Its name, `encode` or `decode_step`.
        inputs
            One integer array for each of the function's inputs; codes must lie within their format.
        observe
            Called with (name, array) for every tensor, in the order in which they are made. It must not change them.

        Returns
        -------
        dict
            The function's outputs by name, int32 codes.

        Raises
        ------
        ValueError
            If an input is missing, unknown, of the wrong shape, or holds a value outside its format.
        """
        if function not in self.program.functions:
            raise ValueError(f"unknown function {function!r}; the program has {', '.join(self.program.functions)}")
        definition = self.program.functions[function]
        values = self._bind(definition, inputs)
        for operation in definition.operations:
            self._run[type(operation)](operation, values)  # type: ignore[operator]
            if observe is not None:
                for name in written(operation):
                    observe(name, values[name])
        return {name: values[name] for name in definition.outputs}

    @property
    def totals(self) -> dict[Counter, int]:
        """Events of all runs, over all tensors."""
        total = sum(self.counters.values(), np.zeros(len(Counter), np.int64))
        return {counter: int(total[counter]) for counter in Counter}

    # --- inputs -------------------------------------------------------------------------------------------------

    def _bind(self, function: Function, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Check the inputs and find out what each symbolic dimension is in this call."""
        if set(inputs) != set(function.inputs):
            missing, extra = set(function.inputs) - set(inputs), set(inputs) - set(function.inputs)
            raise ValueError(f"{function.name}: missing inputs {sorted(missing)}, unknown inputs {sorted(extra)}")
        sizes: dict[str, int] = {}
        values = {}
        for name in function.inputs:
            array = np.asarray(inputs[name])
            info = self.program.tensors[name]
            if array.dtype.kind not in "iub":
                raise ValueError(f"input {name} has dtype {array.dtype}; integers are needed")
            self._check_shape(name, array.shape, info.dims, sizes)
            if array.size and not (info.format.min <= array.min() and array.max() <= info.format.max):
                raise ValueError(f"input {name} holds a value outside {info.format}")
            wide = info.format.bits > 31
            values[name] = np.asarray(array, np.int64 if wide else np.int32, order="C")
        self._check_sums(function.name, sizes)
        return values

    def _check_sums(self, function: str, sizes: dict[str, int]) -> None:
        """Check the dimensions that are sums; a sum of sums comes after its terms."""
        for dimension in self.program.manifest.dimensions:
            if dimension.terms and all(term in sizes for term in dimension.terms):
                total, what = sum(sizes[term] for term in dimension.terms), " + ".join(dimension.terms)
                if total > dimension.maximum:
                    raise ValueError(f"{function}: {what} is {total}, {dimension.name} has at most {dimension.maximum}")
                if sizes.setdefault(dimension.name, total) != total:
                    raise ValueError(f"{function}: {dimension.name} is {sizes[dimension.name]}, but {what} is {total}")

    def _check_shape(self, name: str, shape: tuple[int, ...], dims: list[str | int], sizes: dict[str, int]) -> None:
        if len(shape) != len(dims):
            raise ValueError(f"input {name} has shape {shape}; its dimensions are {dims}")
        for size, dim in zip(shape, dims, strict=True):
            wanted = sizes.setdefault(dim, size) if isinstance(dim, str) else dim
            limit = self.program.dimensions[dim].maximum if isinstance(dim, str) else dim
            if size != wanted or size > limit:
                raise ValueError(f"input {name} has shape {shape}: {dim} is {size}, needed {min(wanted, limit)}")

    # --- what operations need -----------------------------------------------------------------------------------

    def _events(self, name: str) -> NDArray[np.int64]:
        if name not in self.counters:
            self.counters[name] = np.zeros(len(Counter), np.int64)
        return self.counters[name]

    def _zero(self, name: str) -> int:
        return self.program.tensors[name].zero_point

    def _format(self, name: str) -> IntFormat:
        return self.program.tensors[name].format

    def _scale(self, dyadic: Dyadic) -> Scale:
        if dyadic not in self._scales:
            fields = (dyadic.multiplier, dyadic.shift)
            self._scales[dyadic] = Scale(
                *(
                    self.program.constants[f].astype(np.int64) if isinstance(f, str) else np.array([f], np.int64)
                    for f in fields
                )
            )
        return self._scales[dyadic]

    def _single(self, dyadic: Dyadic) -> tuple[int, int]:
        scale = self._scale(dyadic)
        return int(scale.multiplier[0]), int(scale.shift[0])

    def _operand(self, name: str) -> gemm.Prepared:
        if name not in self._operands:
            zero_point = self.program.constant_info[name].zero_point
            self._operands[name] = gemm.prepare(self.program.constants[name].astype(np.int32), zero_point)
        return self._operands[name]

    def _effective(self, operation: MatMul) -> Accumulator:
        """An accumulator that provably never overflows may be summed in any order, whatever its overflow rule."""
        accumulator, reach = operation.accumulator, self.reach[operation.output]
        if accumulator.min < reach.low and reach.high < accumulator.max:
            return Accumulator(bits=accumulator.bits, overflow=Overflow.PROVEN)
        return accumulator

    # --- operations ---------------------------------------------------------------------------------------------

    def _embed(self, op: Embed, values: dict[str, Array]) -> None:
        multiplier = self._scale(Dyadic(multiplier=op.multiplier, shift=op.shift)).multiplier
        table, positions = self._operand(op.table).codes, self._operand(op.positions).codes
        ids, position = values[op.ids].astype(np.int64), int(values[op.position])
        if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
            raise ValueError(f"{op.ids} holds {ids.min()} to {ids.max()}; the vocabulary has 0 to {len(table) - 1}")
        if not 0 <= position <= len(positions) - ids.shape[1]:
            raise ValueError(
                f"{op.position} is {position} for {ids.shape[1]} ids; there are {len(positions)} positions"
            )
        values[op.output] = embedding.embed(
            ids,
            position,
            table,
            multiplier,
            positions,
            op.position_multiplier,
            op.shift,
            self._zero(op.output),
            self._format(op.output),
            self._events(op.output),
        )

    def _matmul(self, op: MatMul, values: dict[str, Array]) -> None:
        if op.b in self.program.constants:
            b: Array | gemm.Prepared = self._operand(op.b)
            zero = self._operand(op.b).zero
        else:
            b, zero = values[op.b], self._zero(op.b)
            b = np.ascontiguousarray(b.swapaxes(-1, -2)) if op.transpose_b else b
        bias = None if op.bias is None else self.program.constants[op.bias].astype(np.int64)
        values[op.output] = gemm.matmul(
            values[op.a],
            b,
            bias,
            a_zero=self._zero(op.a),
            b_zero=zero,
            accumulator=self._effective(op),
            counters=self._events(op.output),
        )

    def _shift_right(self, op: ShiftRight, values: dict[str, Array]) -> None:
        values[op.output] = requantize.shift_right(values[op.input], op.shift, self._events(op.output))

    def _relu(self, op: Relu, values: dict[str, Array]) -> None:
        values[op.output] = activation.relu(values[op.input])

    def _requantize(self, op: Requantize, values: dict[str, Array]) -> None:
        scale, output = self._scale(op.requantization), op.output
        values[output] = requantize.requantize(
            values[op.input],
            scale.multiplier,
            scale.shift,
            self._zero(output),
            self._format(output),
            self._events(output),
        )

    def _split_heads(self, op: SplitHeads, values: dict[str, Array]) -> None:
        heads = self.program.tensors[op.output].dims[1]
        batch, length, inner = values[op.input].shape
        split = values[op.input].reshape(batch, length, int(heads), inner // int(heads))
        values[op.output] = np.array(split.swapaxes(1, 2), order="C")

    def _merge_heads(self, op: MergeHeads, values: dict[str, Array]) -> None:
        batch, heads, length, d_head = values[op.input].shape
        merged = np.array(values[op.input].swapaxes(1, 2), order="C")
        values[op.output] = merged.reshape(batch, length, heads * d_head)

    def _append(self, op: Append, values: dict[str, Array]) -> None:
        values[op.output] = np.concatenate((values[op.past], values[op.input]), axis=2)

    def _softmax(self, op: Softmax, values: dict[str, Array]) -> None:
        scores = values[op.input]
        rows = math.prod(scores.shape[:-1]), scores.shape[-1]
        allowed = np.ones(scores.shape, np.bool_)
        if op.mask is not None:
            allowed &= values[op.mask].astype(np.bool_)[:, None, None, :]
        (m_d, e_d), (m_o, e_o) = self._single(op.denominator_requantization), self._single(op.output_requantization)
        codes = softmax.softmax(
            scores.reshape(rows),
            allowed.reshape(rows),
            self._table(op.table),
            denominator_multiplier=m_d,
            denominator_shift=e_d,
            denominator=self._format(op.denominator),
            output_multiplier=m_o,
            output_shift=e_o,
            output=self._format(op.output),
            counters=self._events(op.output),
        )
        values[op.numerator] = codes.numerator.reshape(scores.shape)
        values[op.denominator] = codes.denominator.reshape(*scores.shape[:-1], 1)
        values[op.output] = codes.output.reshape(scores.shape)

    def _table(self, name: str) -> NDArray[np.int32]:
        return self.program.constants[name].astype(np.int32)

    def _layernorm(self, op: LayerNorm, values: dict[str, Array]) -> None:
        numerator, denominator = op.numerator_requantization, op.denominator_requantization
        constants = layernorm.LayerNormConstants(
            op.eps,
            *self._single(numerator),
            self._format(op.numerator),
            *self._single(denominator),
            self._format(op.denominator),
            *self._single(op.quotient_requantization),
            self._format(op.quotient),
            *self._single(op.output_requantization),
            self._zero(op.output),
            self._format(op.output),
        )
        gamma, beta = self.program.constants[op.gamma], self.program.constants[op.beta]
        codes = layernorm.layernorm(
            values[op.input],
            gamma.astype(np.int32),
            beta.astype(np.int64),
            constants,
            self._events(op.output),
        )
        values[op.numerator], values[op.denominator] = codes.numerator, codes.denominator
        values[op.quotient], values[op.output] = codes.quotient, codes.output

    def _add(self, op: Add, values: dict[str, Array]) -> None:
        values[op.output] = residual.add(
            values[op.a],
            values[op.b],
            a_zero=self._zero(op.a),
            b_zero=self._zero(op.b),
            a_multiplier=op.a_multiplier,
            b_multiplier=op.b_multiplier,
            shift=op.shift,
            zero_point=self._zero(op.output),
            output=self._format(op.output),
            counters=self._events(op.output),
        )


def operation_of(program: Program, tensor: str) -> Operation:
    """The operation that makes a tensor; the error lists similar names."""
    for _, operation in program.operations():
        if tensor in written(operation):
            return operation
    similar = [name for name in program.tensors if tensor.split(".")[-1] in name][:4]
    raise ValueError(f"no operation makes {tensor!r}; perhaps {', '.join(similar) or 'see `hwsim show`'}")
