"""Small machines and products for tests of the array and of tiles."""

import csv
from typing import Any

from hwsim.accelerator.hardware import Array, ArrayKind, Dataflow, Dram, FoldMode, Hardware, Packing, Sram, Vector
from hwsim.accelerator.layers import Product
from tests import GOLDEN


def golden(name: str) -> list[dict[str, str]]:
    """Rows of a table that another tool measured (tests/golden/README.md)."""
    with (GOLDEN / name).open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def array(rows: int, cols: int, dataflow: str = "ws", fold_mode: str = "pipelined", **changes: Any) -> Array:
    fields = {"kind": ArrayKind.SYSTOLIC, "macs_per_cycle": {8: 1.0}, **changes}
    return Array(rows=rows, cols=cols, dataflow=Dataflow(dataflow), fold_mode=FoldMode(fold_mode), **fields)


def machine(
    of: Array,
    *,
    word: int = 1,
    ports: int = 1 << 20,
    bandwidth: int = 10,
    burst: int = 1,
    latency: int = 0,
    packing: Packing = Packing.DENSE,
) -> Hardware:
    """A clock of 1 Hz, so that `bandwidth` is bytes a cycle; ports enough for no stall."""
    return Hardware(
        name="small",
        array=of,
        vector=Vector(lanes=1, latency_cycles=0, dividers=1, divide_cycles=1, root_cycles=1),
        sram=Sram(capacity_bytes=1 << 20, word_bytes=word, ports=ports),
        dram=Dram(type="any", bandwidth_bytes_per_second=bandwidth, burst_bytes=burst, latency_cycles=latency),
        clock_hz=1,
        voltage=1.0,
        energy_table="any",
        packing=packing,
    )


def gemm(m: int, k: int, n: int, **changes: Any) -> Product:
    """8-bit operands and results, no constants."""
    return Product(**{"m": m, "k": k, "n": n, "a_bits": 8, "b_bits": 8, "output_bits": 8, **changes})
