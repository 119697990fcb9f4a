"""Constants that Gemmini's C library derives in binary32: docs/operators/softmax.md (7), activation.md (6)."""

import math

import numpy as np

_LN2 = 0.693147
_B, _C, _SQUARE = np.float32(1.353), np.float32(0.344), np.float32(0.3585)
"""exp(r) is near _SQUARE * (r + _B)^2 + _C."""
_ERF_SQUARE, _ERF_ROOT = -0.2888, -1.769
_SQRT2 = np.float32(math.sqrt(2))


FINEST, COARSEST = 2.0**-40, 2.0**40
"""Of scales: nothing below is subnormal or overflows."""


def _binary32(scale: float) -> np.float32:
    if not FINEST <= scale <= COARSEST:
        raise ValueError(f"a scale of {scale}; allowed are 2^-40 to 2^40")
    return np.float32(scale)


def gemmini_exponential(scale: float) -> tuple[int, int, int]:
    """ln2, b and c of (S18), for scores of the scale `scale`, which is rounded to binary32 first."""
    s = _binary32(scale)
    ln2 = int(_LN2 / float(s))
    return ln2, int(_B / s), int(_C / (_SQUARE * s * s))


def gemmini_gelu(scale: float) -> tuple[int, int, int]:
    """q1, qb and qc of (G9), for inputs of the scale `scale`, which is rounded to binary32 first."""
    unit = _binary32(scale) / _SQRT2
    u = float(unit)
    square = _ERF_SQUARE * u * u
    return int(np.float32(1) / np.float32(square)), int(_ERF_ROOT / u), int(1 / square)
