"""Layer normalisation of integer codes with an integer square root: equations (5a) to (5f) of docs/numerics.md."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.arithmetic.compilation import inner
from hwsim.arithmetic.fixedpoint import (
    ISQRT_BITS,
    Counters,
    Integer,
    add_events,
    bounds,
    clamp_and_change,
    half_even_and_tie,
    isqrt,
    raise_to_one,
    round_shift,
    saturate,
)
from hwsim.formats import IntFormat
from hwsim.operators.arguments import (
    CODE_MAX,
    CODE_MIN,
    Codes,
    check_code_format,
    check_elements,
    check_exact,
    check_ratio,
    check_zero_point,
)
from hwsim.operators.layernorm.rows import as_rows, check_rows, row_sum, squares_about
from hwsim.operators.quotients import Held, Stage, quotients_of_row


class LayerNormCodes(NamedTuple):
    """The four results, all int32: (..., n), (..., 1), (..., n), (..., n)."""

    numerator: Codes
    denominator: Codes
    quotient: Codes
    output: Codes


class LayerNormConstants(NamedTuple):
    """The numbers of a layer normalisation but gamma and beta.

    `eps` is eps_int of (5b). Each stage has a ratio multiplier / 2^shift and the format of its result: signed
    numerator and quotient, unsigned denominator, any output; only the output has a zero point.
    """

    eps: int
    numerator_multiplier: int
    numerator_shift: int
    numerator: IntFormat
    denominator_multiplier: int
    denominator_shift: int
    denominator: IntFormat
    quotient_multiplier: int
    quotient_shift: int
    quotient: IntFormat
    output_multiplier: int
    output_shift: int
    output_zero_point: int
    output: IntFormat


class Stages(NamedTuple):
    """The four roundings of (5c) to (5f)."""

    numerator: Stage
    denominator: Stage
    quotient: Stage
    output: Stage


class Zeros(NamedTuple):
    """Zero points: what is taken from x (0 where the mean cancels it), and what is added to the output."""

    input: int
    output: int


def layernorm(
    x: Codes,
    gamma: Codes,
    beta: NDArray[np.int64],
    constants: LayerNormConstants,
    counters: Counters,
    *,
    centred: bool = True,
    zero: int = 0,
) -> LayerNormCodes:
    """Normalise each row of codes, equations (5a) to (5f), every rounding HALF_EVEN.

    RMSNorm is the same without the mean: section 1 of docs/operators/layernorm.md.

    Parameters
    ----------
    x : int32, (..., n)
        Codes of at most 16 bits.
    gamma : int32, (n,)
        Signed codes.
    beta : int64, (n,)
        Integers at the scale of quotient * gamma.
    constants : LayerNormConstants
        Ratios, formats, eps_int and the output's zero point.
    counters : int64, (len(Counter),)
        Ties, saturations and denominators raised to 1 are added.
    centred : bool
        Whether the mean is subtracted: LayerNorm, otherwise RMSNorm.
    zero : int
        Zero point of x; it cancels where the mean is subtracted.

    Returns
    -------
    LayerNormCodes
        int32 numerator (..., n), denominator (..., 1), quotient (..., n), output (..., n).

    Raises
    ------
    ValueError
        For other dtypes, shapes, ratios or formats, or if V of (5b) could reach 2^52 or a product of (5f) 2^63.
    """
    check_rows(x, gamma, beta, counters, "beta")
    stages = _check_constants(constants)
    check_elements("x", x, CODE_MIN, CODE_MAX)
    check_zero_point("zero", zero)
    rows, n = as_rows(x).shape
    zeros = Zeros(0 if centred else int(zero), int(constants.output_zero_point))
    _check_variance(as_rows(x), zeros.input, constants.eps, centred)
    _check_affine(gamma, beta, constants)
    flat = LayerNormCodes(*(np.empty((rows, width), np.int32) for width in (n, 1, n, n)))
    normalise_rows(as_rows(x), gamma, beta, int(constants.eps), stages, zeros, bool(centred), flat, counters)
    return LayerNormCodes(*(codes.reshape(*x.shape[:-1], codes.shape[1]) for codes in flat))


def _check_constants(constants: LayerNormConstants) -> Stages:
    """Refuse ratios, formats and zero points that are not of section 5."""
    stages = []
    for name, signed in (("numerator", True), ("denominator", False), ("quotient", True), ("output", None)):
        multiplier, shift = getattr(constants, f"{name}_multiplier"), getattr(constants, f"{name}_shift")
        form: IntFormat = getattr(constants, name)
        check_ratio(name, multiplier, shift)
        check_code_format(name, form, signed)
        stages.append(Stage(int(multiplier), int(shift), form.min, form.max))
    check_zero_point("output_zero_point", constants.output_zero_point)
    return Stages(*stages)


def _check_variance(x: Codes, zero: int, eps: int, centred: bool) -> None:
    """Refuse rows whose V could reach 2^52, or leave int64 on the way.

    V is at most n^2*(hi-lo)^2/4 + eps about the mean, n^2*max(x^2) + eps without it.
    """
    n = x.shape[1]
    lo, hi = (int(bound) - zero for bound in bounds(x.reshape(-1)))
    squares = n * n * max(lo * lo, hi * hi)
    greatest = (n * n * (hi - lo) ** 2 // 4 if centred else squares) + eps
    if eps < 0 or greatest >= 1 << ISQRT_BITS:
        raise ValueError(f"V could reach {greatest} (n = {n}, codes {lo} to {hi}, eps {eps}); allowed: 0 to 2^52 - 1")
    check_exact("n * sum(x^2)", squares)


def _check_affine(gamma: Codes, beta: NDArray[np.int64], constants: LayerNormConstants) -> None:
    """Refuse a gamma that is no code, and products of (5f) that could reach 2^63."""
    lo, hi = check_elements("gamma", gamma, CODE_MIN, CODE_MAX)
    least, greatest = (int(bound) for bound in bounds(beta))
    affine = -constants.quotient.min * max(-lo, hi) + max(-least, greatest)
    check_exact(
        "(quotient * gamma + beta) * multiplier",
        affine * constants.output_multiplier + (1 << constants.output_shift >> 1),
    )


@njit(cache=True, nogil=True)
def normalise_rows(
    x: Held,
    gamma: Codes,
    beta: NDArray[np.int64],
    eps: int,
    stages: Stages,
    zeros: Zeros,
    centred: bool,
    codes: LayerNormCodes,
    counters: Counters,
) -> None:
    """Equations (5a) to (5f) on (rows, n) of any integer dtype into results of any that hold their codes.

    The caller has checked what `layernorm` checks. Each pass over a row is a loop of its own, so that it vectorises.
    """
    n = np.int64(x.shape[1])
    numerators, denominators, quotients, outputs = codes
    for i in range(x.shape[0]):
        total, squares = row_sum(x, i, zeros.input, centred), squares_about(x, i, zeros.input, 0)
        root = isqrt(n * squares - total * total + eps) * stages.denominator.multiplier
        denominator = raise_to_one(_rescale(root, stages.denominator, counters), counters)
        denominators[i, 0] = denominator
        _numerators(x, i, n * zeros.input + total, stages.numerator, numerators, counters)
        quotients_of_row(numerators, i, denominator, stages.quotient, quotients, counters)
        _affine(quotients, i, gamma, beta, stages.output, zeros.output, outputs, counters)


@inner
def _numerators(x: Held, i: int, total: Integer, stage: Stage, numerators: Held, counters: Counters) -> None:
    """(5c): n * x - total, rescaled; total has the zero points in it."""
    n = np.int64(x.shape[1])
    ties, balance, saturations = np.int64(0), np.int64(0), np.int64(0)
    for j in range(x.shape[1]):
        deviation = n * np.int64(x[i, j]) - total
        rounded, tie = half_even_and_tie(deviation * stage.multiplier, stage.shift)
        code, changed = clamp_and_change(rounded, stage.lo, stage.hi)
        numerators[i, j] = code
        ties += tie & 1
        balance += tie
        saturations += changed
    add_events(ties, balance, saturations, counters)


@inner
def _affine(
    quotients: Held,
    i: int,
    gamma: Codes,
    beta: NDArray[np.int64],
    stage: Stage,
    zero_point: int,
    outputs: Held,
    counters: Counters,
) -> None:
    """(5f); the zero point moves the bounds of the clamp."""
    lo, hi = stage.lo - zero_point, stage.hi - zero_point
    ties, balance, saturations = np.int64(0), np.int64(0), np.int64(0)
    for j in range(quotients.shape[1]):
        affine = np.int64(quotients[i, j]) * np.int64(gamma[j]) + beta[j]
        rounded, tie = half_even_and_tie(affine * stage.multiplier, stage.shift)
        code, changed = clamp_and_change(rounded, lo, hi)
        outputs[i, j] = code + zero_point
        ties += tie & 1
        balance += tie
        saturations += changed
    add_events(ties, balance, saturations, counters)


@inner
def _rescale(product: np.int64, stage: Stage, counters: Counters) -> np.int64:
    """sat(HALF_EVEN(product / 2^shift)), product already multiplied."""
    return saturate(round_shift(product, stage.shift, counters), stage.lo, stage.hi, counters)
