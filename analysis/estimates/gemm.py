"""GEMM tables for scripts: cycles, operand counts and traffic in the terms of SCALE-Sim.

Without a scratchpad a layer is one tile and nothing stalls. Cycles under `serial` folds, operand counts and DRAM
traffic are then SCALE-Sim's (docs/accelerator.md, section 3): each operand moves once, a result as often as the array
writes it, at the width of results; with `psum_bits`, partial sums at theirs. Scratchpad accesses and leakage are priced
as of the machine's scratchpad.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import RenderableType
from rich.table import Table

from analysis.estimates import tables
from analysis.estimates.records import Record, configuration_record, cost_record, layer_record
from analysis.estimates.rows import shape, shortened
from hwsim.accelerator.array import ArrayCounts, Widths, padded_macs, registers, streaming_cycles, untiled
from hwsim.accelerator.cost.counts import Counts, Kind, add, events
from hwsim.accelerator.cost.energy import Cost, price, summed
from hwsim.accelerator.cost.estimate import Estimate, LayerCost
from hwsim.accelerator.cost.products import datapath_counts, skipped_kind
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.energy_tables import EnergyTable, energy_table
from hwsim.accelerator.events import Component, Direction, Operand
from hwsim.accelerator.hardware import Dataflow, Hardware
from hwsim.accelerator.layers import Layer, Product, Workload
from hwsim.accelerator.options import Options, Sparsity
from hwsim.accelerator.prices import Prices, prices_of
from hwsim.accelerator.storage import psum_bytes, round_up, row_bytes, stored_bits
from hwsim.accelerator.tiling.problem import sparsity_of

STREAMS = {"a": "ifmap", "b": "filter", "constants": "filter", "partial": "ofmap", "output": "ofmap"}
"""Transfers of a plan by operand; partial sums belong to the ofmap."""
_OPERANDS = ("ifmap", "filter", "ofmap")

Traffic = dict[str, dict[str, int]]
Access = tuple[Operand, Direction, int, int]
"""What, which way, bits of a code, how many elements or bytes."""


class Untiled(NamedTuple):
    """One product on the array alone."""

    layer: Layer
    cycles: Cycles
    counts: ArrayCounts
    traffic: Traffic
    cost: Cost
    utilization: float

    @property
    def product(self) -> Product:
        return _product(self.layer)


class UntiledEstimate(NamedTuple):
    """A GEMM table on an array alone."""

    workload: Workload
    hardware: Hardware
    options: Options
    table: EnergyTable
    layers: tuple[Untiled, ...]


def price_untiled(workload: Workload, hardware: Hardware, options: Options) -> UntiledEstimate:
    """Cost of bare products without a scratchpad.

    Raises
    ------
    ValueError
        If the array does not support the operands' widths; names the layer.
    """
    table = energy_table(hardware.energy_table)
    prices = prices_of(hardware, table)
    (phase,) = workload.phases
    layers = tuple(_untiled(layer, hardware, options, prices) for layer in phase.layers)
    return UntiledEstimate(workload, hardware, options, table, layers)


def _untiled(layer: Layer, hardware: Hardware, options: Options, prices: Prices) -> Untiled:
    product = _product(layer)
    try:
        sparsity = sparsity_of(product, options)
        cycles, counts = untiled(product, hardware.array, sparsity)
    except ValueError as error:
        raise ValueError(f"layer {layer.name}: {error}") from None
    streamed = product.k if sparsity is None else sparsity.keeps(product.k)
    macs = product.m * streamed * product.n
    rate = hardware.array.rate(product.a_bits, product.b_bits)
    peak = float(hardware.array.rows * hardware.array.cols * rate)
    traffic = _traffic(product, counts, hardware, options, sparsity)
    counted = events(_counts(layer, macs, cycles, counts, traffic, hardware, options), layer.name, layer.operation)
    utilization = macs / (peak * cycles.total) if cycles.total else 0.0
    return Untiled(layer, cycles, counts, traffic, price(counted, prices), min(1.0, utilization))


def _product(layer: Layer) -> Product:
    assert layer.product is not None  # a GEMM table has nothing else
    return layer.product


def _traffic(
    product: Product, counts: ArrayCounts, hardware: Hardware, options: Options, sparsity: Sparsity | None
) -> Traffic:
    """DRAM bytes of each operand once, kept weights with their indices, and of the ofmap as the array writes it."""
    p, packing = product, hardware.packing
    partial = counts.psum_writes - counts.result_writes if hardware.array.dataflow is not Dataflow.OS else 0
    sum_bits = p.output_bits if options.psum_bits is None else 8 * psum_bytes(p.accumulator_bits, options.psum_bits)
    written = p.m * row_bytes(p.n, p.output_bits, packing) + row_bytes(partial, sum_bits, packing)
    kept = p.k if sparsity is None else sparsity.keeps(p.k)
    column = row_bytes(kept, stored_bits(p.b_bits, packing) + _index_bits(sparsity))
    return {
        "ifmap": {"read": p.m * row_bytes(p.k, p.a_bits, packing), "write": 0},
        "filter": {"read": p.n * column, "write": 0},
        "ofmap": {"read": 0, "write": written},
    }


def _index_bits(sparsity: Sparsity | None) -> int:
    return 0 if sparsity is None else sparsity.index_bits


def _counts(
    layer: Layer,
    macs: int,
    cycles: Cycles,
    counts: ArrayCounts,
    traffic: Traffic,
    hardware: Hardware,
    options: Options,
) -> Counts:
    """Datapath, registers, scratchpad, leakage and DRAM of one product, so many of whose MACs are executed."""
    p, array, word = _product(layer), hardware.array, hardware.sram.word_bytes
    rate = array.rate(p.a_bits, p.b_bits)
    padded = padded_macs(streaming_cycles(p.m, macs // (p.m * p.n), p.n, array, rate), macs, array, rate)
    bits = registers(counts, macs, Widths(p.a_bits, p.b_bits, p.accumulator_bits), array)
    found = datapath_counts(layer, p.macs - macs, 0)
    add(found, skipped_kind(p), p.macs - macs)
    add(found, Kind(Component.MAC_PADDED, bits=p.a_bits, second_bits=p.b_bits), padded)
    add(found, Kind(Component.REGISTER, direction=Direction.WRITE, bits=1), bits.written)
    add(found, Kind(Component.REGISTER, direction=Direction.READ, bits=1), bits.read)
    add(found, Kind(Component.HOP, bits=1), bits.hops)
    for operand, direction, width, elements in _accesses(p, counts, options):
        index_bits = _index_bits(sparsity_of(p, options)) if operand is Operand.WEIGHT else 0
        words = round_up(row_bytes(elements, width + index_bits), word)
        add(found, Kind(Component.SRAM_ACCESS, operand, direction, width), words)
    for operand, direction, width, size in _moves(p, traffic):
        near = Direction.WRITE if direction is Direction.READ else Direction.READ
        add(found, Kind(Component.DRAM_TRANSFER, operand, direction, width), size)
        add(found, Kind(Component.SRAM_TRANSFER, operand, near, width), round_up(size, word))
    add(found, Kind(Component.SRAM_LEAKAGE), cycles.total)
    return found


def _accesses(p: Product, counts: ArrayCounts, options: Options) -> Iterator[Access]:
    """Elements at the scratchpad's array side."""
    sum_bits = 8 * psum_bytes(p.accumulator_bits, options.psum_bits)
    yield Operand.ACTIVATION, Direction.READ, p.a_bits, counts.ifmap_reads
    yield Operand.WEIGHT, Direction.READ, p.b_bits, counts.filter_reads
    yield Operand.ACCUMULATOR, Direction.READ, sum_bits, counts.psum_reads + counts.drain_reads
    yield Operand.ACCUMULATOR, Direction.WRITE, sum_bits, counts.psum_writes
    yield Operand.ACTIVATION, Direction.WRITE, p.output_bits, counts.result_writes


def _moves(p: Product, traffic: Traffic) -> Iterator[Access]:
    """Bytes of DRAM."""
    yield Operand.ACTIVATION, Direction.READ, p.a_bits, traffic["ifmap"]["read"]
    yield Operand.WEIGHT, Direction.READ, p.b_bits, traffic["filter"]["read"]
    yield Operand.ACTIVATION, Direction.WRITE, p.output_bits, traffic["ofmap"]["write"]


# --- records ----------------------------------------------------------------------------------------------------------


def untiled_record(result: UntiledEstimate) -> Record:
    """The configuration echoed, totals and layers of an array alone."""
    total = summed(layer.cost for layer in result.layers)
    cycles = sum(layer.cycles.total for layer in result.layers)
    return {
        **configuration_record(result.workload, result.hardware, result.options, result.table),
        "total": {"cycles": cycles, **cost_record(total)},
        "layers": [_untiled_layer(one) for one in result.layers],
    }


def _untiled_layer(one: Untiled) -> Record:
    return {
        **_gemm_record(one.layer.name, one.product, one.cycles, one.counts, one.traffic),
        "cycles_by_cause": one.cycles._asdict(),
        "utilization": one.utilization,
        **cost_record(one.cost),
    }


def untiled_rows(result: UntiledEstimate) -> list[Record]:
    """One flat row a layer, keys of nested records joined."""
    return [_flat(_untiled_layer(one)) for one in result.layers]


def _flat(record: Record) -> Record:
    cells: Record = {}
    for key, value in record.items():
        nested = {f"{key}_{inner}": cell for inner, cell in _flat(value).items()} if isinstance(value, dict) else {}
        cells |= nested or ({} if isinstance(value, dict) else {key: value})
    return cells


def tiled_record(result: Estimate, record: Record) -> Record:
    """A record of an estimate of a GEMM table, its layers in the same terms."""
    layers = [{**layer_record(layer), **_tiled_layer(layer)} for layer in result.total.layers]
    return {**record, "layers": layers}


def _tiled_layer(layer: LayerCost) -> Record:
    assert layer.product is not None
    assert layer.plan is not None
    traffic: Traffic = {operand: {"read": 0, "write": 0} for operand in _OPERANDS}
    for moved in layer.plan.moves:
        traffic[STREAMS[moved.stream]][moved.direction] += moved.bytes
    return _gemm_record(layer.name, layer.product, layer.cycles, layer.plan.counts, traffic)


def _gemm_record(name: str, product: Product, cycles: Cycles, counts: ArrayCounts, traffic: Traffic) -> dict[str, Any]:
    """Fields that scripts read; the array writes a result once for each pass over it."""
    array_cycles = cycles.compute + cycles.fill_drain
    reads = {
        "ifmap": counts.ifmap_reads,
        "filter": counts.filter_reads,
        "psum": counts.psum_reads,
        "drain": counts.drain_reads,
    }
    written = counts.psum_writes if counts.drain_reads else counts.psum_writes + counts.result_writes
    return {
        "name": name,
        "m": product.m,
        "k": product.k,
        "n": product.n,
        "cycles": cycles.total,
        "array_cycles": array_cycles,
        "stall_cycles": cycles.total - array_cycles,
        "sram_reads": reads,
        "sram_writes": {"ofmap": written},
        "dram_bytes": sum(sum(directions.values()) for directions in traffic.values()),
        "dram_traffic": traffic,
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def untiled_tables(result: UntiledEstimate, sort: str, most: int | None) -> list[RenderableType]:
    """Machine, energies, and one row a layer."""
    lines = [tables.workload_line(result.workload), tables.machine_line(result.hardware), tables.energy_line(result)]
    cost = summed(layer.cost for layer in result.layers)
    missing = tables.left_out(cost, result.table.name)
    return [*map(tables.plain, lines), _table(result, sort, most), *map(tables.plain, missing)]


def _table(result: UntiledEstimate, sort: str, most: int | None) -> Table:
    shown = tables.sorted_layers(result.layers, sort)[:most]
    table = tables.make_table(f"{len(shown)} of {len(result.layers)} layers, {tables.SORTS[sort][0]}")
    figures = ("cycles", "util.", "ifmap reads", "filter reads", "ofmap writes", "DRAM", "energy")
    tables.add_columns(table, ("layer", "shape"), figures)
    for one in shown:
        record = _untiled_layer(one)
        reads, written = record["sram_reads"], record["sram_writes"]["ofmap"]
        table.add_row(
            tables.plain(shortened(one.layer.name)),
            shape(one.product),
            f"{one.cycles.total:,}",
            tables.percent(one.utilization),
            *(f"{count:,}" for count in (reads["ifmap"], reads["filter"], written)),
            tables.quantity(record["dram_bytes"], "B"),
            tables.energy(one.cost.energy_aj),
        )
    return table
