"""Steps that the datapath of many operations is made of, as terms: component, widths, how often."""

from collections.abc import Iterator

from hwsim.accelerator.events import Component
from hwsim.accelerator.residence import Call
from hwsim.requantization import Requantization, Shift

MULTIPLIER_BITS = 16
"""Width of m in m / 2^e."""
VECTOR_BITS = 32
"""Width of sums in the vector unit."""
WIDE_BITS = 64
"""Width of sums of squares and of V of LayerNorm."""
LENGTH_BITS = 16
"""Width of n as a factor in LayerNorm."""

Term = tuple[Component, int, int, int]
"""Component, bits, second bits, count."""


def rounded(bits: int, count: int) -> Iterator[Term]:
    """HALF_EVEN(x / 2^e)."""
    yield Component.REQUANTIZE_SHIFT, bits, 0, count
    yield Component.REQUANTIZE_ADD, bits, 0, count


def finish(bits: int, output: str, count: int, call: Call) -> Iterator[Term]:
    """clamp(x + z), the addition only if z is not 0."""
    if call.zero_point(output):
        yield Component.REQUANTIZE_ADD, bits, 0, count
    yield Component.CLAMP, call.bits(output), 0, count


def rescale(bits: int, output: str, count: int, call: Call, multiplier_bits: int = MULTIPLIER_BITS) -> Iterator[Term]:
    """Equation (1): clamp(HALF_EVEN(x * m / 2^e) + z) of x with `bits` bits."""
    yield Component.REQUANTIZE_MULTIPLY, bits, multiplier_bits, count
    yield from rounded(bits + multiplier_bits, count)
    yield from finish(bits, output, count, call)


def divide(numerator: str, output: str, rows: int, count: int, call: Call) -> Iterator[Term]:
    """clamp(HALF_EVEN(x * m / (d * 2^e))): d is shifted once a row, the division rounds."""
    yield Component.REQUANTIZE_MULTIPLY, call.bits(numerator), MULTIPLIER_BITS, count
    yield Component.REQUANTIZE_SHIFT, VECTOR_BITS, 0, rows
    yield Component.DIVIDE, VECTOR_BITS, 0, count
    yield Component.CLAMP, call.bits(output), 0, count


def multiplier_width(scheme: Requantization) -> int:
    """Bits of the multiplier that a scheme's hardware has; a pure shift has none, counted as 1."""
    return 1 if isinstance(scheme, Shift) else min(32, scheme.record().limits.multiplier_bits)
