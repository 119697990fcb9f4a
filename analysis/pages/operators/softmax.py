"""Errors of the softmaxes: two keys at every distance, and rows of up to 64 keys."""

from collections.abc import Callable, Iterator
from math import log
from typing import Any, NamedTuple

import numpy as np

from analysis.pages.operators import pictures, planned
from analysis.pages.operators.study import (
    SEED,
    Codes,
    Errors,
    Finding,
    Reals,
    Study,
    encoded,
    errors,
    finding,
    no_events,
    signed,
    unsigned,
)
from hwsim.formats import IntFormat
from hwsim.operators import softmax as kernels
from hwsim.program.targets import SoftmaxMethod
from reference.quantize.plan.constants import SoftmaxConstants
from reference.quantize.plan.tables import exponential, interpolation_table, reciprocal
from reference.quantize.strict.fullyqt import exp_table
from reference.quantize.strict.qlinear import qlinear_table

PAGE = "softmax"
SCALE = 0.05
"""Of 8-bit score codes: 127 stands for a score of 6.35."""
ITAMAX_SHIFT = 5
ITAMAX_SCALE = log(2) / (1 << ITAMAX_SHIFT)
INT16_SCALE = 2.0**-11
LENGTHS, ROWS = (2, 8, 32, 64), 384
THINNED = 7
"""Of so many results of the rows one is drawn."""
STREAMING = "ITAMax, groups of 16"
Kernel = Callable[[Codes], Codes]


class Method(NamedTuple):
    """A softmax with its constants: scores to codes whose 0 is `zero` and whose step is `lsb`."""

    name: str
    kernel: Kernel
    scale: float
    lsb: float
    lsb_text: str
    output: IntFormat
    zero: int = 0
    score_bits: int = 8


def methods() -> Iterator[Method]:
    """In the order of the page."""
    yield _table("table, 8-bit inner", 8)
    yield _table("table, 16-bit inner", 16)
    for bits in (8, 16):
        keywords, lsb = _planned("gemmlowp", signed(bits))
        call = _calls(kernels.gemmlowp_softmax, **keywords)
        zero = signed(bits).min
        yield Method(f"gemmlowp, int{bits}", call, SCALE, lsb, f"2^-{bits}", signed(bits), zero)
    yield _int16()
    for bits in (8, 16):
        keywords, lsb = _planned("ibert", unsigned(bits))
        ratio = keywords.pop("requantization")
        call = _calls(kernels.ibert_softmax, **keywords, **ratio._asdict())
        yield Method(f"I-BERT, uint{bits}", call, SCALE, lsb, f"2^-{bits}", unsigned(bits))
    for name, group in (("ITAMax, single pass", 0), (STREAMING, 16)):
        call = _calls(kernels.itamax, shift=ITAMAX_SHIFT, group=group, output=unsigned(8))
        yield Method(name, call, ITAMAX_SCALE, 1 / 255, "1/255", unsigned(8))
    keywords, lsb = _planned("gemmini", signed(8))
    yield Method("Gemmini", _calls(kernels.gemmini_softmax, **keywords), SCALE, lsb, "1/127", signed(8))
    keywords, lsb = _planned("pulp", unsigned(8))
    yield Method("PULP", _calls(kernels.pulp_softmax, **keywords), SCALE, lsb, "1/255", unsigned(8))
    keywords, lsb = _planned("qlinear", signed(8))
    exponentials = qlinear_table(keywords.pop("table_scale"), 8, keywords.pop("keys")).numpy().astype(np.int32)
    call = _calls(kernels.qlinear_softmax, table=exponentials, **keywords)
    yield Method("ONNX Runtime", call, SCALE, lsb, "2^-8", signed(8), signed(8).min)


def _calls(kernel: Callable[..., Codes], **constants: Any) -> Kernel:
    """A kernel of unmasked scores."""
    return lambda scores: kernel(scores, np.ones(scores.shape, bool), **constants, counters=no_events())


def _planned(method: SoftmaxMethod, output: IntFormat) -> tuple[dict[str, Any], float]:
    """Keywords of a kernel, and the step of its output."""
    constants, lsb = planned.softmax(method, {"input": SCALE}, {"output": output})
    return vars(constants) | {"output": output}, lsb


def _table(name: str, bits: int) -> Method:
    """Table and divider to 8 bits; the denominator's scale holds the greatest sum of the rows."""
    form, output = unsigned(bits), unsigned(8)
    table = exp_table(SCALE, 8, bits).numpy().astype(np.int32)
    scales = {"input": SCALE, "denominator": float(_sums().max()) / form.max, "output": 1 / output.max}
    formats = {"numerator": form, "denominator": form, "output": output}
    constants, lsb = planned.softmax("table", scales, formats)
    assert isinstance(constants, SoftmaxConstants)
    division = {
        f"{part}_{field}": getattr(getattr(constants, part), field)
        for part in ("denominator", "output")
        for field in ("multiplier", "shift")
    }
    call = _calls(_output_of_table, table=table, **division, denominator=form, output=output)
    return Method(name, call, SCALE, lsb, f"{lsb:.5f}", output)


def _output_of_table(*arguments: Any, **constants: Any) -> Codes:
    return kernels.softmax(*arguments, **constants).output


def _int16() -> Method:
    exp, inverse = interpolation_table(exponential, -10, 0), interpolation_table(reciprocal, 0, 1)
    multiplier, shift = encoded(INT16_SCALE * 65535 / 10, 31)
    tables = {"exp_table": exp, "reciprocal_table": inverse}
    call = _calls(kernels.softmax_int16, **tables, multiplier=multiplier, shift=shift)
    return Method("int16 tables", call, INT16_SCALE, 2.0**-15, "2^-15", IntFormat(bits=15, signed=False), 0, 16)


# Domains


def two_keys(bits: int) -> Codes:
    """(distances, 2): the greatest code, and every code at or below it."""
    top = (1 << (bits - 1)) - 1
    below = np.arange(top, -top - 2, -1, dtype=np.int32)
    return np.stack([np.full_like(below, top), below], 1)


def rows(length: int, bits: int) -> Codes:
    """Normal rows of many spreads; of three, one ascends, one descends and one is as it was drawn."""
    rng = np.random.default_rng([SEED, length])
    drawn = rng.normal(0.0, 2.0 ** rng.uniform(0, 6, (ROWS, 1)), (ROWS, length)) * (1 << (bits - 8))
    codes = drawn.round().clip(-(1 << (bits - 1)), (1 << (bits - 1)) - 1).astype(np.int32)
    codes[::3].sort(axis=1)
    codes[1::3] = -np.sort(-codes[1::3], axis=1)
    return codes


def _sums() -> Reals:
    """Sums of exponentials of every row."""
    return np.concatenate([_exponentials(rows(length, 8), SCALE).sum(-1) for length in LENGTHS])


def _exponentials(scores: Codes, scale: float) -> Reals:
    power: Reals = np.exp(scale * (scores - scores.max(-1, keepdims=True)))
    return power


def probabilities(scores: Codes, scale: float) -> Reals:
    """The real softmax."""
    power = _exponentials(scores, scale)
    real: Reals = power / power.sum(-1, keepdims=True)
    return real


# Findings


class Result(NamedTuple):
    """Real probabilities inside the output's range, errors there, distances of the row, and the row of the table."""

    probability: Reals
    error: Reals
    distance: Reals
    finding: Finding


def run(method: Method, scores: Codes, domain: str) -> Result:
    """Errors of a method on rows of one length."""
    real = probabilities(scores, method.scale)
    low, high = method.output.min - method.zero, method.output.max - method.zero
    found = errors(method.kernel(scores) - method.zero, real / method.lsb, low, high)
    probability = real.reshape(-1)[found.places]
    below = scores.max(-1, keepdims=True) - scores
    distance = np.broadcast_to(below.max(-1, keepdims=True), scores.shape).reshape(-1)[found.places] * method.scale

    def where(place: int) -> str:
        row, key = divmod(place, scores.shape[1])
        return f"{scores.shape[1]} keys, d = {below[row, key]:,}, p = {real[row, key]:.3f}"

    return Result(probability, found.values, distance, finding(method.name, domain, method.lsb_text, found, where))


def studies() -> Iterator[Study]:
    """Two keys at every distance; rows."""
    every = list(methods())
    pairs = {
        m.name: run(m, two_keys(m.score_bits), f"2 keys, all {1 << m.score_bits:,} distances")
        for m in every
        if m.name != STREAMING
    }
    yield Study(
        page=PAGE,
        name="softmax-two-keys",
        findings=[result.finding for result in pairs.values()],
        figure=pictures.scatter(
            "Softmax of two keys: errors of both probabilities at every distance",
            {name: _by_key(result) for name, result in pairs.items()},
            "real distance of the scores s·d (nat)",
            columns=3,
        ),
    )
    mixed = {m.name: _mixed(m) for m in every}
    yield Study(
        page=PAGE,
        name="softmax-rows",
        findings=[result.finding for result in mixed.values()],
        figure=pictures.scatter(
            f"Softmax of rows of {', '.join(map(str, LENGTHS))} keys: error against the real probability",
            {name: {"": (r.probability[::THINNED], r.error[::THINNED])} for name, r in mixed.items()},
            "real probability",
            columns=4,
            x_range=(-0.03, 1.03),
        ),
    )


def _by_key(result: Result) -> pictures.Series:
    """The likelier key and the other one apart, at most about a thousand points."""
    step, likely = max(1, result.error.size // 1024), result.probability > 0.5
    return {
        name: (result.distance[keys][::step], result.error[keys][::step])
        for name, keys in (("likelier key", likely), ("other key", ~likely))
    }


def _mixed(method: Method) -> Result:
    """Rows of every length, as one."""
    domain = f"{ROWS} rows each of {', '.join(map(str, LENGTHS))} keys, spread 1 to 64 8-bit codes"
    found = [run(method, rows(length, method.score_bits), domain) for length in LENGTHS]
    worst = max((result.finding for result in found), key=lambda one: one.max_lsb)
    probability, error, distance = (np.concatenate(parts) for parts in list(zip(*found, strict=True))[:3])
    everywhere = Errors(error, np.arange(error.size))
    together = finding(method.name, domain, method.lsb_text, everywhere, lambda _: worst.where)
    return Result(probability, error, distance, together)
