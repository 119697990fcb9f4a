"""What a code was before it was rounded: the equations of docs/numerics.md and docs/operators in Python integers."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from analysis.proof.divergence import elementwise, heads, layernorms, softmaxes
from analysis.proof.divergence.element import Element, Index, Values
from analysis.proof.divergence.stage import Stage, tie_distance
from hwsim.machine import operation_of
from hwsim.program import Operation, Program
from hwsim.program import operations as ops

__all__ = ["STAGES", "Element", "Index", "Stage", "Values", "before_rounding", "stages", "tie_distance"]


def _nothing(operation: Operation, at: Element) -> None:
    """Exact, or only moved: nothing is rounded."""


STAGES: dict[type[Operation], Callable[[Any, Element], Stage | None]] = {
    ops.Embed: elementwise.embed,
    ops.MatMul: _nothing,
    ops.ShiftRight: elementwise.shift_right,
    ops.Relu: _nothing,
    ops.Requantize: elementwise.requantize,
    ops.SplitHeads: _nothing,
    ops.MergeHeads: _nothing,
    ops.ProjectHeads: heads.project_heads,
    ops.Append: _nothing,
    ops.Softmax: softmaxes.table,
    ops.GemmlowpSoftmax: softmaxes.gemmlowp,
    ops.IBertSoftmax: softmaxes.ibert,
    ops.ItaMax: softmaxes.itamax,
    ops.GemminiSoftmax: softmaxes.gemmini,
    ops.PulpSoftmax: softmaxes.pulp,
    ops.Int16Softmax: softmaxes.int16,
    ops.QLinearSoftmax: softmaxes.qlinear,
    ops.LayerNorm: layernorms.fullyqt,
    ops.IBertLayerNorm: layernorms.ibert,
    ops.PulpLayerNorm: layernorms.pulp,
    ops.TfliteLayerNorm: layernorms.tflite,
    ops.GemminiLayerNorm: layernorms.gemmini,
    ops.Add: elementwise.add,
    ops.RescaledAdd: elementwise.rescaled_add,
}
"""The last rounding of each operation."""


def stages(program: Program, site: str, indices: list[Index], values: Values) -> list[Stage | None]:
    """The last rounding of many elements of a site, None where nothing is rounded: a table's entry, a masked key.

    Parameters
    ----------
    site
        A tensor that an operation makes.
    indices
        Which elements of it.
    values
        The tensors of the call, inputs included. Only operands of the operation are read, never the site itself.

    Raises
    ------
    ValueError
        If no operation makes the site.
    """
    operation = operation_of(program, site)
    cache: dict[object, object] = {}
    find = STAGES[type(operation)]
    return [find(operation, Element(program, site, index, values, cache)) for index in indices]


def before_rounding(program: Program, site: str, index: Index, values: Values) -> tuple[int | None, Fraction | None]:
    """The exact value that was rounded and clamped to the code of a site.

    Parameters
    ----------
    site
        A tensor that an operation makes.
    index
        Which element of it.
    values
        The tensors of the call, inputs included. Only operands of the operation are read, never the site itself.

    Returns
    -------
    tuple
        The integer that was scaled (an accumulator; a sum, for the operations that have none), and the code before
        its last rounding and clamp, zero point included. (None, None) where nothing is rounded.

    Raises
    ------
    ValueError
        If no operation makes the site.
    """
    (stage,) = stages(program, site, [index], values)
    return (None, None) if stage is None else (stage.integer, stage.value)
