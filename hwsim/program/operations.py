"""The operation set of a program: what each operation reads, makes and is told. Typed records, no arithmetic.

Equations: docs/numerics.md, and docs/operators for the operators of particular accelerators.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from hwsim.formats import Accumulator, IntFormat, Overflow, Rounding
from hwsim.program.catalogue import MAX_MULTIPLIER, MAX_SHIFT, AnyRequantization, Dyadic, Float32, Q31Double

Multiplier = Annotated[int, Meta(ge=1, le=MAX_MULTIPLIER)]
ShiftBits = Annotated[int, Meta(ge=0, le=MAX_SHIFT)]
Positive = Annotated[int, Meta(ge=1, le=(1 << 62) - 1)]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record of the manifest: immutable, every field named, unknown fields refused."""


class Embed(Struct, tag="embed", frozen=True, kw_only=True):
    """Section 8 of docs/numerics.md: table rows scaled per row (or all alike), positions, one rounding."""

    output: str
    ids: str
    position: str
    table: str
    positions: str
    multiplier: Multiplier | str
    position_multiplier: Multiplier
    shift: ShiftBits


class MatMul(Struct, tag="matmul", frozen=True, kw_only=True):
    """Section 2: a @ b.T + bias with b (n, k); `transpose_b` when b lies as (k, n). Zero points are the tensors'."""

    output: str
    a: str
    b: str
    transpose_b: bool = False
    bias: str | None = None
    accumulator: Accumulator = Accumulator()


class ShiftRight(Struct, tag="shift_right", frozen=True, kw_only=True):
    """Section 3, and any other rounding; (R13) into a narrower format, which saturates, with a bias after it."""

    output: str
    input: str
    shift: ShiftBits
    rounding: Rounding = Rounding.HALF_EVEN
    bias: str | msgspec.UnsetType = msgspec.UNSET


class Relu(Struct, tag="relu", frozen=True, kw_only=True):
    """Section 6."""

    output: str
    input: str


class Requantize(Struct, tag="requantize", frozen=True, kw_only=True):
    """Section 1, by any scheme of the catalogue."""

    output: str
    input: str
    requantization: AnyRequantization


class SplitHeads(Struct, tag="split_heads", frozen=True, kw_only=True):
    """(b, n, h*e) to (b, h, n, e)."""

    output: str
    input: str


class MergeHeads(Struct, tag="merge_heads", frozen=True, kw_only=True):
    """(b, h, n, e) to (b, n, h*e)."""

    output: str
    input: str


class ProjectHeads(Struct, tag="project_heads", frozen=True, kw_only=True):
    """(R14) of docs/operators/requantization.md: each head's product with its columns of `weight`, requantized, summed.

    (b, h, n, e) and a weight (d, h*e) to `heads` (b, h, n, d), codes with zero point 0, and their sum, `output`
    (b, n, d), as wide as the accumulator. The bias is head 0's. Multiplier and shift are one for all or one a head.
    """

    heads: str
    output: str
    input: str
    weight: str
    bias: str | None = None
    accumulator: Accumulator = Accumulator()
    requantization: AnyRequantization


class Append(Struct, tag="append", frozen=True, kw_only=True):
    """A cache with new positions behind it: (b, h, p, e), (b, h, n, e) to (b, h, p+n, e)."""

    output: str
    past: str
    input: str


class Softmax(Struct, tag="softmax", frozen=True, kw_only=True):
    """Section 4; `mask` names an input (batch, keys) whose nonzero entries are allowed."""

    numerator: str
    denominator: str
    output: str
    input: str
    table: str
    mask: str | None = None
    denominator_requantization: Dyadic
    output_requantization: Dyadic


class GemmlowpSoftmax(Struct, tag="gemmlowp_softmax", frozen=True, kw_only=True):
    """(S1) to (S5) of docs/operators/softmax.md."""

    output: str
    input: str
    mask: str | None = None
    multiplier: Annotated[int, Meta(ge=1 << 30, le=MAX_MULTIPLIER)]
    left_shift: Annotated[int, Meta(ge=0, le=31)]


class IBertSoftmax(Struct, tag="ibert_softmax", frozen=True, kw_only=True):
    """(S10) to (S14)."""

    output: str
    input: str
    mask: str | None = None
    ln2: Positive
    b: Positive
    c: Positive
    multiplier: Multiplier
    shift: ShiftBits


class ItaMax(Struct, tag="itamax", frozen=True, kw_only=True):
    """(S15) to (S17); `group` keys arrive at once, 0 is the whole row."""

    output: str
    input: str
    mask: str | None = None
    shift: Annotated[int, Meta(ge=0, le=8)]
    group: Annotated[int, Meta(ge=0, le=1 << 16)]


class GemminiSoftmax(Struct, tag="gemmini_softmax", frozen=True, kw_only=True):
    """(S18) and (S19)."""

    output: str
    input: str
    mask: str | None = None
    ln2: Positive
    b: Positive
    c: Positive


class PulpSoftmax(Struct, tag="pulp_softmax", frozen=True, kw_only=True):
    """(S20) to (S22)."""

    output: str
    input: str
    mask: str | None = None
    ln2: Positive
    b: Positive
    c: Positive


class Int16Softmax(Struct, tag="int16_softmax", frozen=True, kw_only=True):
    """(S6) to (S9); `clamped` False leaves out the clamp of (S9)."""

    output: str
    input: str
    mask: str | None = None
    exp_table: str
    reciprocal_table: str
    requantization: Q31Double
    clamped: bool = True


class QLinearSoftmax(Struct, tag="qlinear_softmax", frozen=True, kw_only=True):
    """(S30) to (S32); `table` holds the 32 bits of binary32 numbers."""

    output: str
    input: str
    table: str
    mask: str | None = None
    multiplier: Annotated[int, Meta(ge=1, le=256)]


class LayerNorm(Struct, tag="layernorm", frozen=True, kw_only=True):
    """Section 5."""

    numerator: str
    denominator: str
    quotient: str
    output: str
    input: str
    gamma: str
    beta: str
    eps: Annotated[int, Meta(ge=0)]
    numerator_requantization: Dyadic
    denominator_requantization: Dyadic
    quotient_requantization: Dyadic
    output_requantization: Dyadic


class IBertLayerNorm(Struct, tag="ibert_layernorm", frozen=True, kw_only=True):
    """(L1) to (L5) of docs/operators/layernorm.md; gamma holds signs."""

    output: str
    input: str
    gamma: str
    beta: str
    variance_shift: Annotated[int, Meta(ge=0, le=31)]
    requantization: Dyadic


class PulpLayerNorm(Struct, tag="pulp_layernorm", frozen=True, kw_only=True):
    """(L6) to (L8)."""

    output: str
    input: str
    gamma: str
    beta: str
    shift: Annotated[int, Meta(ge=0, le=31)]
    overflow: Overflow | msgspec.UnsetType = msgspec.UNSET


class GemminiLayerNorm(Struct, tag="gemmini_layernorm", frozen=True, kw_only=True):
    """(L15) to (L17)."""

    output: str
    input: str
    gamma: str
    beta: str
    requantization: Float32


class TfliteLayerNorm(Struct, tag="tflite_layernorm", frozen=True, kw_only=True):
    """(L9) to (L14)."""

    output: str
    input: str
    gamma: str
    beta: str
    variance_limit: Annotated[int, Meta(ge=1, le=MAX_MULTIPLIER)]
    requantization: Q31Double


class Add(Struct, tag="add", frozen=True, kw_only=True):
    """Section 7."""

    output: str
    a: str
    b: str
    a_multiplier: Multiplier
    b_multiplier: Multiplier
    shift: ShiftBits


class RescaledAdd(Struct, tag="rescaled_add", frozen=True, kw_only=True):
    """(R10) of docs/operators/requantization.md: each operand rescaled, then the sum, if it has a requantization.

    All of one scheme, with one multiplier and one shift each. `operand` is what each rescaled operand saturates to.
    """

    output: str
    a: str
    b: str
    left_shift: Annotated[int, Meta(ge=0, le=20)] = 0
    a_requantization: AnyRequantization
    b_requantization: AnyRequantization
    output_requantization: AnyRequantization | None = None
    operand: IntFormat | msgspec.UnsetType = msgspec.UNSET


AnySoftmax = (
    Softmax | GemmlowpSoftmax | Int16Softmax | IBertSoftmax | ItaMax | GemminiSoftmax | PulpSoftmax | QLinearSoftmax
)
AnyLayerNorm = LayerNorm | IBertLayerNorm | PulpLayerNorm | TfliteLayerNorm | GemminiLayerNorm
AnyAdd = Add | RescaledAdd
AnyProduct = MatMul | ProjectHeads
Operation = (
    Embed
    | MatMul
    | ShiftRight
    | Relu
    | Requantize
    | SplitHeads
    | MergeHeads
    | ProjectHeads
    | Append
    | AnySoftmax
    | AnyLayerNorm
    | AnyAdd
)

WRITTEN = ("numerator", "denominator", "quotient", "heads", "output")
READ = ("ids", "position", "input", "past", "a", "b", "mask")
CONSTANTS = (
    *("table", "positions", "multiplier", "shift", "b", "weight", "bias", "gamma", "beta"),
    *("exp_table", "reciprocal_table"),
)


def written(operation: Operation) -> list[str]:
    """Names of the tensors that an operation makes, in the order in which it makes them."""
    return [getattr(operation, field) for field in WRITTEN if hasattr(operation, field)]
