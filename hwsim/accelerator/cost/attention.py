"""Fused attention: scores and probabilities of a block of queries stay on chip (docs/accelerator.md, section 7)."""

from typing import NamedTuple

import msgspec

from hwsim.accelerator.cost.counts import Run, joined
from hwsim.accelerator.cost.products import Mapping, product_run, resident, tile_costs
from hwsim.accelerator.cost.vectors import rows_run
from hwsim.accelerator.layers import Layer, Product, Rows
from hwsim.accelerator.options import Attention
from hwsim.accelerator.storage import row_bytes, shares
from hwsim.accelerator.tiling import DoesNotFit

RECOMPUTED_BYTES = 8
"""Of a query whose scores are computed twice: its maximum and its sum."""


class Fused(NamedTuple):
    """Runs of the three layers of an attention, and the queries of a block."""

    scores: Run
    softmax: Run
    context: Run
    queries: int


def fused_attention(scores: Layer, softmax: Layer, context: Layer, mapping: Mapping) -> Fused:
    """Cost of an attention whose scores and probabilities stay on chip, in blocks of the best number of queries.

    Raises
    ------
    DoesNotFit
        If not even one query fits.
    """
    best: tuple[tuple[int, ...], Fused] | None = None
    missing = DoesNotFit(0, 0)
    assert softmax.rows is not None
    between = rows_run(_inside(softmax.rows), softmax.vectors, mapping.hardware)  # whatever the blocks
    for queries in shares(_product(scores).m):
        try:
            candidate = _in_blocks(scores, between, context, queries, mapping)
        except DoesNotFit as error:
            missing = error
            continue
        key = _key(candidate, mapping)
        if best is None or key < best[0]:
            best = key, candidate
    if best is None:
        raise missing
    return best[1]


def _product(layer: Layer) -> Product:
    assert layer.product is not None
    return layer.product


def _in_blocks(scores: Layer, softmax: Run, context: Layer, queries: int, mapping: Mapping) -> Fused:
    first, last = _product(scores), _product(context)
    recompute = mapping.options.attention is Attention.RECOMPUTE
    capacity = mapping.capacity_bytes - queries * (RECOMPUTED_BYTES if recompute else _kept(first, last, mapping))
    if capacity <= 0:
        raise DoesNotFit(mapping.capacity_bytes - capacity + 1, mapping.capacity_bytes)
    inner = mapping._replace(capacity_bytes=capacity)
    whole, rest = divmod(first.m, queries)
    parts = [(queries, whole)] * bool(whole) + [(rest, 1)] * bool(rest)
    once = msgspec.structs.replace(resident(first, mapping.hardware), output_on_chip=True)
    then = msgspec.structs.replace(resident(last, mapping.hardware), a_on_chip=True)
    return Fused(
        _in_parts(parts, once, scores, inner, 2 if recompute else 1),
        softmax,
        _in_parts(parts, then, context, inner),
        queries,
    )


def _in_parts(parts: list[tuple[int, int]], product: Product, layer: Layer, mapping: Mapping, times: int = 1) -> Run:
    """A product in parts of so many rows, each so often; the whole so many times."""
    runs = (product_run(msgspec.structs.replace(product, m=m), mapping, layer.vectors.passes) for m, _ in parts)
    return joined([(run, often * times) for run, (_, often) in zip(runs, parts, strict=True)])


def _kept(scores: Product, context: Product, mapping: Mapping) -> int:
    """Bytes of a query's scores and probabilities; numerators take the place of probabilities."""
    packing = mapping.hardware.packing
    return row_bytes(scores.n, scores.output_bits, packing) + row_bytes(context.k, context.a_bits, packing)


def _inside(rows: Rows) -> Rows:
    """The rows of a softmax whose scores and probabilities have no transfers; its mask still has."""
    scores, *others = rows.inputs
    return msgspec.structs.replace(
        rows,
        inputs=(msgspec.structs.replace(scores, on_chip=True), *others),
        outputs=tuple(msgspec.structs.replace(stream, on_chip=True) for stream in rows.outputs),
    )


def _key(candidate: Fused, mapping: Mapping) -> tuple[int, ...]:
    """Equation (8) over the sum of both products."""
    runs = (candidate.scores, candidate.context)
    dram, sram, energy = (sum(parts) for parts in zip(*(tile_costs(run, mapping) for run in runs), strict=True))
    cycles = sum(run.cycles.total for run in runs)
    return *mapping.options.objective.key(energy, dram, cycles, sram), candidate.queries
