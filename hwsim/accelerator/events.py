"""The one record in which the accelerator counts: an integer number of like events of one operation."""

from enum import Enum

import msgspec


class Component(str, Enum):
    """What does the work: operations to SQUARE_ROOT, then bits in the array, bytes at memories, cycles of leakage."""

    MAC_MULTIPLY = "mac_multiply"
    """Multiplications of a matrix product that the result needs: the useful MACs."""
    MAC_ADD = "mac_add"
    """Accumulator additions, one for each executed MAC."""
    MAC_GATED = "mac_gated"
    """MACs that zero-gating suppresses."""
    MAC_SKIPPED = "mac_skipped"
    """MACs that N:M skipping leaves out."""
    MAC_PADDED = "mac_padded"
    """MACs for which the array streamed and had no work, its tile being smaller."""
    BIAS_ADD = "bias_add"
    """Additions of a bias or of LayerNorm's beta."""
    ZERO_POINT_ADD = "zero_point_add"
    """Additions that correct for the zero point of an operand."""
    ZERO_POINT_MULTIPLY = "zero_point_multiply"
    """Multiplications of a sum of codes by the zero point of the other operand."""
    REQUANTIZE_MULTIPLY = "requantize_multiply"
    """Multiplications by m of a ratio m / 2^e."""
    REQUANTIZE_SHIFT = "requantize_shift"
    """Shifts by e."""
    REQUANTIZE_ADD = "requantize_add"
    """Rounding increments after a shift, and additions of the result's zero point."""
    VECTOR_MULTIPLY = "vector_multiply"
    """The other multiplications of the row operations: squares, n*x, gamma."""
    VECTOR_ADD = "vector_add"
    """The other additions and subtractions of the row operations and of sums of two tensors."""
    COMPARE = "compare"
    """Comparisons: running maximum, ReLU, denominators held at 1 or above."""
    CLAMP = "clamp"
    """Results held in their format."""
    TABLE_READ = "table_read"
    """Look-ups in a table of a function."""
    DIVIDE = "divide"
    """Rounded quotients."""
    SQUARE_ROOT = "square_root"
    """Integer square roots."""
    HOP = "hop"
    """Bits that go from an element of the array to its neighbour."""
    REGISTER = "register"
    """Bits read from or written to registers of the array's elements."""
    SRAM_ACCESS = "sram_access"
    """SRAM bytes, in whole words, that the array or the vector unit reads or writes."""
    SRAM_TRANSFER = "sram_transfer"
    """SRAM bytes, in whole words, at the near end of a DRAM transfer."""
    SRAM_LEAKAGE = "sram_leakage"
    """Cycles during which the scratchpad leaks."""
    DRAM_TRANSFER = "dram_transfer"
    """DRAM bytes."""


class Level(str, Enum):
    """Where an event happens; `DATAPATH` is every event that moves no bytes."""

    DATAPATH = "datapath"
    REGISTER = "register"
    SRAM = "sram"
    DRAM = "dram"


LEVEL_OF = {
    Component.HOP: Level.REGISTER,
    Component.REGISTER: Level.REGISTER,
    Component.SRAM_LEAKAGE: Level.SRAM,
    Component.SRAM_ACCESS: Level.SRAM,
    Component.SRAM_TRANSFER: Level.SRAM,
    Component.DRAM_TRANSFER: Level.DRAM,
}
"""The level of every component outside the datapath."""


class Operand(str, Enum):
    """What the bytes are; `WEIGHT` is every constant: weights, biases, tables, multipliers, shifts."""

    NONE = "none"
    WEIGHT = "weight"
    ACTIVATION = "activation"
    KV_CACHE = "kv_cache"
    ACCUMULATOR = "accumulator"


class Direction(str, Enum):
    """Which way the bytes go, seen from outside the memory."""

    NONE = "none"
    READ = "read"
    WRITE = "write"


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """`count` like events.

    Attributes
    ----------
    site
        The tensor that the operation makes.
    operation
        Its kind, a tag of `hwsim.program`.
    component, level, operand, direction
        What happens, and where.
    bits
        Width of the operation, of the first factor of a multiplication, or of the codes that the bytes hold.
    second_bits
        Width of the second factor of a multiplication, else 0.
    count
        Operations of the datapath, bits at registers and hops, bytes at memories, cycles of leakage.
    """

    site: str
    operation: str
    component: Component
    level: Level
    operand: Operand
    direction: Direction
    bits: int
    second_bits: int
    count: int
