"""Exact products of small integers at the speed of the processor: sums modulo 2^32 in int32.

`ENGINE` is the best that the processor has, or the one that the environment names: HWSIM_GEMM=portable. All engines
read the same two packed forms and give the same results. `EIGHT_BITS` names the form that is faster for 8-bit codes.
"""

import os
from collections.abc import Callable

from hwsim.arithmetic.compilation import INTERPRETED
from hwsim.operators.gemm.engines import kernels, products
from hwsim.operators.gemm.engines.cpu import ENGINES, available, chosen, eight_bits_of
from hwsim.operators.gemm.engines.packing import (
    pack_centred,
    packed_shape,
    pairs_shape,
    put_column,
    put_depth,
    quads_shape,
)

multiply_quads: Callable[..., None]
multiply_pairs: Callable[..., None]
ENGINE = "portable" if INTERPRETED else chosen(os.environ.get("HWSIM_GEMM"), available())
EIGHT_BITS = "quads" if INTERPRETED else eight_bits_of(ENGINE)
if INTERPRETED:
    multiply_quads = multiply_pairs = products.interpreted
else:
    multiply_quads, multiply_pairs = products.multiply_quads, products.multiply_pairs
    kernels.bind(ENGINE)

__all__ = [
    "EIGHT_BITS",
    "ENGINE",
    "ENGINES",
    "available",
    "eight_bits_of",
    "multiply_pairs",
    "multiply_quads",
    "pack_centred",
    "packed_shape",
    "pairs_shape",
    "put_column",
    "put_depth",
    "quads_shape",
]
