"""Kernel by kernel: codes against the torch functions of strict fake-quant, error against real mathematics in float64."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.accuracy import decibel
from hwsim import kernels
from hwsim.formats import Accumulator, Counter, IntFormat
from reference.quantize import exact, exact_matmul, exact_rows
from reference.quantize.scheme import Scheme
from reference.quantize.snap import Snapped, snap_down, snap_together, snap_up

Real = NDArray[np.float64]
Array = NDArray[Any]

WIDTHS = (8, 6, 4)
D_MODEL, D_HEAD, D_FF, KEYS = 256, 64, 1024, 64
RESIDUAL_BITS = Scheme(name="").residual_bits
CHUNK = 1 << 19
BINS_PER_LSB, BIN_REACH = 32, 16
"""Errors are counted in bins of 1/32 LSB, the last ones, at -16 and 16 LSB, with all beyond."""


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """One kernel at one width.

    Attributes
    ----------
    kernel, bits, codes
        Its name, the width of its codes, and what goes in and comes out.
    inputs, unit, exhausted
        How many inputs, what one input is, and whether there are no others.
    codes_compared, codes_different
        Of the kernel and the torch function; inner sites count too.
    clamped
        Results whose real value lies outside the output's range: compared, but not in the errors.
    max_error_lsb, mean_error_lsb
        Greatest and mean |code - real value| in steps of the output.
    sqnr_db
        Power of the real values over power of the errors; infinite for an exact kernel.
    error_lsb, error_counts
        Histogram of code - real value: centres of bins, ascending, and results in each.
    """

    kernel: str
    bits: int
    codes: str
    inputs: int
    unit: str
    exhausted: bool
    codes_compared: int
    codes_different: int
    clamped: int
    max_error_lsb: float
    mean_error_lsb: float
    sqnr_db: float
    error_lsb: tuple[float, ...]
    error_counts: tuple[int, ...]


class Trial(NamedTuple):
    """Some inputs: sites of the kernel and of torch, and, in codes without zero point, results and real values."""

    ours: tuple[Array, ...]
    theirs: tuple[Tensor, ...]
    result: Array
    real: Real
    low: float
    high: float


@dataclass(kw_only=True)
class Experiment:
    """A kernel at one width: its trials, made one after the other."""

    kernel: str
    codes: str
    unit: str
    inputs: int
    exhausted: bool
    trials: Iterator[Trial]


@dataclass(kw_only=True)
class _Tally:
    """Running sums over trials."""

    compared: int = 0
    different: int = 0
    clamped: int = 0
    measured: int = 0
    greatest: float = 0.0
    absolute: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * BINS_PER_LSB * BIN_REACH + 1, np.int64))

    def add(self, trial: Trial) -> None:
        for ours, theirs in zip(trial.ours, trial.theirs, strict=True):
            self.compared += ours.size
            self.different += int((ours != theirs.numpy()).sum())
        inside = (trial.low <= trial.real) & (trial.real <= trial.high)
        real = trial.real[inside]
        error = trial.result[inside] - real
        self.clamped += trial.real.size - real.size
        self.measured += real.size
        self.signal += float(real @ real)
        self.noise += float(error @ error)
        bins = np.rint(error * BINS_PER_LSB).astype(np.int64) + BINS_PER_LSB * BIN_REACH
        self.counts += np.bincount(bins.clip(0, self.counts.size - 1), minlength=self.counts.size)
        error = np.abs(error)
        self.absolute += float(error.sum())
        self.greatest = max(self.greatest, float(error.max(initial=0.0)))

    def histogram(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        filled = np.flatnonzero(self.counts)
        bins = np.arange(filled[0], filled[-1] + 1)
        centres = bins / BINS_PER_LSB - BIN_REACH
        return tuple(centres.tolist()), tuple(self.counts[bins].tolist())


def kernel_table(seed: int) -> list[KernelRow]:
    """Run every kernel at 8, 6 and 4 bits.

    Elementwise kernels get every input there is, the others inputs drawn with `seed`. Shapes, scales and multipliers
    are those of a Transformer of d_model 256; sums of residuals have 16 bits, as by default.
    """
    return [measure(bits, make(bits, np.random.default_rng([seed, bits]))) for make in EXPERIMENTS for bits in WIDTHS]


def measure(bits: int, experiment: Experiment) -> KernelRow:
    """Run the trials of an experiment."""
    tally = _Tally()
    with torch.inference_mode():
        for trial in experiment.trials:
            tally.add(trial)
    error_lsb, error_counts = tally.histogram()
    return KernelRow(
        kernel=experiment.kernel,
        bits=bits,
        codes=experiment.codes,
        inputs=experiment.inputs,
        unit=experiment.unit,
        exhausted=experiment.exhausted,
        codes_compared=tally.compared,
        codes_different=tally.different,
        clamped=tally.clamped,
        max_error_lsb=tally.greatest,
        mean_error_lsb=tally.absolute / tally.measured,
        sqnr_db=decibel(tally.signal, tally.noise),
        error_lsb=error_lsb,
        error_counts=error_counts,
    )


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
    return terms * (2**bits - 1) * 2 ** (bits - 1)


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
        theirs = exact_matmul.matmul(_narrow(a), _narrow(w), torch.from_numpy(bias), zero, 0, bound)
        real = (s_a * (a - zero)) @ (s_w[:, None] * w).T + s_a * s_w * bias
        yield Trial((acc,), (theirs,), acc, real / (s_a * s_w), -math.inf, math.inf)

    return Experiment(
        kernel="matrix product",
        codes=f"{fmt} x {fmt} -> int32",
        unit="products of 256 terms",
        inputs=rows * D_MODEL,
        exhausted=False,
        trials=trials(),
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
        kernel="requantize",
        codes=f"int32 -> {fmt}",
        unit="accumulators of 256 terms, by 2 multipliers",
        inputs=2 * (2 * reach + 1),
        exhausted=True,
        trials=trials(),
    )


def _accumulator_experiment(
    kernel: str, reach: int, step: float, ours: Callable[[Array], Array], theirs: Callable[[Tensor], Tensor], unit: str
) -> Experiment:
    """A kernel from accumulator to accumulator, on every value; the real function is max(x, 0) or x / step."""

    def trials() -> Iterator[Trial]:
        for acc in _chunks(reach):
            result = ours(acc)
            real = acc.astype(np.float64)
            real = np.maximum(real, 0.0) if kernel == "ReLU" else real / step
            yield Trial((result,), (theirs(_wide(acc)),), result, real, -math.inf, math.inf)

    return Experiment(
        kernel=kernel, codes="int32 -> int32", unit=unit, inputs=2 * reach + 1, exhausted=True, trials=trials()
    )
