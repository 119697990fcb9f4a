"""Lowered programs to price, and what is summed over their layers."""

import functools
from collections import Counter
from collections.abc import Iterable

from hwsim.accelerator.events import Component, Operand
from hwsim.accelerator.layers import Layer, Term
from hwsim.program import Program
from reference.quantize.scheme import scheme_for
from tests.small.models import TINY
from tests.small.programs import tiny_program

ENCODE = {"batch": 1, "source": 5}
STEP = {"batch": 1, "source": 5, "target": 1, "past": 3}
CALLS = {"encode": ENCODE, "decode_step": STEP}
WEIGHT, ACTIVATION, CACHE = Operand.WEIGHT, Operand.ACTIVATION, Operand.KV_CACHE
D, H, E, FF = TINY.d_model, TINY.n_heads, TINY.d_head, TINY.d_ff


@functools.lru_cache
def native(target: str = "fullyqt") -> Program:
    return tiny_program(scheme_for(target, name=target))


def terms(found: Iterable[Term]) -> Counter[tuple[Component, int, int]]:
    counts: Counter[tuple[Component, int, int]] = Counter()
    for term in found:
        counts[term.component, term.bits, term.second_bits] += term.count
    return +counts


def macs(layers: Iterable[Layer]) -> int:
    return sum(layer.repeat * layer.product.macs for layer in layers if layer.product)


def named(layers: Iterable[Layer]) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers}


def cache_bytes(layers: Iterable[Layer]) -> tuple[int, int, int]:
    """Bytes of self cache and of cross cache that products read as b, without what is fresh, and what is appended."""
    own = cross = appended = 0
    for layer in layers:
        if (p := layer.product) is None:
            continue
        if p.output is CACHE:
            appended += p.count * p.m * p.n * p.output_bits // 8
        if p.b is CACHE:
            n, k = (p.n - p.fresh, p.k) if p.fresh_along == "n" else (p.n, p.k - p.fresh)
            read = layer.repeat * p.count * n * k * p.b_bits // 8
            own, cross = (own + read, cross) if p.fresh else (own, cross + read)
    return own, cross, appended
