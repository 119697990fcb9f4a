"""Errors of GELU by polynomial and by table, and of the other functions by table."""

from collections.abc import Callable, Iterator
from functools import partial
from math import floor, sqrt
from typing import NamedTuple

import numpy as np

from analysis.pages.operators import pictures, tables
from analysis.pages.operators.study import (
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
from analysis.pages.operators.tables import Function
from hwsim.formats import Scaling
from hwsim.operators.activation import ibert_gelu, ita_gelu, table_interpolate, table_lookup
from hwsim.operators.requantize import requantize

PAGE = "activation"
SCALE, OUT_SCALE = 0.05, 0.05
"""Of 8-bit codes."""
WIDE_SCALE = 2.0**-12
"""Of int16 codes: [-8, 8)."""


class Case(NamedTuple):
    """A kernel on every code of a width, and the function that it stands for, in steps of the output."""

    name: str
    kernel: Callable[[Codes], Codes]
    function: Function
    bits: int
    scale: float
    out_bits: int
    lsb: float
    lsb_text: str


def _gelus() -> Iterator[Case]:
    yield Case("GELU I-BERT, int8", _ibert(SCALE, OUT_SCALE), tables.gelu, 8, SCALE, 8, OUT_SCALE, "0.05")
    wide = _ibert(WIDE_SCALE, 2.0**-4)
    yield Case("GELU I-BERT, int16 to int8", wide, tables.gelu, 16, WIDE_SCALE, 8, 2.0**-4, "2^-4")
    yield Case("GELU ITA, int8", _ita(SCALE, OUT_SCALE), tables.gelu, 8, SCALE, 8, OUT_SCALE, "0.05")
    yield _by_table("GELU", tables.gelu, OUT_SCALE, "0.05")


def _tables() -> Iterator[Case]:
    yield _by_table("SiLU", tables.silu, OUT_SCALE, "0.05")
    yield _by_table("tanh", tables.tanh, 2.0**-7, "2^-7")
    yield _by_table("sigmoid", tables.sigmoid, 2.0**-7, "2^-7")


def _interpolated() -> Iterator[Case]:
    yield _by_interpolation("GELU", tables.gelu, 2.0**-12, "2^-12")
    yield _by_interpolation("SiLU", tables.silu, 2.0**-12, "2^-12")
    yield _by_interpolation("tanh", tables.tanh, 2.0**-15, "2^-15")
    yield _by_interpolation("sigmoid", tables.sigmoid, 2.0**-15, "2^-15")


def _ibert(scale: float, out_scale: float) -> Callable[[Codes], Codes]:
    """(G1), (G2), then a dyadic requantization."""
    reduced = scale / 1.4142
    b, c = -floor(-1.769 / reduced), floor(1 / -0.2888 / reduced**2)
    offset = floor(1 / (-0.2888 * reduced**2 * 2**14))
    ratio = encoded(scale * 0.2888 * reduced**2 * 2**14 / 2 / out_scale, 16)
    return lambda x: _int8(ibert_gelu(x, zero=0, b=b, c=c, offset=offset), ratio, Scaling.HALF_EVEN)


def _ita(scale: float, out_scale: float) -> Callable[[Codes], Codes]:
    """(G3), (G4), then an 8-bit multiplier; the codes have a negative scale, so that their negatives are compared."""
    b = floor(-1.769 * sqrt(2) / scale + 0.5)
    c = floor(2 / (-0.2888 * scale**2) + 0.5)
    ratio = encoded(scale * 0.2888 * scale**2 / 4 / out_scale, 8)
    return lambda x: -_int8(ita_gelu(x, zero=0, b=b, c=c), ratio, Scaling.HALF_UP)


def _int8(acc: Integers, ratio: tuple[int, int], scaling: Scaling) -> Codes:
    return requantize(acc[:, None], one(ratio[0]), one(ratio[1]), 0, signed(8), no_events(), scaling)[:, 0]


def _by_table(name: str, function: Function, lsb: float, text: str) -> Case:
    table = tables.code_table(function, SCALE, lsb, 8)
    return Case(f"{name} table, int8", lambda x: table_lookup(x, table, -128), function, 8, SCALE, 8, lsb, text)


def _by_interpolation(name: str, function: Function, lsb: float, text: str) -> Case:
    table = tables.interpolation_table(function, -8, 8, 1 / lsb)
    named = f"{name} interpolated, int16"
    return Case(named, lambda x: table_interpolate(x, table), function, 16, WIDE_SCALE, 16, lsb, text)


def _run(case: Case) -> tuple[Reals, Errors]:
    """Real inputs, and the errors on all of them."""
    x = np.arange(-(1 << (case.bits - 1)), 1 << (case.bits - 1), dtype=np.int32)
    real = case.function(case.scale * x)
    low, high = signed(case.out_bits).min, signed(case.out_bits).max
    found = errors(case.kernel(x), real / case.lsb, low, high)
    return case.scale * x, found


def _at(x: Reals, place: int) -> str:
    return f"x = {x[place]:.4g}"


def _study(name: str, title: str, cases: list[Case], columns: int) -> Study:
    findings: list[Finding] = []
    panels: dict[str, pictures.Series] = {}
    for case in cases:
        x, found = _run(case)
        domain = f"all {x.size:,} codes, s = {case.scale:g}"
        findings.append(finding(case.name, domain, case.lsb_text, found, partial(_at, x)))
        step = max(1, found.values.size // 2048)
        panels[case.name] = {"": (x[found.places][::step], found.values[::step])}
    figure = pictures.scatter(title, panels, "input (real value)", columns=columns)
    return Study(page=PAGE, name=name, findings=findings, figure=figure)


def studies() -> Iterator[Study]:
    """GELU four ways; functions by table; by interpolation."""
    yield _study("gelu", "GELU: codes against the real function", list(_gelus()), 4)
    yield _study("tables", "Functions by direct table: one rounding", list(_tables()), 3)
    yield _study("interpolated", "Functions by 513 entries and straight lines", list(_interpolated()), 4)
