"""QONNX: the quantizer behind its IntQuant node, in float64."""

import numpy as np
from numpy.typing import NDArray
from qonnx.custom_op.general.intquant import int_quant

ROUNDINGS = {
    "HALF_EVEN": "HALF_EVEN",
    "HALF_AWAY": "HALF_UP",
    "FLOOR": "FLOOR",
    "TOWARD_ZERO": "DOWN",
}
"""Names of the project's roundings and QONNX's: its HALF_UP rounds halves away from zero."""


def quantize(
    x: NDArray[np.float64],
    *,
    scale: float,
    zero_point: int,
    bits: int,
    signed: bool,
    narrow: bool,
    rounding: str,
) -> NDArray[np.float64]:
    """int_quant with QONNX's name of a rounding: real values on the grid of `scale`."""
    return np.asarray(int_quant(x, scale, zero_point, np.float64(bits), signed, narrow, rounding))
