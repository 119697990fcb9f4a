"""Cycles of linear layers as Arm's Vela estimates them for an Ethos-U55-256."""

from typing import NamedTuple

from analysis.pages.validation.points import Point, Role, within
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.datapath import requantize_terms
from hwsim.accelerator.layers import Phase, Product, Workload
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.workloads.blocks import product_layer

VELA = "Arm Ethos-U Vela 5.2.0, measured: U55-256, Ethos_U55_High_End_Embedded, Shared_Sram"
COLUMN_BYTES = 10
"""What Vela stores of a column: a bias of 40 bits, a multiplier of 32, a shift in a byte (weight_compressor.py)."""


class Measured(NamedTuple):
    """A layer's shape, and Vela's cycles: those of the unit, and all; the latter None where they were not recorded."""

    m: int
    k: int
    n: int
    unit: int
    total: int | None


MEASURED = (
    Measured(64, 512, 512, 69376, 267312),
    Measured(64, 512, 2048, 265984, 1069200),
    Measured(64, 2048, 512, 272128, 1053840),
    Measured(128, 64, 128, 12656, None),
)


def linear(m: int, k: int, n: int) -> Estimate:
    """An int8 linear layer with bias on the preset: weights from flash, activations resident."""
    record = hardware("ethos-u55-256")
    bits = record.array.accumulator_bits
    product = Product(
        m=m, k=k, n=n, a_bits=8, b_bits=8, output_bits=8, accumulator_bits=bits, column_bytes=COLUMN_BYTES
    )
    epilogue = requantize_terms(m * n, bits, 8, multiplier_bits=31)
    layer = product_layer("linear", product, epilogue, 2, bias=True)
    phase = Phase(name="forward", tokens=m, layers=(layer,))
    return estimate(Workload(name="linear", scheme="int8", phases=(phase,)), record)


def points() -> tuple[Point, ...]:
    """Of every measured layer the unit's cycles, of the large ones the total too."""
    return tuple(point for one in MEASURED for point in _points(one))


def _points(one: Measured) -> tuple[Point, ...]:
    cycles = linear(one.m, one.k, one.n).total.cycles
    shape = f"({one.m}, {one.k}, {one.n})"
    large = one.total is not None
    unit = Point(
        name=f"Ethos-U55-256 {shape}, unit",
        published=one.unit,
        unit="cycles",
        computed=cycles.compute + cycles.fill_drain,
        band=within(0.1) if large else None,
        role=Role.HELD_OUT if large else Role.INFORMATIONAL,
        precision="INT8, 32-bit accumulators",
        boundary="compute and fill_drain",
        included="Vela's NPU cycles",
        workload="a linear layer with bias of these m, k, n; weights in flash, activations resident",
        source=VELA,
    )
    if one.total is None:
        return (unit,)
    total = Point(
        name=f"Ethos-U55-256 {shape}, all",
        published=one.total,
        unit="cycles",
        computed=cycles.total,
        band=within(0.15),
        role=Role.HELD_OUT,
        precision=unit.precision,
        boundary="all causes",
        included="Vela's total: the greatest of NPU, SRAM and flash",
        workload=unit.workload,
        source=VELA,
    )
    return unit, total
