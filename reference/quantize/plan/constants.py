"""The integer constants of each operation, as the planner settles them (sections of docs/numerics.md)."""

from dataclasses import dataclass

from torch import Tensor

from hwsim.formats import IntFormat, Overflow
from reference.quantize.plan.snap import Snapped


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
    """Sections 2 and 1; multipliers and shifts (rows,), or (1,) when the weight has one scale.

    A bias is `bias_bits` wide, shifted left by `bias_shift`. `truncate` is the shift of (R13), after which the bias is
    added; None where an accumulator goes to its requantization as it is.
    """

    bias_scale: Tensor
    multipliers: Tensor
    shifts: Tensor
    bias_bits: int
    bias_shift: int = 0
    truncate: int | None = None


@dataclass(frozen=True, kw_only=True)
class HeadsConstants:
    """(R14) of docs/operators/requantization.md: one multiplier and shift a head (h,), and those of the total."""

    bias_scale: Tensor
    multipliers: Tensor
    shifts: Tensor
    output: Snapped
    bias_bits: int
    bias_shift: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoresConstants:
    """Section 3 (`shift` is None where there is no stage of its own), then section 1; `truncate` as above."""

    shift: int | None
    requantization: Snapped
    truncate: int | None = None


@dataclass(frozen=True, kw_only=True)
class ContextConstants:
    """Section 1; `truncate` as above."""

    requantization: Snapped
    truncate: int | None = None


@dataclass(frozen=True, kw_only=True)
class SoftmaxConstants:
    """Section 4."""

    table_scale: float
    denominator: Snapped
    output: Snapped


@dataclass(frozen=True, kw_only=True)
class GemmlowpConstants:
    """(S1) to (S5) of docs/operators/softmax.md."""

    multiplier: int
    left_shift: int


@dataclass(frozen=True, kw_only=True)
class IBertSoftmaxConstants:
    """(S10) to (S14)."""

    ln2: int
    b: int
    c: int
    requantization: Snapped


@dataclass(frozen=True, kw_only=True)
class ItaMaxConstants:
    """(S15) to (S17)."""

    shift: int
    group: int


@dataclass(frozen=True, kw_only=True)
class GemminiSoftmaxConstants:
    """(S18) and (S19)."""

    ln2: int
    b: int
    c: int


@dataclass(frozen=True, kw_only=True)
class PulpSoftmaxConstants:
    """(S20) to (S22)."""

    ln2: int
    b: int
    c: int


@dataclass(frozen=True, kw_only=True)
class Int16SoftmaxConstants:
    """(S6) to (S9); the tables have no constants."""

    requantization: Snapped
    clamped: bool


@dataclass(frozen=True, kw_only=True)
class QLinearSoftmaxConstants:
    """(S30) to (S32); the table is that of `keys` keys."""

    table_scale: float
    keys: int
    multiplier: int


AnySoftmaxConstants = (
    SoftmaxConstants
    | GemmlowpConstants
    | Int16SoftmaxConstants
    | IBertSoftmaxConstants
    | ItaMaxConstants
    | GemminiSoftmaxConstants
    | PulpSoftmaxConstants
    | QLinearSoftmaxConstants
)


@dataclass(frozen=True, kw_only=True)
class Rescale:
    """Multiplication by multiplier/2^shift into `fmt`: the constants of eq (1)."""

    multiplier: int
    shift: int
    fmt: IntFormat
    zero_point: int = 0


@dataclass(frozen=True, kw_only=True)
class LayerNormConstants:
    """Section 5: `eps` is eps_int; only the output may have a zero point."""

    eps: int
    numerator: Rescale
    denominator: Rescale
    quotient: Rescale
    output: Rescale


@dataclass(frozen=True, kw_only=True)
class IBertLayerNormConstants:
    """(L1) to (L5) of docs/operators/layernorm.md; multipliers and shifts (n,), scales of beta (n,)."""

    variance_shift: int
    multipliers: Tensor
    shifts: Tensor
    beta_scale: Tensor


@dataclass(frozen=True, kw_only=True)
class PulpLayerNormConstants:
    """(L6) to (L8); `half` is part of beta, so that the floor of (L8) rounds HALF_UP."""

    shift: int
    half: int
    beta_scale: Tensor
    overflow: Overflow


@dataclass(frozen=True, kw_only=True)
class GemminiLayerNormConstants:
    """(L15) to (L17)."""

    requantization: Snapped
    beta_scale: Tensor


@dataclass(frozen=True, kw_only=True)
class TfliteLayerNormConstants:
    """(L9) to (L14)."""

    variance_limit: int
    requantization: Snapped
    beta_scale: Tensor


AnyLayerNormConstants = (
    LayerNormConstants
    | IBertLayerNormConstants
    | PulpLayerNormConstants
    | TfliteLayerNormConstants
    | GemminiLayerNormConstants
)


@dataclass(frozen=True, kw_only=True)
class AddConstants:
    """Section 7."""

    multipliers: tuple[int, int]
    shift: int


@dataclass(frozen=True, kw_only=True)
class RescaledAddConstants:
    """(R10) of docs/operators/requantization.md."""

    left_shift: int
    a: Snapped
    b: Snapped
    output: Snapped | None
    operand: IntFormat | None = None


AnyAddConstants = AddConstants | RescaledAddConstants


@dataclass(frozen=True, kw_only=True)
class LogitsConstants:
    """Section 9; `table` as in EmbedConstants."""

    table: str
    multipliers: Tensor
    shift: int
