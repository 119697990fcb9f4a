"""What a machine is: array, vector unit, scratchpad, DRAM, clock. Records, validated; no arithmetic of costs."""

from enum import Enum
from fractions import Fraction
from math import isclose
from typing import Annotated

import msgspec
from msgspec import Meta

from hwsim.accelerator.reading import check_name

AtLeastOne = Annotated[int, Meta(ge=1)]
Elements = Annotated[int, Meta(ge=1, le=1 << 20)]
Cycles = Annotated[int, Meta(ge=0)]
Width = Annotated[int, Meta(ge=2, le=16)]
MAX_MACS = 1 << 20
"""Of an element a cycle."""


class ArrayKind(str, Enum):
    """`SYSTOLIC` skews its operands; `DOT_PRODUCT` sums along its rows in an adder tree."""

    SYSTOLIC = "systolic"
    DOT_PRODUCT = "dot_product"


class Dataflow(str, Enum):
    """Which operand stays in the array: output, weight (filter) or input (ifmap)."""

    OS = "os"
    WS = "ws"
    IS = "is"


class FoldMode(str, Enum):
    """Whether a fold waits until the one before has drained."""

    SERIAL = "serial"
    PIPELINED = "pipelined"


class Boundary(str, Enum):
    """What an energy sums: `CORE` datapath and registers, `CHIP` also SRAM and leakage, `SYSTEM` also DRAM."""

    CORE = "core"
    CHIP = "chip"
    SYSTEM = "system"


class Packing(str, Enum):
    """`DENSE` packs codes at their width, `PADDED` at the next of 2, 4, 8, 16 and 32 bits."""

    DENSE = "dense"
    PADDED = "padded"


class Array(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Multiply-accumulate elements (docs/accelerator.md, section 3).

    Attributes
    ----------
    macs_per_cycle
        Of one element, by operand width in bits: a whole number, or one over a whole number, to a
        thousandth (0.333 is 1/3). A product is served by
        the narrowest width that holds both operands.
    accumulator_bits
        Width of the accumulators, where the workload does not say it.
    """

    kind: ArrayKind = ArrayKind.SYSTOLIC
    rows: Elements
    cols: Elements
    dataflow: Dataflow
    fold_mode: FoldMode = FoldMode.PIPELINED
    macs_per_cycle: dict[Width, float]
    accumulator_bits: Annotated[int, Meta(ge=8, le=64)] = 32

    def __post_init__(self) -> None:
        if self.kind is ArrayKind.DOT_PRODUCT and self.dataflow is Dataflow.OS:
            raise ValueError("array.dataflow is os, but a dot_product array sums along its rows; allowed are ws and is")
        if not self.macs_per_cycle:
            raise ValueError("array.macs_per_cycle is empty; at least one width is needed, as 8 = 1")
        for bits, macs in self.macs_per_cycle.items():
            if not 1 / 1024 <= macs <= MAX_MACS or not isclose(_rate(macs), macs, rel_tol=1e-3):
                raise ValueError(
                    f"array.macs_per_cycle of {bits} bits is {macs}; allowed are whole numbers and one over them,"
                    f" up to {MAX_MACS} and from 1/1024"
                )

    def rate(self, a_bits: int, b_bits: int) -> Fraction:
        """MACs of an element a cycle for operands of these widths.

        Raises
        ------
        ValueError
            If no listed width holds both.
        """
        widths = [bits for bits in self.macs_per_cycle if bits >= max(a_bits, b_bits)]
        if not widths:
            raise ValueError(
                f"a product of {a_bits} by {b_bits} bits; the array supports up to {max(self.macs_per_cycle)} bits"
            )
        return _rate(self.macs_per_cycle[min(widths)])


def _rate(macs_per_cycle: float) -> Fraction:
    """The nearest whole number, or one over one."""
    return Fraction(round(macs_per_cycle)) if macs_per_cycle >= 1 else Fraction(1, round(1 / macs_per_cycle))


class Vector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The vector unit: lanes, cycles of latency a pass, dividers, cycles of a division and of a square root."""

    lanes: AtLeastOne
    latency_cycles: Cycles
    dividers: AtLeastOne
    divide_cycles: AtLeastOne
    root_cycles: AtLeastOne


class Sram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scratchpad: capacity, word, ports of one word a cycle, and the part kept for activations between layers."""

    capacity_bytes: AtLeastOne
    word_bytes: AtLeastOne
    ports: AtLeastOne
    resident_kib: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.resident_kib * 1024 >= self.capacity_bytes:
            raise ValueError(
                f"sram.resident_kib is {self.resident_kib} of {self.capacity_bytes} bytes; tiles need some of it"
            )

    @property
    def tile_bytes(self) -> int:
        """What is left to tiles."""
        return self.capacity_bytes - self.resident_kib * 1024


class Dram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """External memory: its row in the energy table, bandwidth, burst, cycles of latency a transfer."""

    type: Annotated[str, Meta(max_length=200)]
    bandwidth_bytes_per_second: AtLeastOne
    burst_bytes: AtLeastOne
    latency_cycles: Cycles


class Hardware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An accelerator (docs/accelerator.md).

    Attributes
    ----------
    energy_table
        Name of a table of `hwsim.accelerator.energy_tables`, or a path that ends in `.toml`.
    overhead
        Factor on datapath and register energies: clock, control, wires.
    mac_pj
        Energy of a 16-bit MAC at the table's voltage, for a table that gives ratios to it, and only for one.
    sources
        Where each number is from, or "assumed", by its path: `array.rows`.
    """

    name: str
    description: str = ""
    array: Array
    vector: Vector
    sram: Sram
    dram: Dram
    clock_hz: AtLeastOne
    voltage: Annotated[float, Meta(gt=0)]
    energy_table: str
    overhead: Annotated[float, Meta(gt=0)] = 1.0
    mac_pj: Annotated[float, Meta(gt=0)] | None = None
    boundary: Boundary = Boundary.SYSTEM
    packing: Packing = Packing.DENSE
    sources: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("dram.type", self.dram.type)
