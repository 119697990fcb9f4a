"""Steps that the datapath of many operations is made of, as terms: component, widths, how often."""

from collections.abc import Iterator

from hwsim.accelerator.events import Component
from hwsim.accelerator.residence import Call
from hwsim.catalogue import Dyadic, Requantization, Shift
from hwsim.targets import target

MULTIPLIER_BITS = 16
"""Width of m in m / 2^e where every target has the same: dyadic, beside the target's own scheme."""
VECTOR_BITS = 32
"""Width of sums in the vector unit."""
WIDE_BITS = 64
"""Width of sums of squares and of V of LayerNorm."""
LENGTH_BITS = 16
"""Width of n as a factor in LayerNorm."""

Term = tuple[Component, int, int, int]
"""Component, bits, second bits, count."""


def multiplier_width(scheme: Requantization, call: Call) -> int:
    """Bits of the multiplier that the hardware has for a scheme; 0 if the scheme is a pure shift.

    In its own scheme a target has multipliers of its own width, which is at most what the scheme encodes.

    Raises
    ------
    ValueError
        If the program is of an unknown target.
    """
    hardware = target(call.program.manifest.target)
    if isinstance(scheme, Shift):
        return 0
    if isinstance(scheme, hardware.scheme):
        return hardware.multiplier_bits
    return MULTIPLIER_BITS if isinstance(scheme, Dyadic) else scheme.record().limits.multiplier_bits


def rounded(bits: int, count: int) -> Iterator[Term]:
    """x / 2^e, rounded."""
    yield Component.REQUANTIZE_SHIFT, bits, 0, count
    yield Component.REQUANTIZE_ADD, bits, 0, count


def multiplied(bits: int, count: int, multiplier_bits: int) -> Iterator[Term]:
    """x * m / 2^e, rounded, of x with `bits` bits; without a multiplier (0 bits) x / 2^e."""
    if multiplier_bits:
        yield Component.REQUANTIZE_MULTIPLY, bits, multiplier_bits, count
    yield from rounded(bits + multiplier_bits, count)


def finish(bits: int, output: str, count: int, call: Call) -> Iterator[Term]:
    """clamp(x + z), the addition only if z is not 0."""
    if call.zero_point(output):
        yield Component.REQUANTIZE_ADD, bits, 0, count
    yield Component.CLAMP, call.bits(output), 0, count


def rescale(bits: int, output: str, count: int, call: Call, multiplier_bits: int = MULTIPLIER_BITS) -> Iterator[Term]:
    """(R1): clamp(scale(x; m, e) + z) of x with `bits` bits; a multiplier is 16 bits wide if not told otherwise."""
    yield from multiplied(bits, count, multiplier_bits)
    yield from finish(bits, output, count, call)


def divide(numerator: str, output: str, rows: int, count: int, call: Call) -> Iterator[Term]:
    """clamp(HALF_EVEN(x * m / (d * 2^e))): d is shifted once a row, the division rounds."""
    yield Component.REQUANTIZE_MULTIPLY, call.bits(numerator), MULTIPLIER_BITS, count
    yield Component.REQUANTIZE_SHIFT, VECTOR_BITS, 0, rows
    yield Component.DIVIDE, VECTOR_BITS, 0, count
    yield Component.CLAMP, call.bits(output), 0, count
