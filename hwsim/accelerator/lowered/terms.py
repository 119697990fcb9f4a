"""What the terms of a program's operations ask of the program: widths of multipliers, whether a result has a zero."""

from hwsim.accelerator.datapath import MULTIPLIER_BITS, Terms, finish_terms, requantize_terms
from hwsim.accelerator.lowered.residence import Call
from hwsim.program.catalogue import Dyadic, NarrowBefore, Requantization, Shift
from hwsim.program.targets import target


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
    return MULTIPLIER_BITS if isinstance(scheme, Dyadic | NarrowBefore) else scheme.record().limits.multiplier_bits


def finish(bits: int, output: str, count: int, call: Call) -> Terms:
    """clamp(x + z) of x with `bits` bits, z and the clamp those of a tensor."""
    return finish_terms(count, bits, call.bits(output), zero_point=call.zero_point(output) != 0)


def rescale(bits: int, output: str, count: int, call: Call, multiplier_bits: int = MULTIPLIER_BITS) -> Terms:
    """(R1) of x with `bits` bits into a tensor; a multiplier is 16 bits wide if not told otherwise."""
    return requantize_terms(
        count, bits, call.bits(output), multiplier_bits=multiplier_bits, zero_point=call.zero_point(output) != 0
    )
