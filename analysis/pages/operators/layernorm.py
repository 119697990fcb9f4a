"""Errors of the LayerNorms, and of RMSNorm from the same parts."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from analysis.pages.operators import pictures, planned
from analysis.pages.operators.study import (
    SEED,
    Codes,
    Errors,
    Finding,
    Integers,
    Reals,
    Study,
    errors,
    finding,
    no_events,
    signed,
    unsigned,
)
from hwsim.formats import IntFormat
from hwsim.operators import layernorm as kernels
from hwsim.program.targets import LayerNormMethod
from reference.quantize.plan.constants import (
    AnyLayerNormConstants,
    GemminiLayerNormConstants,
    IBertLayerNormConstants,
    LayerNormConstants,
    PulpLayerNormConstants,
    TfliteLayerNormConstants,
)

PAGE = "layernorm"
N = 256
OUTPUT = signed(8)
UNIT = {8: 25.0, 16: 2000.0}
"""Codes of a real 1, by width of the input: what typical rows have as their standard deviation."""
Kernel = Callable[[Codes, bool], Codes]


class Rows(NamedTuple):
    """A domain: codes of a width, and what to call it."""

    codes: Codes
    bits: int
    domain: str


class Parameters(NamedTuple):
    """gamma and beta as real numbers; scale of the output."""

    gamma: Reals
    beta: Reals
    s_out: float


def parameters() -> Parameters:
    """gamma about 1, beta about 0, and an output whose range is 4.5 standard deviations."""
    rng = np.random.default_rng(SEED)
    return Parameters(rng.normal(1.0, 0.2, N), rng.normal(0.0, 0.1, N), 4.5 / OUTPUT.max)


def rows(bits: int, count: int, low: float, high: float) -> Rows:
    """Normal rows with their mean off 0, standard deviations of `low` to `high` codes, logarithmically even."""
    rng = np.random.default_rng([SEED, bits, count])
    deviation = np.geomspace(low, high, count)[:, None]
    drawn = deviation * (rng.normal(size=(count, N)) + rng.normal(0.0, 0.3, (count, 1)))
    codes = drawn.round().clip(signed(bits).min, signed(bits).max).astype(np.int32)
    varied = codes[codes.std(axis=1) > 0]
    return Rows(varied, bits, f"{len(varied)} rows of {N} int{bits} codes, deviation {low:g} to {high:g}")


TYPICAL = (rows(16, 512, 1000, 4000), rows(8, 512, 12, 40))
EVERY = rows(16, 768, 1, 8000)


class Extremes(NamedTuple):
    """The greatest |x - mean|, standard deviation and their greatest quotient, real numbers."""

    deviation: float
    spread: float
    quotient: float


def _calibrated(bits: int) -> Extremes:
    """What calibration sees on typical rows, with and without their mean."""
    x = next(domain.codes for domain in TYPICAL if domain.bits == bits) / UNIT[bits]
    both = np.concatenate([x, x - x.mean(-1, keepdims=True)])
    spread = np.sqrt((both**2).mean(-1, keepdims=True))
    return Extremes(float(np.abs(both).max()), float(spread.max()), float(np.abs(both / spread).max()))


# Kernels with the planner's constants


def _fullyqt(bits: int, p: Parameters, width: int) -> Kernel:
    """Parts of `width` bits, whose ranges are those of typical rows."""
    form, positive, s_x, extremes = signed(width), unsigned(width), 1 / UNIT[bits], _calibrated(bits)
    formats = {"numerator": form, "denominator": positive, "quotient": form, "output": OUTPUT, "gamma": signed(8)}
    scales = {
        "input": s_x,
        "numerator": extremes.deviation / form.max,
        "denominator": extremes.spread / positive.max,
        "quotient": extremes.quotient / form.max,
        "output": p.s_out,
    }
    constants, s_gamma = planned.layernorm("fullyqt", torch.from_numpy(p.gamma), scales, formats, 16)
    assert isinstance(constants, LayerNormConstants)
    forms = {"numerator": form, "denominator": positive, "quotient": form, "output": OUTPUT}
    numbers: dict[str, Any] = forms | {"eps": 0, "output_zero_point": 0}
    for part in planned.PARTS:
        numbers |= {f"{part}_{field}": getattr(getattr(constants, part), field) for field in ("multiplier", "shift")}
    ratios = kernels.LayerNormConstants(**numbers)
    gamma, beta = _codes(p.gamma, s_gamma), _integers(p.beta, scales["quotient"] * s_gamma)
    return lambda x, centred: kernels.layernorm(x, gamma, beta, ratios, no_events(), centred=centred).output


def _ibert(bits: int, p: Parameters) -> Kernel:
    constants, _ = _plain("ibert", bits, p, IntFormat(bits=2, narrow=True))
    assert isinstance(constants, IBertLayerNormConstants)
    sign, beta = np.sign(p.gamma).astype(np.int32), _integers(p.beta, constants.beta_scale)
    ratios = constants.multipliers.numpy(), constants.shifts.numpy()
    options: dict[str, Any] = {"zero": 0, "zero_point": 0, "variance_shift": constants.variance_shift}
    return lambda x, centred: kernels.ibert_layernorm(
        x, sign, beta, *ratios, **options, output=OUTPUT, counters=no_events(), centred=centred
    )


def _pulp(bits: int, p: Parameters) -> Kernel:
    constants, s_gamma = _plain("pulp", bits, p, signed(32))
    assert isinstance(constants, PulpLayerNormConstants)
    gamma, beta = _codes(p.gamma, s_gamma), _integers(p.beta, constants.beta_scale) + constants.half
    options: dict[str, Any] = {"zero": 0, "zero_point": 0, "shift": constants.shift}
    return lambda x, centred: kernels.pulp_layernorm(
        x, gamma, beta, **options, output=OUTPUT, counters=no_events(), centred=centred
    )


def _tflite(bits: int, p: Parameters) -> Kernel:
    constants, s_gamma = _plain("tflite", bits, p, signed(16))
    assert isinstance(constants, TfliteLayerNormConstants)
    gamma, beta = _codes(p.gamma, s_gamma), _integers(p.beta, constants.beta_scale)
    options = {"zero": 0, "zero_point": 0, "variance_limit": constants.variance_limit}
    ratio = constants.requantization._asdict()
    return lambda x, centred: kernels.tflite_layernorm(
        x, gamma, beta, **options, **ratio, output=OUTPUT, counters=no_events(), centred=centred
    )


def _gemmini(bits: int, p: Parameters) -> Kernel:
    """Of rows whose squares fit an int32; it has no RMSNorm."""
    constants, s_gamma = _plain("gemmini", bits, p, signed(8))
    assert isinstance(constants, GemminiLayerNormConstants)
    gamma, beta = _codes(p.gamma, s_gamma), _integers(p.beta, constants.beta_scale)
    options = {"zero": 0, "zero_point": 0, **constants.requantization._asdict()}
    return lambda x, _: kernels.gemmini_layernorm(x, gamma, beta, **options, output=OUTPUT, counters=no_events())


def _plain(
    method: LayerNormMethod, bits: int, p: Parameters, gamma: IntFormat
) -> tuple[AnyLayerNormConstants, torch.Tensor]:
    formats = {"input": signed(bits), "output": OUTPUT, "gamma": gamma}
    scales = {"input": 1 / UNIT[bits], "output": p.s_out}
    width = {"tflite": 31, "gemmini": 24}.get(method, 16)
    return planned.layernorm(method, torch.from_numpy(p.gamma), scales, formats, width)


def _codes(values: Reals, scale: torch.Tensor) -> Codes:
    codes: Codes = (values / scale.numpy()).round().astype(np.int32)
    return codes


def _integers(values: Reals, scale: torch.Tensor) -> Integers:
    integers: Integers = (values / scale.numpy()).round().astype(np.int64)
    return integers


METHODS: dict[str, Callable[[int, Parameters], Kernel]] = {
    "FullyQT, 8-bit parts": lambda bits, p: _fullyqt(bits, p, 8),
    "FullyQT, 16-bit parts": lambda bits, p: _fullyqt(bits, p, 16),
    "I-BERT": _ibert,
    "PULP": _pulp,
    "TFLite int16": _tflite,
}


# Findings


def normalised(x: Codes, p: Parameters, centred: bool) -> Reals:
    """The real LayerNorm or RMSNorm, without epsilon, in steps of the output."""
    values = x - x.mean(-1, keepdims=True) if centred else x.astype(np.float64)
    quotient: Reals = values / np.sqrt((values**2).mean(-1, keepdims=True))
    return (quotient * p.gamma + p.beta) / p.s_out


def _found(kernel: Kernel, domain: Rows, p: Parameters, centred: bool = True) -> Errors:
    return errors(kernel(domain.codes, centred), normalised(domain.codes, p, centred), OUTPUT.min, OUTPUT.max)


def _finding(name: str, found: Errors, domain: Rows) -> Finding:
    def where(place: int) -> str:
        row, column = divmod(place, N)
        return f"deviation {domain.codes[row].std():.3g} codes, x = {domain.codes[row, column]:,}"

    return finding(name, domain.domain, "4.5/127", found, where)


def studies() -> Iterator[Study]:
    """Typical rows, rows of every spread, RMSNorm."""
    p, findings = parameters(), []
    panels: dict[str, pictures.Series] = {}
    for name, make in METHODS.items():
        for domain in TYPICAL:
            findings.append(_finding(name, _found(make(domain.bits, p), domain, p), domain))
        kernel = make(EVERY.bits, p)
        found = _found(kernel, EVERY, p)
        findings.append(_finding(name, found, EVERY))
        findings.append(_finding(f"{name}, RMSNorm", _found(kernel, TYPICAL[0], p, False), TYPICAL[0]))
        panels[name] = {"": _greatest(found, EVERY)}
    narrow = TYPICAL[1]
    findings.append(_finding("Gemmini", _found(_gemmini(narrow.bits, p), narrow, p), narrow))
    title = f"LayerNorm of {N} int16 codes: greatest error of a row against its standard deviation"
    figure = pictures.growth(title, panels, "standard deviation of the row (codes)", "greatest error (LSB)", columns=3)
    yield Study(page=PAGE, name="layernorm", findings=findings, figure=figure)


def _greatest(found: Errors, domain: Rows) -> tuple[Reals, Reals]:
    """Standard deviation and greatest error of every row."""
    greatest = np.zeros(len(domain.codes))
    np.maximum.at(greatest, found.places // N, np.abs(found.values))
    return domain.codes.std(axis=1), greatest
