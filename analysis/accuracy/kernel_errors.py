"""Kernel by kernel: codes against the torch functions of strict fake-quant, errors against real mathematics."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.accuracy.accuracy import decibel
from analysis.accuracy.kernel_trials import EXPERIMENTS, Experiment, Trial

WIDTHS = (8, 6, 4)
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
