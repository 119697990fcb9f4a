"""Inputs for every kernel: what it makes of them, what torch makes of them, and what real mathematics says."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwsim import kernels
from hwsim.formats import Accumulator, Counter, IntFormat
from reference.quantize.plan.constants import LayerNormConstants, Rescale
from reference.quantize.plan.snap import Snapped, snap_down, snap_together, snap_up
from reference.quantize.scheme import preset
from reference.quantize.strict import exact, fullyqt, fullyqt_layernorm, matmul, residual

Real = NDArray[np.float64]
Array = NDArray[Any]

D_MODEL, D_HEAD, KEYS = 256, 64, 64
CHUNK = 1 << 19


class Trial(NamedTuple):
    """Some inputs: sites of the kernel and of torch, and, in codes without zero point, results and real values."""

    ours: tuple[Array, ...]
    theirs: tuple[Tensor, ...]
    result: Array
    real: Real
    low: float
    high: float


class Experiment(NamedTuple):
    """A kernel at one width: what its codes and inputs are, and its trials, made one after the other."""

    kernel: str
    codes: str
    unit: str
    inputs: int
    trials: Iterator[Trial]
    exhausted: bool


# --- what the kernels share -----------------------------------------------------------------------------------------


def _counters() -> NDArray[np.int64]:
    return np.zeros(len(Counter), np.int64)


def _unsigned(bits: int) -> IntFormat:
    return IntFormat(bits=bits, signed=False)


def _short(scale: float) -> float:
    """A scale rounded to 12 significant bits, so that float64 multiplies it with codes and adds up exactly."""
    mantissa, exponent = math.frexp(scale)
    return math.ldexp(round(mantissa * 2**12), exponent - 12)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], fmt: IntFormat) -> NDArray[np.int32]:
    return rng.integers(fmt.min, fmt.max + 1, shape, dtype=np.int32)


def _chunks(reach: int) -> Iterator[NDArray[np.int32]]:
    """Every integer of [-reach, reach]."""
    for start in range(-reach, reach + 1, CHUNK):
        yield np.arange(start, min(start + CHUNK, reach + 1), dtype=np.int32)


def _wide(acc: Array) -> Tensor:
    return torch.from_numpy(acc).double()


def _narrow(codes: Array) -> Tensor:
    return torch.from_numpy(codes).float()


def _reach(bits: int, terms: int) -> int:
    """The greatest sum of `terms` products of affine activations, any zero point, and weights, of `bits` bits."""
    return terms * ((1 << bits) - 1) << (bits - 1)


# --- accumulators ---------------------------------------------------------------------------------------------------


def _matmul(bits: int, rng: np.random.Generator) -> Experiment:
    """Codes drawn from all of their range; the LSB is the accumulator's, s_a * s_w[j]."""
    fmt, rows = IntFormat(bits=bits), 512
    a, w = _draw(rng, (rows, D_MODEL), fmt), _draw(rng, (D_MODEL, D_MODEL), fmt)
    bias = rng.integers(-_reach(bits, 16), _reach(bits, 16), D_MODEL)
    zero, bound = int(rng.integers(fmt.min, fmt.max + 1)), _reach(bits, D_MODEL + 16)
    s_a = _short(6.0 / 2**bits)
    s_w = np.array([_short(s) for s in rng.uniform(0.1, 0.4, D_MODEL) / 2 ** (bits - 1)])

    def trials() -> Iterator[Trial]:
        acc = kernels.matmul(a, w, bias, a_zero=zero, accumulator=Accumulator(), counters=_counters())
        theirs = matmul.matmul(_narrow(a), _narrow(w), torch.from_numpy(bias), zero, 0, bound)
        real = (s_a * (a - zero)) @ (s_w[:, None] * w).T + s_a * s_w * bias
        yield Trial((acc,), (theirs,), acc, real / (s_a * s_w), -math.inf, math.inf)

    return Experiment(
        "matrix product", f"{fmt} x {fmt} -> int32", "products of 256 terms", rows * D_MODEL, trials(), exhausted=False
    )


def _requantize(bits: int, rng: np.random.Generator) -> Experiment:
    """Every accumulator of a linear layer, one generic multiplier and one of two significant bits, which has ties."""
    fmt, terms = IntFormat(bits=bits), D_MODEL
    reach, s_out, zero = _reach(bits, terms), 6.0 / 2**bits, int(rng.integers(fmt.min, fmt.max + 1)) // 4
    s_acc = s_out * 3.0 * 2**bits / (reach / math.sqrt(terms)) * rng.uniform(0.7, 1.4, 2)
    snapped = [snap_up("", s / s_out, significant) for s, significant in zip(s_acc.tolist(), (16, 2), strict=True)]
    multiplier, shift = (np.array(values) for values in zip(*snapped, strict=True))
    s_acc = s_out * np.array([s.ratio for s in snapped])
    scales = torch.from_numpy(multiplier), torch.from_numpy(shift)

    def trials() -> Iterator[Trial]:
        for chunk in _chunks(reach):
            acc = np.stack((chunk, chunk), axis=1)
            codes = kernels.requantize(acc, multiplier, shift, zero, fmt, _counters())
            theirs = exact.requantize(_wide(acc), *scales, zero, fmt, reach)
            yield Trial((codes,), (theirs,), codes - zero, acc * s_acc / s_out, fmt.min - zero, fmt.max - zero)

    return Experiment(
        "requantize",
        f"int32 -> {fmt}",
        "accumulators of 256 terms, by 2 multipliers",
        2 * (2 * reach + 1),
        trials(),
        exhausted=True,
    )


def _elementwise(
    kernel: str,
    terms: int,
    reach: int,
    ours: Callable[[Array], Array],
    theirs: Callable[[Tensor], Tensor],
    real: Callable[[Real], Real],
) -> Experiment:
    """A kernel from accumulator to accumulator on every value that a sum of `terms` products can have."""

    def trials() -> Iterator[Trial]:
        for acc in _chunks(reach):
            result = ours(acc)
            yield Trial((result,), (theirs(_wide(acc)),), result, real(acc.astype(np.float64)), -math.inf, math.inf)

    return Experiment(
        kernel, "int32 -> int32", f"accumulators of {terms} terms", 2 * reach + 1, trials(), exhausted=True
    )


def _shift(bits: int, rng: np.random.Generator) -> Experiment:
    """Division by the power of two in sqrt(d_head)."""
    k = math.floor(math.log2(math.sqrt(D_HEAD)))
    return _elementwise(
        "shift",
        D_HEAD,
        D_HEAD * 4 ** (bits - 1),
        lambda acc: kernels.shift_right(acc, k, _counters()),
        lambda acc: exact.shift_right(acc, k),
        lambda real: real / 2.0**k,
    )


def _relu(bits: int, rng: np.random.Generator) -> Experiment:
    return _elementwise(
        "ReLU", D_MODEL, _reach(bits, D_MODEL), kernels.relu, exact.relu, lambda real: np.maximum(real, 0.0)
    )


# --- codes ----------------------------------------------------------------------------------------------------------


def _add(bits: int, rng: np.random.Generator) -> Experiment:
    """Every pair of codes: a LayerNorm's output and a sublayer's, to a residual code."""
    fmt, to = IntFormat(bits=bits), IntFormat(bits=preset(f"int{bits}").residual_bits)
    a, b = (x.reshape(-1) for x in np.meshgrid(*[np.arange(fmt.min, fmt.max + 1, dtype=np.int32)] * 2))
    (s_a, s_b), (a_zero, b_zero) = rng.uniform(4.0, 12.0, 2) / 2**bits, rng.integers(fmt.min, fmt.max + 1, 2).tolist()
    s_sum = (s_a + s_b) * (fmt.max - fmt.min) / (to.max - to.min)
    zero = round(to.min - (s_a * (fmt.min - a_zero) + s_b * (fmt.min - b_zero)) / s_sum)
    (a_multiplier, b_multiplier), shift = snap_together("", [s_a / s_sum, s_b / s_sum], 16)
    s_a, s_b = (math.ldexp(m, -shift) * s_sum for m in (a_multiplier, b_multiplier))

    def trials() -> Iterator[Trial]:
        sums = kernels.add(
            a,
            b,
            a_zero=a_zero,
            b_zero=b_zero,
            a_multiplier=a_multiplier,
            b_multiplier=b_multiplier,
            shift=shift,
            zero_point=zero,
            output=to,
            counters=_counters(),
        )
        theirs = residual.add(_narrow(a), _narrow(b), a_zero, b_zero, a_multiplier, b_multiplier, shift, zero, to)
        real = (s_a * (a - a_zero) + s_b * (b - b_zero)) / s_sum
        yield Trial((sums,), (theirs,), sums - zero, real, to.min - zero, to.max - zero)

    return Experiment("residual add", f"{fmt}, {fmt} -> {to}", "pairs of codes", a.size, trials(), exhausted=True)


def _softmax(bits: int, rng: np.random.Generator) -> Experiment:
    """Rows of normally distributed scores, of which 1 to 64 keys are allowed; every inner site has `bits` bits."""
    fmt, unsigned, rows = IntFormat(bits=bits), _unsigned(bits), 4096
    s_scores = 16.0 / 2**bits
    q = (rng.normal(0.0, 2.5, (rows, KEYS)) / s_scores).round().clip(fmt.min, fmt.max).astype(np.int32)
    allowed = np.arange(KEYS) < rng.integers(1, KEYS + 1, (rows, 1))
    table = fullyqt.exp_table(s_scores, bits, bits)
    s_n = 1.0 / unsigned.max
    power = np.where(allowed, np.exp(s_scores * (q - np.where(allowed, q, fmt.min).max(-1, keepdims=True))), 0.0)
    total = power.sum(-1, keepdims=True)
    to_d = snap_down("", s_n * unsigned.max / float(total.max()), 16)
    s_d = s_n / to_d.ratio
    to_out = snap_down("", s_n * unsigned.max / s_d, 16)
    s_out = s_n / (s_d * to_out.ratio)
    ratios: dict[str, Any] = {
        "denominator_multiplier": to_d.multiplier,
        "denominator_shift": to_d.shift,
        "output_multiplier": to_out.multiplier,
        "output_shift": to_out.shift,
    }

    def trials() -> Iterator[Trial]:
        ours = kernels.softmax(
            q,
            allowed,
            table.numpy().astype(np.int32),
            **ratios,
            denominator=unsigned,
            output=unsigned,
            counters=_counters(),
        )
        theirs = fullyqt.softmax(
            _narrow(q),
            torch.from_numpy(allowed),
            table,
            s_scores,
            **ratios,
            denominator_fmt=unsigned,
            output_fmt=unsigned,
        )
        real = power / total / s_out
        yield Trial(tuple(ours), theirs[:3], ours.output[allowed], real[allowed], 0, unsigned.max)

    return Experiment("softmax", f"{fmt} -> {unsigned}", f"rows of up to {KEYS} keys", rows, trials(), exhausted=False)


class _Normalisation(NamedTuple):
    """Inputs of a LayerNorm, its constants, and its real result in steps of the output."""

    x: NDArray[np.int32]
    gamma: NDArray[np.int32]
    beta: NDArray[np.int64]
    constants: LayerNormConstants
    real: Real


def _cover(low: float, high: float, fmt: IntFormat) -> float:
    """The least symmetric scale that reaches both."""
    return max(high / fmt.max, low / fmt.min if fmt.min else 0.0)


def _normalisation(bits: int, rng: np.random.Generator, rows: int) -> _Normalisation:
    """Rows of different spread; scales from their extremes, snapped as in a program."""
    fmt, unsigned, n, eps = IntFormat(bits=bits), _unsigned(bits), D_MODEL, 1e-5
    wide = IntFormat(bits=preset(f"int{bits}").residual_bits)
    values = rng.normal(0.0, rng.uniform(0.5, 2.0, (rows, 1)), (rows, n)) + rng.normal(0.0, 0.3, n)
    s_x = float(np.abs(values).max()) / wide.max
    x = (values / s_x).round().astype(np.int32)
    centred = s_x * (x - x.mean(-1, keepdims=True))
    deviation = np.sqrt(centred.var(-1, keepdims=True) + eps)
    y = centred / deviation
    numerator = snap_down("", s_x / n / _cover(float(centred.min()), float(centred.max()), fmt), 16)
    denominator = snap_down("", s_x / n * unsigned.max / float(deviation.max()), 16)
    s_n, s_d = s_x / n / numerator.ratio, s_x / n / denominator.ratio
    quotient = snap_down("", s_n / s_d / _cover(float(y.min()), float(y.max()), fmt), 16)
    s_q = s_n / s_d / quotient.ratio
    weight, offset = rng.normal(1.0, 0.2, n), rng.normal(0.0, 0.1, n)
    wanted = y * weight + offset
    s_out = float(wanted.max() - wanted.min()) / (fmt.max - fmt.min)
    output = snap_up("", s_q * float(np.abs(weight).max()) / fmt.max / s_out, 16)
    s_gamma = output.ratio * s_out / s_q
    gamma, beta = (weight / s_gamma).round().astype(np.int32), (offset / (s_q * s_gamma)).round().astype(np.int64)

    def to(snapped: Snapped, form: IntFormat, zero_point: int = 0) -> Rescale:
        return Rescale(multiplier=snapped.multiplier, shift=snapped.shift, fmt=form, zero_point=zero_point)

    constants = LayerNormConstants(
        eps=round(eps * n**2 / s_x**2),
        numerator=to(numerator, fmt),
        denominator=to(denominator, unsigned),
        quotient=to(quotient, fmt),
        output=to(output, fmt, round(fmt.min - float(wanted.min()) / s_out)),
    )
    real = (y * (s_gamma * gamma) + s_q * s_gamma * beta) / s_out
    return _Normalisation(x, gamma, beta, constants, real)


def _kernel_constants(c: LayerNormConstants) -> kernels.LayerNormConstants:
    """The same numbers as the kernel takes them."""
    n, d, q, o = c.numerator, c.denominator, c.quotient, c.output
    return kernels.LayerNormConstants(
        c.eps,
        *(n.multiplier, n.shift, n.fmt),
        *(d.multiplier, d.shift, d.fmt),
        *(q.multiplier, q.shift, q.fmt),
        o.multiplier,
        o.shift,
        o.zero_point,
        o.fmt,
    )


def _layernorm(bits: int, rng: np.random.Generator) -> Experiment:
    """Rows of residual codes; every inner site has `bits` bits."""
    rows = 1024
    case = _normalisation(bits, rng, rows)
    to, zero = case.constants.output.fmt, case.constants.output.zero_point

    def trials() -> Iterator[Trial]:
        ours = kernels.layernorm(case.x, case.gamma, case.beta, _kernel_constants(case.constants), _counters())
        gamma, beta = torch.from_numpy(case.gamma), torch.from_numpy(case.beta)
        theirs = fullyqt_layernorm.layernorm(_narrow(case.x), gamma, beta, case.constants)
        yield Trial(tuple(ours), theirs[:4], ours.output - zero, case.real, to.min - zero, to.max - zero)

    return Experiment(
        "LayerNorm",
        f"int{preset(f'int{bits}').residual_bits} -> {to}",
        f"rows of {D_MODEL}",
        rows,
        trials(),
        exhausted=False,
    )


EXPERIMENTS = (_matmul, _requantize, _shift, _softmax, _layernorm, _relu, _add)
"""In the order of the table."""
