"""Product layers: a plan of tiles, its events, and its epilogue (docs/accelerator.md, sections 3 to 6, 10)."""

from typing import NamedTuple

from msgspec import structs

from hwsim.accelerator.array import ArrayCounts, Widths, registers
from hwsim.accelerator.cost.counts import Counts, Kind, Run, add
from hwsim.accelerator.cost.vectors import vector_cycles
from hwsim.accelerator.events import Component, Direction, Operand
from hwsim.accelerator.hardware import Array, Hardware
from hwsim.accelerator.layers import Layer, Product, Vectors
from hwsim.accelerator.options import Options
from hwsim.accelerator.storage import ceil_div, row_bytes
from hwsim.accelerator.tiling import Plan, TilePrices, search

READ, WRITE = Direction.READ, Direction.WRITE
PER_MAC = (Component.MAC_MULTIPLY, Component.MAC_ADD)


class Mapping(NamedTuple):
    """Onto what, how, and into how much of the scratchpad."""

    hardware: Hardware
    options: Options
    prices: TilePrices
    capacity_bytes: int


def resident(product: Product, hardware: Hardware) -> Product:
    """The product with those of its activations on chip that the hardware keeps between layers (section 6)."""
    most = hardware.sram.resident_kib * 1024 // 2
    p = product

    def kept(operand: Operand, rows: int, codes: int, bits: int, heads: int = 1) -> bool:
        packed = p.count * rows * heads * row_bytes(codes // heads, bits, hardware.packing)
        return operand is Operand.ACTIVATION and packed <= most

    if not most:
        return p
    b_rows = (p.k, p.n) if p.fresh_along == "k" else (p.n, p.k)
    return structs.replace(
        p,
        a_on_chip=p.a_on_chip or kept(p.a, p.m, p.k, p.a_bits, p.a_heads),
        b_on_chip=p.b_on_chip or kept(p.b, *b_rows, p.b_bits),
        output_on_chip=p.output_on_chip or kept(p.output, p.m, p.n, p.output_bits, p.output_heads),
        residual_on_chip=p.residual_on_chip or kept(p.residual, p.m, p.n, p.residual_bits),
    )


def _streams(product: Product) -> dict[str, tuple[Operand, int]]:
    """Operand and width of what a plan moves; column constants are counted as bytes."""
    return {
        "a": (product.a, product.a_bits),
        "b": (product.b, product.b_bits),
        "constants": (Operand.WEIGHT, 8),
        "partial": (Operand.ACCUMULATOR, product.accumulator_bits),
        "output": (product.output, product.output_bits),
        "residual": (product.residual, product.residual_bits),
    }


def _plan_counts(product: Product, plan: Plan, mapping: Mapping) -> Counts:
    """Memories, registers and idle MACs of all `count` products."""
    counts: Counts = {}
    streams, word, times = _streams(product), mapping.hardware.sram.word_bytes, product.count
    for move in plan.moves:
        operand, bits = streams[move.stream]
        far, near = (READ, WRITE) if move.direction == "read" else (WRITE, READ)
        add(counts, Kind(Component.DRAM_TRANSFER, operand, far, bits), move.bytes * times)
        add(counts, Kind(Component.SRAM_TRANSFER, operand, near, bits), move.words * word * times)
    for stream, direction, words in _accesses(product, plan, mapping.hardware):
        operand, bits = streams[stream]
        add(counts, Kind(Component.SRAM_ACCESS, operand, direction, bits), words * word * times)
    add(counts, Kind(Component.REGISTER, direction=WRITE, bits=1), plan.registers.written * times)
    add(counts, Kind(Component.REGISTER, direction=READ, bits=1), plan.registers.read * times)
    add(counts, Kind(Component.HOP, bits=1), plan.registers.hops * times)
    add(counts, Kind(Component.MAC_PADDED, bits=product.a_bits, second_bits=product.b_bits), plan.padded_macs * times)
    add(counts, skipped_kind(product), product.macs - plan.macs * times)
    return counts


def skipped_kind(product: Product) -> Kind:
    """Under which the skipped MACs of a product are counted."""
    return Kind(Component.MAC_SKIPPED, bits=product.a_bits, second_bits=product.b_bits)


def _accesses(product: Product, plan: Plan, hardware: Hardware) -> tuple[tuple[str, Direction, int], ...]:
    """Words of one product at the side of the array and of the epilogue."""
    words, word = plan.array_words, hardware.sram.word_bytes
    residual = product.m * row_bytes(product.n, product.residual_bits, hardware.packing) if product.residual_bits else 0
    return (
        ("a", READ, words.a_read),
        ("b", READ, words.b_read),
        ("partial", READ, words.psum_read + words.drain_read),
        ("partial", WRITE, words.psum_write),
        ("output", WRITE, words.result_write),
        ("residual", READ, ceil_div(residual, word)),
        ("constants", READ, plan.trips[0] * ceil_div(product.n * product.column_bytes, word)),
    )


def product_run(product: Product, mapping: Mapping, passes: int = 0) -> Run:
    """Array, memories and time of one run of a product whose epilogue has so many passes; without its terms.

    Raises
    ------
    DoesNotFit
        If no tile fits the capacity.
    ValueError
        If the array has no width for the operands.
    """
    hardware, options, prices, capacity = mapping
    epilogue = vector_cycles(Vectors(elements=product.m * product.n, passes=passes), hardware.vector)
    plan = search(structs.replace(product, count=1), hardware, options, prices, capacity, epilogue)
    return Run(_plan_counts(product, plan, mapping), plan.cycles.times(product.count), plan)


def datapath_counts(layer: Layer, skipped: int, gated: int) -> Counts:
    """Terms of a layer, of whose MACs some are skipped and some gated."""
    counts: Counts = {}
    for term in layer.terms:
        fewer = skipped + gated if term.component in PER_MAC else 0
        add(counts, Kind(term.component, bits=term.bits, second_bits=term.second_bits), term.count - fewer)
    return counts


def gated_counts(product: Product, gated: int, array: Array) -> Counts:
    """Gated MACs, and what they spare registers: counts below 0."""
    counts: Counts = {}
    add(counts, Kind(Component.MAC_GATED, bits=product.a_bits, second_bits=product.b_bits), gated)
    widths = Widths(product.a_bits, product.b_bits, product.accumulator_bits)
    spared = registers(ArrayCounts(), 0, widths, array, gated)
    add(counts, Kind(Component.REGISTER, direction=WRITE, bits=1), spared.written)
    add(counts, Kind(Component.REGISTER, direction=READ, bits=1), spared.read)
    return counts


def tile_costs(run: Run, mapping: Mapping) -> tuple[int, int, int]:
    """DRAM bytes, SRAM bytes and the energy of equation (8), attojoules."""
    dram = sram = energy = 0
    word, prices = mapping.hardware.sram.word_bytes, mapping.prices
    for kind, count in run.counts.items():
        if kind.component is Component.DRAM_TRANSFER:
            dram += count
            energy += count * prices.dram_byte_aj
        elif kind.component in (Component.SRAM_ACCESS, Component.SRAM_TRANSFER):
            read = kind.direction is Direction.READ
            sram += count
            energy += count // word * (prices.sram_read_word_aj if read else prices.sram_write_word_aj)
    return dram, sram, energy + run.cycles.total * prices.leakage_cycle_aj
