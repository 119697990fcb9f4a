"""Estimates whose figures were chosen, not computed: what is printed and written of them is known by hand."""

from typing import Any

import msgspec
from rich.table import Table

from hwsim.accelerator.cost.energy import Cost, NotModelled
from hwsim.accelerator.cost.estimate import Estimate, LayerCost, PhaseCost
from hwsim.accelerator.cycles import Cycles
from hwsim.accelerator.energy_tables import energy_table
from hwsim.accelerator.events import Component, Direction, Operand
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Layer, Phase, Product, Rows, Workload
from hwsim.accelerator.options import Options
from hwsim.accelerator.presets import hardware
from tests.unit.hwsim.accelerator.sample_events import move

PJ = 10**6
"""Attojoules."""
COLUMNS = "decoder.0.self_attention.query", "decoder.1.self_attention.query"


def machine(**changes: Any) -> Hardware:
    """edge-256 at 500 MHz, with the energies of one source."""
    return msgspec.structs.replace(hardware("edge-256"), **({"energy_table": "horowitz-45"} | changes))


def cost(energy_pj: int, **others: Any) -> Cost:
    """Without a band unless it is given."""
    aj = energy_pj * PJ
    return Cost(**{"energy_aj": aj, "low_aj": aj, "high_aj": aj, **others})


def layer(phase: str, name: str, cycles: Cycles, its: Cost, **others: Any) -> LayerCost:
    fields = {"operation": "matmul", "runs": 1, "product": None, "plan": None, "peak_macs_per_cycle": 0.0, "events": ()}
    return LayerCost(phase=phase, name=name, cycles=cycles, cost=its, **(fields | others))


def phase(name: str, tokens: int, layers: tuple[LayerCost, ...], cycles: Cycles, its: Cost) -> PhaseCost:
    return PhaseCost(name=name, tokens=tokens, sentences=2, layers=layers, cycles=cycles, cost=its)


EVENTS = (
    move(COLUMNS[0], "matmul", Component.DRAM_TRANSFER, Operand.WEIGHT, Direction.READ, 4, 600),
    move(COLUMNS[0], "matmul", Component.DRAM_TRANSFER, Operand.ACTIVATION, Direction.READ, 8, 200),
    move(COLUMNS[0], "matmul", Component.DRAM_TRANSFER, Operand.ACTIVATION, Direction.WRITE, 8, 100),
    move(COLUMNS[0], "matmul", Component.SRAM_ACCESS, Operand.WEIGHT, Direction.READ, 4, 1024),
    move(COLUMNS[0], "matmul", Component.SRAM_TRANSFER, Operand.WEIGHT, Direction.WRITE, 4, 640),
    move(COLUMNS[0], "matmul", Component.SRAM_TRANSFER, Operand.WEIGHT, Direction.READ, 4, 384),
)
QUERY = Product(m=4, k=8, n=6, count=2, a_bits=8, b_bits=4, output_bits=8)
GENERATOR = Product(m=1, k=8, n=20, a_bits=8, b_bits=8, output_bits=32)
MISSING = (
    NotModelled(component=Component.TABLE_READ, direction=Direction.NONE, bits=8, count=12),
    NotModelled(component=Component.REGISTER, direction=Direction.READ, bits=1, count=5),
    NotModelled(component=Component.SRAM_LEAKAGE, direction=Direction.NONE, bits=0, count=2034),
    NotModelled(component=Component.CLAMP, direction=Direction.NONE, bits=32, count=3),
    NotModelled(component=Component.DRAM_TRANSFER, direction=Direction.WRITE, bits=8, count=100),
)

FIRST = layer(
    "prefill", COLUMNS[0], Cycles(100, 20, 3, 40, 30, 7),
    cost(
        500, low_aj=400 * PJ, high_aj=700 * PJ, macs=60_000, executed_macs=51_200, dram_bytes=900, sram_bytes=2048,
        dram_bytes_by_operand={"weight": 600, "activation": 300}, by_component={"mac_multiply": 300 * PJ,
        "dram_transfer": 200 * PJ}, by_level={"datapath": 300 * PJ, "dram": 200 * PJ},
        by_operand={"none": 300 * PJ, "weight": 140 * PJ, "activation": 60 * PJ}, outside_aj={"sram": 25 * PJ},
        not_modelled=MISSING[:1],
    ),
    product=QUERY, peak_macs_per_cycle=512.0, events=EVENTS,
)  # fmt: skip
SECOND = layer(
    "prefill", COLUMNS[1], Cycles(compute=600),
    cost(1500, macs=200_000, executed_macs=81_920, dram_bytes=1100),
    runs=3, product=QUERY, peak_macs_per_cycle=512.0,
)  # fmt: skip
SOFTMAX = layer(
    "prefill", "decoder.0.self_attention.softmax", Cycles(vector=1234), cost(40), operation="softmax", runs=2
)
LAST = layer(
    "decode", "generator@0", Cycles(dma_in=5_000_000),
    cost(7_500_000_000, macs=160, executed_macs=160, dram_bytes=3_200_000),
    product=GENERATOR, peak_macs_per_cycle=256.0,
)  # fmt: skip
PREFILL = phase(
    "prefill", 4, (FIRST, SECOND, SOFTMAX), Cycles(700, 20, 3, 40, 30, 1241),
    cost(
        2040, low_aj=1900 * PJ, high_aj=2300 * PJ, macs=260_000, executed_macs=133_120, dram_bytes=2000,
        sram_bytes=2048, dram_bytes_by_operand={"weight": 1500, "activation": 500}, by_component={"mac_multiply": 2040 *
        PJ}, by_level={"datapath": 2040 * PJ}, by_operand={"none": 2040 * PJ},
    ),
)  # fmt: skip
DECODE = phase(
    "decode", 3, (LAST,), Cycles(dma_in=5_000_000),
    cost(7_500_000_000, macs=160, executed_macs=160, dram_bytes=3_200_000),
)  # fmt: skip
TOTAL = phase(
    "total", 3, (FIRST, SECOND, SOFTMAX, LAST), Cycles(700, 20, 3, 5_000_040, 30, 1241),
    cost(
        7_500_002_040, low_aj=7_400_002_040 * PJ, high_aj=7_700_002_040 * PJ, macs=260_160, executed_macs=133_280,
        dram_bytes=3_202_000, not_modelled=MISSING, outside_aj={"sram": 25 * PJ, "dram": 1_250_000 * PJ},
    ),
)  # fmt: skip


def nothing(name: str) -> Layer:
    """A layer of a workload: only their number is shown."""
    return Layer(name=name, operation="softmax", rows=Rows(rows=1, inputs=(), outputs=()), terms=())


def workload() -> Workload:
    """Batch 2, 3 to 5 tokens, 2 inputs."""
    prefill = Phase(name="prefill", tokens=4, layers=tuple(map(nothing, "abc")))
    decode = Phase(name="decode", tokens=3, layers=(nothing("d"),))
    return Workload(
        name="mine", scheme="w4a8", batch=2, source="3", target="5", sentences=2, phases=(prefill, decode)
    )  # fmt: skip


def estimated(*phases: PhaseCost, total: PhaseCost = TOTAL, options: Options | None = None, **changes: Any) -> Estimate:
    """Both phases by default."""
    on = machine(**changes)
    return Estimate(
        workload=workload(), hardware=on, options=options or Options(), table=energy_table(on.energy_table),
        phases=phases or (PREFILL, DECODE), total=total,
    )  # fmt: skip


def cells(table: Table) -> list[list[str]]:
    """Row by row, as they are printed."""
    return [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]


def heads(table: Table) -> list[str]:
    return [str(column.header) for column in table.columns]
