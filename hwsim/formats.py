"""Integer formats, and what happens to a number that does not fit."""

from enum import Enum, IntEnum

import msgspec

MIN_BITS, MAX_BITS = 2, 63


class Overflow(str, Enum):
    """What an accumulator does at the end of its range (docs/numerics.md, section 2)."""

    PROVEN = "proven"
    SATURATE = "saturate"
    WRAP = "wrap"


class Counter(IntEnum):
    """Index into the counter array that every kernel adds to."""

    OVERFLOW = 0
    """Accumulator overflows, one a multiply-accumulate."""
    SATURATION = 1
    """Results that a clamp or saturation changed."""
    POSITIVE_TIE = 2
    """HALF_EVEN roundings that met a tie between two positive neighbours (or 0 and 1)."""
    NEGATIVE_TIE = 3
    """The same below zero."""
    DENOMINATOR_CLAMP = 4
    """Softmax and LayerNorm denominators raised to 1."""


class IntFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An integer format of `bits` bits; `narrow` drops the lowest value of a signed one.

    Codes have 2 to 16 bits; accumulators and logits may be wider.
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise ValueError(f"a format of {self.bits} bits; allowed are {MIN_BITS} to {MAX_BITS}")

    @property
    def min(self) -> int:
        if not self.signed:
            return 0
        return -(1 << (self.bits - 1)) + int(self.narrow)

    @property
    def max(self) -> int:
        return (1 << (self.bits - int(self.signed))) - 1

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}{'n' if self.narrow else ''}"


class Accumulator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed accumulator; the default is the 32-bit one whose safety loading proves."""

    bits: int = 32
    overflow: Overflow = Overflow.PROVEN

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= MAX_BITS:
            raise ValueError(f"an accumulator of {self.bits} bits; allowed are 8 to {MAX_BITS}")

    @property
    def min(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def max(self) -> int:
        return (1 << (self.bits - 1)) - 1
