"""The project's kernels as the oracles are called: any integer dtype in, results out, events looked at nowhere else.

Names and parameters are those of docs/operators.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.formats import Accumulator, Counter, Granularity, IntFormat, Overflow, Rounding, Scaling
from hwsim.operators import activation, gemm, residual, softmax
from hwsim.operators.layernorm import ibert_layernorm as ibert_layernorm_kernel
from hwsim.operators.layernorm import tflite_layernorm as tflite_layernorm_kernel
from hwsim.operators.requantize import requantize as requantize_kernel
from hwsim.program.catalogue import scheme_type

Array = NDArray[Any]


def counters() -> NDArray[np.int64]:
    """Nothing counted yet."""
    return np.zeros(len(Counter), np.int64)


def codes(values: Array) -> NDArray[np.int32]:
    """The dtype of codes."""
    return np.ascontiguousarray(values, np.int32)


def scaling(scheme: str, rounding: str | None = None) -> Scaling:
    """The arithmetic of a scheme of the catalogue; `shift` needs a rounding."""
    if scheme == "shift":
        return Scaling[Rounding(rounding).name]
    record = scheme_type(scheme)
    limits = record.record().limits
    return record(multiplier=limits.low, shift=limits.least_shift).scaling


def requantize(
    scheme: str,
    acc: Array,
    multiplier: Any,
    shift: Any,
    *,
    bits: int,
    zero_point: int = 0,
    signed: bool = True,
    rounding: str | None = None,
) -> Array:
    """(R1) by a named scheme, with one ratio for all or one for each element of the last axis."""
    m, e = (np.atleast_1d(np.asarray(value, np.int64)) for value in (multiplier, shift))
    own = np.ascontiguousarray(acc, np.int32 if acc.dtype == np.int32 else np.int64)
    form = IntFormat(bits=bits, signed=signed)
    return requantize_kernel(own, m, e, zero_point, form, counters(), scaling(scheme, rounding))


def matmul(
    a: Array,
    b: Array,
    *,
    a_zero: int = 0,
    b_zero: int = 0,
    bits: int = 32,
    overflow: str = "proven",
    granularity: str = "mac",
    tile: int = 16,
) -> Array:
    """(2) in an accumulator of (A1), (A2) or (A3); both operands have the summed dimension last."""
    rules = {"overflow": Overflow(overflow), "granularity": Granularity(granularity)}
    accumulator = Accumulator(bits=bits, **rules, tile=tile)
    zeros = {"a_zero": a_zero, "b_zero": b_zero}
    return gemm.matmul(codes(a), codes(b), None, **zeros, accumulator=accumulator, counters=counters())


def rescaled_add(
    a: Array,
    b: Array,
    *,
    scheme: str,
    zeros: tuple[int, int, int],
    ratios: list[tuple[int, int]],
    left_shift: int,
    bits: int,
) -> Array:
    """(R10); zero points of a, b and the sum, ratios of a, b and, if there are three, of the sum."""
    (a_multiplier, a_shift), (b_multiplier, b_shift) = ratios[:2]
    multiplier, shift = ratios[2] if len(ratios) == 3 else (None, 0)
    return residual.rescaled_add(
        codes(a),
        codes(b),
        a_zero=zeros[0],
        b_zero=zeros[1],
        left_shift=left_shift,
        scaling=scaling(scheme),
        a_multiplier=a_multiplier,
        a_shift=a_shift,
        b_multiplier=b_multiplier,
        b_shift=b_shift,
        output_multiplier=multiplier,
        output_shift=shift,
        zero_point=zeros[2],
        output=IntFormat(bits=bits),
        counters=counters(),
    )


def add(a: Array, b: Array, *, zeros: tuple[int, int, int], multipliers: tuple[int, int], shift: int) -> Array:
    """(7) to int8: one rounding for both operands."""
    numbers = {"a_zero": zeros[0], "b_zero": zeros[1], "zero_point": zeros[2], "shift": shift}
    ratio = {"a_multiplier": multipliers[0], "b_multiplier": multipliers[1]}
    return residual.add(codes(a), codes(b), **numbers, **ratio, output=IntFormat(bits=8), counters=counters())


def gemmlowp_softmax(scores: Array, *, multiplier: int, left_shift: int, bits: int) -> Array:
    """(S1) to (S5)."""
    ratio = {"multiplier": multiplier, "left_shift": left_shift}
    form = IntFormat(bits=bits)
    return softmax.gemmlowp_softmax(codes(scores), _all(scores), **ratio, output=form, counters=counters())


def softmax_int16(scores: Array, tables: tuple[Array, Array], multiplier: int, shift: int) -> Array:
    """(S6) to (S9); tables of exp and of 1/(1+x)."""
    exp, reciprocal = (codes(table) for table in tables)
    ratio = {"multiplier": multiplier, "shift": shift}
    return softmax.softmax_int16(codes(scores), _all(scores), exp, reciprocal, **ratio, counters=counters())


def ibert_softmax(scores: Array, *, bits: int, **constants: int) -> Array:
    """(S10) to (S14)."""
    form = IntFormat(bits=bits, signed=False)
    return softmax.ibert_softmax(codes(scores), _all(scores), **constants, output=form, counters=counters())


def qlinear_softmax(scores: Array, table: list[int], *, multiplier: int, signed: bool) -> Array:
    """(S30) to (S32) to 8 bits; the 32 bits of the table's numbers."""
    form = IntFormat(bits=8, signed=signed)
    rest = {"multiplier": multiplier, "output": form, "counters": counters()}
    return softmax.qlinear_softmax(codes(scores), _all(scores), codes(np.array(table)), **rest)


def ibert_gelu(x: Array, *, b: int, c: int, offset: int) -> Array:
    """(G1) and (G2)."""
    return activation.ibert_gelu(codes(x), zero=0, b=b, c=c, offset=offset)


def table_lookup(x: Array, table: list[int], lowest: int) -> Array:
    """(G5)."""
    return activation.table_lookup(codes(x), codes(np.array(table)), lowest)


def table_interpolate(x: Array, table: Array) -> Array:
    """(G6)."""
    return activation.table_interpolate(codes(x), codes(table))


def ibert_layernorm(
    x: Array, gamma: Array, bias: Array, ratio: tuple[int, int], *, variance_shift: int, bits: int
) -> Array:
    """(L1) to (L5) with one ratio for all channels."""
    multiplier, shift = (np.array([value], np.int64) for value in ratio)
    options = {"zero": 0, "variance_shift": variance_shift, "zero_point": 0, "output": IntFormat(bits=bits)}
    bias = np.ascontiguousarray(bias, np.int64)
    return ibert_layernorm_kernel(codes(x), codes(gamma), bias, multiplier, shift, **options, counters=counters())


def _all(scores: Array) -> NDArray[np.bool_]:
    """No key is masked."""
    return np.ones(scores.shape, np.bool_)


def tflite_layernorm(
    x: Array, gamma: Array, bias: Array, ratio: tuple[int, int], *, variance_limit: int
) -> tuple[Array, Array]:
    """(L9) to (L14) to int16, and the events."""
    events, options = counters(), {"multiplier": ratio[0], "shift": ratio[1], "variance_limit": variance_limit}
    form, bias = IntFormat(bits=16), np.ascontiguousarray(bias, np.int64)
    arrays = codes(x), codes(gamma), bias
    return tflite_layernorm_kernel(*arrays, **options, zero=0, zero_point=0, output=form, counters=events), events
