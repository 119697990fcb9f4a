"""APyTypes: products of fixed-point numbers, and casts by any rounding and overflow mode."""

import numpy as np
from apytypes import APyFixedArray, OverflowMode, QuantizationMode
from numpy.typing import NDArray

Integers = NDArray[np.int64]

ROUNDINGS = {
    "half_up": QuantizationMode.TIES_POS,
    "half_away": QuantizationMode.TIES_AWAY,
    "half_even": QuantizationMode.TIES_EVEN,
    "floor": QuantizationMode.TO_NEG,
    "toward_zero": QuantizationMode.TO_ZERO,
}
OVERFLOWS = {"saturate": OverflowMode.SAT, "wrap": OverflowMode.WRAP}

_WORD = 64


def scale(
    x: Integers, multiplier: Integers, shift: int, *, rounding: str, overflow: str = "saturate", bits: int
) -> Integers:
    """x * multiplier / 2^shift of flat arrays, rounded and brought to `bits` signed bits by one cast."""
    product = _fixed(x, _WORD) * _fixed(multiplier, _WORD)
    ratio = APyFixedArray(product.to_bits(), bits=2 * _WORD, frac_bits=shift)
    return _integers(ratio.cast(bits=bits, frac_bits=0, quantization=ROUNDINGS[rounding], overflow=OVERFLOWS[overflow]))


def shift_right(values: Integers, shift: int, *, rounding: str, overflow: str = "saturate", bits: int) -> Integers:
    """values / 2^shift of a flat array, rounded and brought to `bits` signed bits by one cast."""
    fixed = APyFixedArray(values.tolist(), bits=_WORD, frac_bits=shift)
    return _integers(fixed.cast(bits=bits, frac_bits=0, quantization=ROUNDINGS[rounding], overflow=OVERFLOWS[overflow]))


def matmul(a: Integers, b: Integers, *, overflow: str, bits: int, tile: int) -> Integers:
    """Products of (m, k) and (k, n), in the order of k; the sum is cast to `bits` bits after every `tile` of them."""
    left, right = (APyFixedArray.from_array(x.astype(np.float64), bits=_WORD // 2, frac_bits=0) for x in (a, b))
    acc = APyFixedArray.from_array(np.zeros((len(a), b.shape[1])), bits=bits, frac_bits=0)
    for start in range(0, a.shape[1], tile):
        for k in range(start, min(start + tile, a.shape[1])):
            acc = acc + left[:, k : k + 1] * right[k : k + 1, :]
        acc = acc.cast(bits=bits, frac_bits=0, overflow=OVERFLOWS[overflow])
    return _integers(acc)


def _fixed(values: Integers, bits: int) -> APyFixedArray:
    return APyFixedArray(values.tolist(), bits=bits, frac_bits=0)


def _integers(fixed: APyFixedArray) -> Integers:
    """The values of integers of at most 64 bits."""
    patterns = np.array(fixed.to_bits(), np.uint64)
    return (patterns << np.uint64(_WORD - fixed.bits)).view(np.int64) >> (_WORD - fixed.bits)
