"""Errors of the requantization schemes and of the residual sums."""

from collections.abc import Callable, Iterator
from math import ldexp
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.pages.operators import pictures
from analysis.pages.operators.study import (
    SEED,
    Codes,
    Errors,
    Finding,
    Integers,
    Reals,
    Study,
    encoded,
    errors,
    finding,
    no_events,
    one,
    signed,
)
from hwsim.formats import IntFormat, Rounding, Scaling
from hwsim.operators.requantize import requantize
from hwsim.operators.residual import add, rescaled_add
from hwsim.program.catalogue import CATALOGUE, scaling_of, scheme_type

PAGE = "requantization"
RATIOS = np.exp2(np.linspace(-11.9, -2.1, 24))
ZERO_POINT = 17
DEFAULT_BITS = 16
"""Of hwsim's own dyadic multipliers."""


class Scheme(NamedTuple):
    """A scheme of the catalogue as it is studied: name in the table, arithmetic, bits of the multiplier."""

    name: str
    scaling: Scaling
    bits: int


def schemes() -> Iterator[Scheme]:
    """Every scheme, `shift` by every rounding, `dyadic` at both widths."""
    for name, record in CATALOGUE.items():
        if name == "shift":
            yield from (Scheme(f"`shift`, {r.name}", Scaling[r.name], 1) for r in Rounding)
            continue
        scaling = scaling_of(scheme_type(name))
        yield Scheme(f"`{name}`", scaling, record.limits.multiplier_bits)
        if name == "dyadic":
            yield Scheme("`dyadic`, 16-bit m", scaling, DEFAULT_BITS)


def studies() -> Iterator[Study]:
    """Both sections of the page."""
    yield Study(page=PAGE, name="requantization", findings=[_finding(s) for s in schemes()], figure=_ties())
    sums = dict(_sums())
    figure = pictures.histograms(
        "Residual sums of int8 codes: how the roundings add up",
        {name.replace("`", ""): found.values for name, (found, _, _) in sums.items() if "int16" not in name},
        "error (LSB; dotted: ±0.5)",
    )
    yield Study(
        page=PAGE, name="residual", findings=[_sum_finding(name, *s) for name, s in sums.items()], figure=figure
    )


# Requantization


def _finding(scheme: Scheme) -> Finding:
    """Every accumulator whose result lies in int8, for every ratio."""
    found, inputs = zip(*(_one_ratio(scheme, float(ratio)) for ratio in RATIOS), strict=True)
    values = np.concatenate([one_ratio.values for one_ratio in found])
    described = np.concatenate(inputs)
    together = Errors(values, np.arange(values.size))

    def where(place: int) -> str:
        x, m, e = (int(number) for number in described[place])
        return f"x = {x:,}, x·m/2^e = {ldexp(x * m, -e):.4f}"

    domain = f"every x with a result in int8, {len(RATIOS)} ratios from 2^-11.9 to 2^-2.1"
    return finding(scheme.name, domain, "s_out", together, where)


def _one_ratio(scheme: Scheme, ratio: float) -> tuple[Errors, Integers]:
    """Errors against x*m/2^e, and x, m, e of each."""
    multiplier, shift = encoded(ratio, scheme.bits)
    low, high = signed(8).min - ZERO_POINT, signed(8).max - ZERO_POINT
    encoded_ratio = ldexp(multiplier, -shift)
    x = np.arange(np.ceil(low / encoded_ratio), np.floor(high / encoded_ratio) + 1).astype(np.int64)
    q = _requantized(scheme, x, multiplier, shift, ZERO_POINT) - ZERO_POINT
    found = errors(q, x * encoded_ratio, low, high)
    return found, np.stack([x, np.full_like(x, multiplier), np.full_like(x, shift)], 1)[found.places]


def _requantized(scheme: Scheme, x: Integers, m: int, e: int, zero_point: int) -> Codes:
    return requantize(x[:, None], one(m), one(e), zero_point, signed(8), no_events(), scheme.scaling)[:, 0]


def _ties() -> Figure:
    """Every arithmetic at the ratio 1/8, where one result in eight is a tie."""
    x = np.arange(-28, 29, dtype=np.int64)
    panels: dict[str, pictures.Series] = {}
    for scaling in Scaling:
        scheme = next(s for s in schemes() if s.scaling is scaling)
        error = _requantized(scheme, x, *encoded(0.125, scheme.bits), 0) - x / 8
        tie = x % 8 == 4
        panels[scaling.name] = {"no tie": (x[~tie] / 8, error[~tie]), "tie": (x[tie] / 8, error[tie])}
    title = "Scaling by 1/8: what each arithmetic does at ties, and beside them"
    return pictures.scatter(title, panels, "exact result x·m/2^e (LSB)", columns=3)


# Residual sums

SCALES = ((0.0507, 0.0313, 0.0619), (0.0203, 0.0511, 0.0557), (0.0509, 0.0493, 0.0701))
"""s_a, s_b, s_out."""
Pairs = tuple[Codes, Codes]


class Rescaled(NamedTuple):
    """A machine's (R10)."""

    scaling: Scaling
    bits: int
    left_shift: int = 0
    has_output: bool = False
    operand: IntFormat | None = None


MACHINES = {
    "`dyadic` each (I-BERT)": Rescaled(Scaling.HALF_EVEN, 31),
    "`nvdla` each": Rescaled(Scaling.HALF_AWAY, 15),
    "`narrow_before`, int8 operands (PULP)": Rescaled(Scaling.HALF_UP, 16, 0, True, signed(8)),
    "`float32`, int8 operands (Gemmini)": Rescaled(Scaling.FLOAT32, 24, 0, True, signed(8)),
    "`q31_double`, L = 20 (TFLite)": Rescaled(Scaling.Q31_DOUBLE, 31, 20, True),
    "`q31_single`, L = 20 (TOSA)": Rescaled(Scaling.HALF_UP, 31, 20, True),
}


def _sums() -> Iterator[tuple[str, tuple[Errors, Pairs, str]]]:
    """Every residual sum: errors, operands, domain."""
    grid = np.meshgrid(np.arange(-128, 128, dtype=np.int32), np.arange(-128, 128, dtype=np.int32))
    a, b = (np.ascontiguousarray(x.reshape(-1)) for x in grid)
    domain = f"all {a.size:,} pairs of int8 codes, {len(SCALES)} triples of scales"
    yield "one rounding, eq. (7)", (_over_scales(_add, a, b, 8), (a, b), domain)
    for name, machine in MACHINES.items():
        yield name, (_over_scales(_by(machine), a, b, 8), (a, b), domain)
    a, b = np.random.default_rng(SEED).integers(-(1 << 15), 1 << 15, (2, 1 << 16)).astype(np.int32)
    wide = Rescaled(Scaling.Q31_DOUBLE, 31, 15, True)
    domain = f"{a.size:,} random pairs of int16 codes, {len(SCALES)} triples of scales"
    yield "`q31_double`, L = 15 (TFLite, int16)", (_over_scales(_by(wide), a, b, 16), (a, b), domain)


Adder = Callable[[Codes, Codes, tuple[float, float, float], int], tuple[Codes, Reals]]


def _over_scales(adder: Adder, a: Codes, b: Codes, bits: int) -> Errors:
    found = [errors(*adder(a, b, scales, bits), signed(bits).min, signed(bits).max) for scales in SCALES]
    places = [one_triple.places + i * a.size for i, one_triple in enumerate(found)]
    return Errors(np.concatenate([one_triple.values for one_triple in found]), np.concatenate(places))


def _add(a: Codes, b: Codes, scales: tuple[float, float, float], bits: int) -> tuple[Codes, Reals]:
    """(7): both multipliers under the shift of the greater."""
    ratios = [scales[0] / scales[2], scales[1] / scales[2]]
    shift = encoded(max(ratios), DEFAULT_BITS)[1]
    m_a, m_b = (round(ldexp(ratio, shift)) for ratio in ratios)
    zeros = {"a_zero": 0, "b_zero": 0, "zero_point": 0}
    ratio = {"a_multiplier": m_a, "b_multiplier": m_b, "shift": shift}
    q = add(a, b, **zeros, **ratio, output=signed(bits), counters=no_events())
    return q, (a * float(m_a) + b * float(m_b)) / 2.0**shift


def _by(machine: Rescaled) -> Adder:
    """(R10), against the ratios as they are encoded."""

    def adder(a: Codes, b: Codes, scales: tuple[float, float, float], bits: int) -> tuple[Codes, Reals]:
        top = max(scales[:2])
        unit = scales[2] if not machine.has_output else top if machine.operand else 2 * top
        (m_a, e_a), (m_b, e_b) = (encoded(scale / unit, machine.bits) for scale in scales[:2])
        m_o, e_o = encoded(unit / scales[2] / 2**machine.left_shift, machine.bits)
        q = rescaled_add(
            a,
            b,
            a_zero=0,
            b_zero=0,
            zero_point=0,
            left_shift=machine.left_shift,
            scaling=machine.scaling,
            a_multiplier=m_a,
            a_shift=e_a,
            b_multiplier=m_b,
            b_shift=e_b,
            output_multiplier=m_o if machine.has_output else None,
            output_shift=e_o,
            output=signed(bits),
            counters=no_events(),
            operand=machine.operand,
        )
        total = a * ldexp(m_a, -e_a) + b * ldexp(m_b, -e_b)
        return q, total * ldexp(m_o, machine.left_shift - e_o) if machine.has_output else total

    return adder


def _sum_finding(name: str, found: Errors, operands: Pairs, domain: str) -> Finding:
    def where(place: int) -> str:
        triple, pair = divmod(place, operands[0].size)
        return f"a = {operands[0][pair]}, b = {operands[1][pair]}, s = {', '.join(map(str, SCALES[triple]))}"

    return finding(name, domain, "s_out", found, where)
