"""Checks a program before it runs: names, shapes, formats, and that no intermediate integer can overflow.

A program file is untrusted input. After `validate` the machine can run it without another check.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hwsim.program import operations as ops
from hwsim.program.operations import Operation, written
from hwsim.program.program import ANEW, ARITHMETIC, EARLIER, ConstantInfo, Dimension, Function, Program, TensorInfo
from hwsim.program.proofs import Interval
from hwsim.program.targets import target
from hwsim.program.validate import products, rows, sums
from hwsim.program.validate.checker import Checker
from hwsim.program.validate.limits import check_limits

CHECKS: dict[type[Operation], Callable[[Checker, Any], None]] = {
    ops.Embed: products.embed,
    ops.MatMul: products.matmul,
    ops.ShiftRight: products.shift_right,
    ops.Relu: products.relu,
    ops.Requantize: products.requantize,
    ops.SplitHeads: products.split_heads,
    ops.MergeHeads: products.merge_heads,
    ops.ProjectHeads: products.project_heads,
    ops.Append: products.append,
    ops.Softmax: rows.softmax,
    ops.GemmlowpSoftmax: rows.gemmlowp_softmax,
    ops.IBertSoftmax: rows.ibert_softmax,
    ops.ItaMax: rows.itamax,
    ops.GemminiSoftmax: rows.gemmini_softmax,
    ops.PulpSoftmax: rows.pulp_softmax,
    ops.Int16Softmax: rows.int16_softmax,
    ops.QLinearSoftmax: rows.qlinear_softmax,
    ops.LayerNorm: rows.layernorm,
    ops.IBertLayerNorm: rows.ibert_layernorm,
    ops.PulpLayerNorm: rows.pulp_layernorm,
    ops.TfliteLayerNorm: rows.tflite_layernorm,
    ops.GemminiLayerNorm: rows.gemmini_layernorm,
    ops.Add: sums.add,
    ops.RescaledAdd: sums.rescaled_add,
}


def validate(program: Program) -> dict[str, Interval]:
    """Check a program; returns the interval of every accumulator, by tensor name.

    Raises
    ------
    ValueError
        Names the function, the operation's output and what is wrong.
    """
    manifest = program.manifest
    _check_arithmetic(program)
    target(manifest.target)
    for kind, names in (
        ("tensor", [t.name for t in manifest.tensors] + [c.name for c in manifest.constants]),
        ("function", [f.name for f in manifest.functions]),
        ("dimension", [d.name for d in manifest.dimensions]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                raise ValueError(f"{kind} {name} is declared twice")
    run = _Validation(program)
    for dimension in manifest.dimensions:
        run.dimension(dimension)
    for constant in manifest.constants:
        run.constant(constant)
    for info in manifest.tensors:
        run.tensor(info)
    for function in manifest.functions:
        run.function(function)
    for state in manifest.states:
        run.state(state.function, state.past, state.present)
    check_limits(run.checker)
    return run.checker.reach


def _check_arithmetic(program: Program) -> None:
    """Refuse an arithmetic that is unknown, or an earlier one if an operation meant something else in it."""
    given = program.manifest.arithmetic
    if given == ARITHMETIC:
        return
    if given not in EARLIER:
        raise ValueError(f"arithmetic {given!r}; this hwsim knows {ARITHMETIC!r}; {ANEW}")
    for _, operation in program.operations():
        if (tag := operation.__struct_config__.tag) in EARLIER[given]:
            raise ValueError(
                f"{operation.output}: {tag} was another in arithmetic {given!r} than in {ARITHMETIC!r}; {ANEW}"
            )


class _Validation:
    """The state of one validation: which tensors exist, and how far accumulators reach."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.checker = Checker(program)
        self.sizes: set[str] = set()
        self.made: set[str] = set()
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
        self.checker.inputs = set(function.inputs)
        self.defined = set(function.inputs)
        for name in function.inputs:
            self.checker.info(name)
        for operation in function.operations:
            try:
                self._operation(operation)
            except ValueError as error:
                raise ValueError(f"function {function.name}, {operation.output}: {error}") from error
        for name in function.outputs:
            if name not in self.defined or name in self.checker.inputs:
                raise ValueError(f"function {function.name}: output {name} is never made")

    def state(self, function: str, past: str, present: str) -> None:
        owner = self.program.functions.get(function)
        if owner is None or past not in owner.inputs or present not in owner.outputs:
            raise ValueError(f"state {present}: {past} must be an input and {present} an output of {function!r}")
        self.checker.same_codes(past, present)
        before, after = self.checker.dims(past), self.checker.dims(present)
        if len(before) != 4 or before[:2] + before[3:] != after[:2] + after[3:]:
            raise ValueError(f"state {present}: {before} and {after} differ outside the position axis")

    def _operation(self, operation: Operation) -> None:
        for name in self.program.inputs_of(operation):
            if name not in self.defined:
                raise ValueError(f"reads {name}, which is not made before")
        for name in written(operation):
            if name in self.defined or name in self.made:
                raise ValueError(f"{name} is made twice")
            self.checker.info(name)
            self.defined.add(name)
            self.made.add(name)
        CHECKS[type(operation)](self.checker, operation)
