"""Checks of what a kernel is called with; every one raises a ValueError that says what was got and what is allowed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.arithmetic.fixedpoint import bounds
from hwsim.arithmetic.scaling import FLOAT32_MULTIPLIER_MAX, greatest_input
from hwsim.formats import Accumulator, Counter, IntFormat, Scaling

Codes = NDArray[np.int32]
Accumulators = NDArray[np.int32] | NDArray[np.int64]
Multipliers = NDArray[np.int64]

CODE_BITS = 16
CODE_MIN, CODE_MAX = -(1 << (CODE_BITS - 1)), (1 << CODE_BITS) - 1
"""Codes are signed or unsigned numbers of at most 16 bits."""
MULTIPLIER_MAX = (1 << 31) - 1
SHIFT_MAX = 62
EXACT_LIMIT = 1 << 63
INT64_MIN, INT64_MAX = -EXACT_LIMIT, EXACT_LIMIT - 1
"""The ends of a clamp that changes nothing."""


def check_array(name: str, array: NDArray[Any], dtypes: tuple[type[np.generic], ...], ndim: int | None = None) -> None:
    """Refuse an array of another dtype or number of dimensions, or one that is not C-contiguous."""
    if getattr(array, "dtype", None) not in [np.dtype(t) for t in dtypes]:
        got = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"{name} is of {got}; allowed: {' or '.join(t.__name__ for t in dtypes)}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}; allowed: {ndim} dimensions")
    if array.ndim == 0:
        raise ValueError(f"{name} has no dimensions; allowed: at least one")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} of shape {array.shape} has strides {array.strides}; allowed: C-contiguous arrays")


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse another shape."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; allowed: {shape}")


def check_counters(counters: NDArray[np.int64]) -> None:
    """Refuse anything but one int64 counter for each `Counter`."""
    check_array("counters", counters, (np.int64,))
    check_shape("counters", counters, (len(Counter),))


def check_range(name: str, value: int, lo: int, hi: int) -> None:
    """Refuse a number outside [lo, hi]."""
    if not lo <= value <= hi:
        raise ValueError(f"{name} is {value}; allowed: {lo} to {hi}")


def check_elements(name: str, array: NDArray[Any], lo: int, hi: int) -> tuple[int, int]:
    """Refuse an array with an element outside [lo, hi]; least and greatest element, (0, 0) without elements."""
    least, greatest = bounds(array.reshape(-1))
    if array.size:
        check_range(f"an element of {name}", int(least), lo, hi)
        check_range(f"an element of {name}", int(greatest), lo, hi)
    return int(least), int(greatest)


def check_zero_point(name: str, value: int) -> None:
    """Refuse a zero point that no code can have."""
    check_range(name, value, CODE_MIN, CODE_MAX)


def check_ratio(name: str, multiplier: int, shift: int) -> None:
    """Refuse a ratio multiplier / 2^shift outside 1 <= multiplier <= 2^31 - 1, 0 <= shift <= 62."""
    check_range(f"{name} multiplier", multiplier, 1, MULTIPLIER_MAX)
    check_range(f"{name} shift", shift, 0, SHIFT_MAX)


def multiplier_max(scaling: Scaling) -> int:
    """The greatest multiplier of a rule: a binary32 mantissa, or 31 bits."""
    return FLOAT32_MULTIPLIER_MAX if scaling in (Scaling.FLOAT32, Scaling.FLOAT32_INSIDE) else MULTIPLIER_MAX


def multiplier_min(scaling: Scaling) -> int:
    """The least multiplier of a rule: HALF_UP is ITA's too, which encodes 0."""
    return 0 if scaling is Scaling.HALF_UP else 1


def check_scaled(name: str, scaling: Scaling, multiplier: int, shift: int, magnitude: int) -> None:
    """Refuse a multiplier, a shift or a magnitude of the scaled integer that a rule does not take."""
    check_range(f"{name} multiplier", multiplier, multiplier_min(scaling), multiplier_max(scaling))
    check_range(f"{name} shift", shift, 0, SHIFT_MAX)
    limit = int(greatest_input(int(scaling), int(multiplier), int(shift)))
    if magnitude > limit:
        got = f"{name} could reach {magnitude} before {scaling.name} of {multiplier} / 2^{shift}"
        raise ValueError(f"{got}; allowed: to {limit}")


def check_multipliers(name: str, array: Multipliers, lengths: tuple[int, ...], lo: int, hi: int) -> tuple[int, int]:
    """Refuse anything but an int64 vector of one of the lengths with elements in [lo, hi]; its bounds."""
    check_array(name, array, (np.int64,), 1)
    if array.size not in lengths:
        raise ValueError(f"{name} has {array.size} elements; allowed: {' or '.join(map(str, lengths))}")
    return check_elements(name, array, lo, hi)


def check_code_format(name: str, form: IntFormat, signed: bool | None = None) -> None:
    """Refuse a format wider than a code or of the other signedness."""
    if form.bits > CODE_BITS or (signed is not None and form.signed != signed):
        kind = "codes" if signed is None else "signed codes" if signed else "unsigned codes"
        raise ValueError(f"{name} has format {form}; allowed: {kind} of at most {CODE_BITS} bits")


def check_exact(name: str, magnitude: int) -> None:
    """Refuse an intermediate integer whose magnitude could reach 2^63."""
    if magnitude >= EXACT_LIMIT:
        raise ValueError(f"{name} could reach {magnitude}; allowed: below 2^63 = {EXACT_LIMIT}")


def empty_accumulators(shape: tuple[int, ...], accumulator: Accumulator) -> Accumulators:
    """An array for an accumulator: int32 up to 32 bits, else int64."""
    return np.empty(shape, np.int32) if accumulator.bits <= 32 else np.empty(shape, np.int64)
