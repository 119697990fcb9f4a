"""Integer formats, and what happens to a number that does not fit."""

from enum import Enum, IntEnum

import msgspec

MIN_BITS, MAX_BITS = 2, 63
MAX_TILE = 1 << 20


class Overflow(str, Enum):
    """What an accumulator does at the end of its range (docs/numerics.md, section 2)."""

    PROVEN = "proven"
    SATURATE = "saturate"
    WRAP = "wrap"


class Granularity(str, Enum):
    """When a sum is brought into the accumulator's range (docs/operators/accumulator.md)."""

    MAC = "mac"
    """After every multiply-accumulate, in the array's order."""
    TILE = "tile"
    """After every `tile` products."""
    END = "end"
    """Once, after the last product."""


class Rounding(str, Enum):
    """How a rational becomes an integer (docs/operators/requantization.md)."""

    HALF_UP = "half_up"
    HALF_AWAY = "half_away"
    HALF_EVEN = "half_even"
    FLOOR = "floor"
    TOWARD_ZERO = "toward_zero"


class Scaling(IntEnum):
    """How x * multiplier / 2^shift becomes an integer: what kernels branch on (docs/operators/requantization.md).

    The first five are one exact product and one rounding; several schemes share them.
    """

    HALF_UP = 0
    HALF_AWAY = 1
    HALF_EVEN = 2
    FLOOR = 3
    TOWARD_ZERO = 4
    Q31_DOUBLE = 5
    """(R2): the doubling high multiply, then HALF_AWAY."""
    Q31_DOUBLE_HALF_UP = 6
    """(R3): the same, then HALF_UP."""
    FLOAT32 = 7
    """(R9), the zero point outside."""
    FLOAT32_INSIDE = 8
    """(R9), the zero point inside the float sum."""


class Counter(IntEnum):
    """Index into the counter array that every kernel adds to."""

    OVERFLOW = 0
    """Sums outside the accumulator: one for every time that a sum had to be brought into range."""
    SATURATION = 1
    """Results that a clamp or saturation changed."""
    POSITIVE_TIE = 2
    """Values above 0 that lay halfway between two integers when they were rounded, by whatever rule."""
    NEGATIVE_TIE = 3
    """The same below 0."""
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
    """A signed accumulator; the default is the 32-bit one whose safety loading proves.

    `granularity` says when a sum that saturates or wraps is brought into range, `tile` how many products a tile has.
    """

    bits: int = 32
    overflow: Overflow = Overflow.PROVEN
    granularity: Granularity = Granularity.MAC
    tile: int = 16

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= MAX_BITS:
            raise ValueError(f"an accumulator of {self.bits} bits; allowed are 8 to {MAX_BITS}")
        for field, kind in (("overflow", Overflow), ("granularity", Granularity)):
            if not isinstance(getattr(self, field), kind):
                allowed = ", ".join(str(member) for member in kind)
                raise ValueError(f"an accumulator's {field} {getattr(self, field)!r}; allowed are {allowed}")
        if not 1 <= self.tile <= MAX_TILE:
            raise ValueError(f"an accumulator tile of {self.tile} products; allowed are 1 to {MAX_TILE}")

    @property
    def min(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def max(self) -> int:
        return (1 << (self.bits - 1)) - 1
