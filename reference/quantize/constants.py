"""The integer constants of each operation, as the planner settles them (sections of docs/numerics.md)."""

from dataclasses import dataclass

from torch import Tensor

from hwsim.formats import IntFormat
from reference.quantize.snap import Snapped


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """real = scale * (code - zero_point)."""

    format: IntFormat
    scale: float
    zero_point: int = 0


@dataclass(frozen=True, kw_only=True)
class WeightQuantizer:
    """Codes of a parameter: one scale (1,) or one an output row (rows,), float64."""

    format: IntFormat
    scale: Tensor


@dataclass(frozen=True, kw_only=True)
class EmbedConstants:
    """Section 8; `table` names the weight whose codes are looked up (another node's if shared)."""

    table: str
    multipliers: Tensor
    position_multiplier: int
    shift: int


@dataclass(frozen=True, kw_only=True)
class LinearConstants:
    """Sections 2 and 1; multipliers and shifts (rows,), or (1,) when the weight has one scale."""

    bias_scale: Tensor
    multipliers: Tensor
    shifts: Tensor


@dataclass(frozen=True, kw_only=True)
class ScoresConstants:
    """Section 3 (`shift` is None where there is no stage of its own), then section 1."""

    shift: int | None
    requantization: Snapped


@dataclass(frozen=True, kw_only=True)
class SoftmaxConstants:
    """Section 4."""

    table_scale: float
    denominator: Snapped
    output: Snapped


@dataclass(frozen=True, kw_only=True)
class AddConstants:
    """Section 7."""

    multipliers: tuple[int, int]
    shift: int


@dataclass(frozen=True, kw_only=True)
class LogitsConstants:
    """Section 9; `table` as in EmbedConstants."""

    table: str
    multipliers: Tensor
    shift: int
