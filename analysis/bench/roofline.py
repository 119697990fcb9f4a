"""The roof of this machine, measured: its fastest exact int8 product and its copies; and how near each kernel is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from analysis.bench import gemm, operators
from analysis.bench.timing import Spread, interleaved

CUBE = gemm.Case(m=1024, k=1024, n=1024)
CACHED, STREAMED = 1 << 18, 1 << 27
"""Bytes of each array that is copied: within a core's second cache, and far beyond the last."""
GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Point:
    """A kernel under the roof.

    `engine` of a product; `per_byte`: operations of a product, or elements of an operator's result, for each byte read
    or written; `rate` and `roof` in 1e9 of them a second; `share` is their quotient. Rates are medians, the roof best
    turns.
    """

    kernel: str
    engine: str = ""
    per_byte: float
    rate: float
    roof: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """`peak_gops`: the fastest exact int8 product that anyone's code reached here, `by` whom and on which case.

    A copy's bandwidth counts what is read and what is written. Kernels are held against the copy in cache, where the
    operands of all cases fit, ours and the peers' alike.
    """

    peak_gops: float
    by: str
    on: str
    cache_gb_per_s: float
    memory_gb_per_s: float
    products: list[Point]
    operators: list[Point]


def copies(repeats: int) -> tuple[float, float]:
    """GB/s of a copy in cache and in memory, the best turn of each: a roof is what there is on a quiet machine."""
    found = []
    for size in (CACHED, STREAMED):
        source, target = torch.ones(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
        seconds = interleaved({"copy": partial(target.copy_, source)}, repeats)["copy"]
        found.append(2 * size / seconds.min / GIGA)
    return found[0], found[1]


def peak(rows: Sequence[gemm.Row]) -> tuple[float, str, str]:
    """Gop/s, contender and case of the fastest turn of an exact int8 product."""
    found = [
        (_gops(row, seconds), row.engine if name == gemm.OURS else name, title(row))
        for row in rows
        for name, seconds in row.seconds.items()
        if name == gemm.OURS or (name != "float32_blas" and row.exact.get(name, False))
    ]
    return max(found)


def measure(
    products: Sequence[gemm.Row], work: Sequence[operators.Row], *, threads: int, repeats: int, seed: int
) -> Roofline:
    """The roof by a cube and by the cases that were measured, and these beneath it."""
    rng = np.random.default_rng(seed)
    cube = [] if products else gemm.measure([CUBE], threads=threads, repeats=repeats, rng=rng)
    gops, by, on = peak([*cube, *products])
    cached, streamed = copies(repeats)
    return Roofline(
        peak_gops=gops,
        by=by,
        on=on,
        cache_gb_per_s=cached,
        memory_gb_per_s=streamed,
        products=[product_point(row, gops, cached) for row in products],
        operators=[operator_point(row, cached) for row in work],
    )


def product_point(row: gemm.Row, peak_gops: float, gb_per_s: float) -> Point:
    """Least traffic: codes of one byte (weights packed at their width), sums of four."""
    bits = int(row.operands.rpartition("int")[2])
    moved = row.batch * (row.m * row.k + row.k * row.n * bits / 8 + 4 * row.m * row.n)
    per_byte = 2 * row.batch * row.m * row.k * row.n / moved
    top = min(peak_gops, gb_per_s * per_byte)
    return Point(kernel=title(row), engine=row.engine, per_byte=per_byte, rate=row.gops, roof=top, share=row.gops / top)


def operator_point(row: operators.Row, gb_per_s: float) -> Point:
    """Bounded by its traffic alone: a copy of as many bytes."""
    per_byte = 1 / row.bytes_per_element
    rate, top = 1 / row.ns_per_element.median, gb_per_s * per_byte
    return Point(kernel=row.operator, per_byte=per_byte, rate=rate, roof=top, share=rate / top)


def title(row: gemm.Row) -> str:
    """Shape and operands."""
    batch = f"{row.batch} x " if row.batch > 1 else ""
    return f"{batch}({row.m}, {row.k}, {row.n}) {row.operands}"


def _gops(row: gemm.Row, seconds: Spread) -> float:
    return 2 * row.batch * row.m * row.k * row.n / seconds.min / GIGA
