"""What a code was before it was rounded: the equations of docs/numerics.md and docs/operators in Python integers."""

from fractions import Fraction

from analysis.proof.divergence import elementwise, layernorms, softmaxes
from analysis.proof.divergence.element import Element, Index, Values, find_stage
from analysis.proof.divergence.stage import Stage, tie_distance
from hwsim.machine.machine import operation_of
from hwsim.program import Program

__all__ = ["Element", "Index", "Stage", "Values", "before_rounding", "stages", "tie_distance"]

_REGISTERED = (elementwise, layernorms, softmaxes)  # each tells `find_stage` of its operations


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
    return [find_stage(operation, Element(program, site, index, values, cache)) for index in indices]


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
