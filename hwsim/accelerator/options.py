"""How a workload is mapped to a machine: what a user chooses beside the hardware (docs/accelerator.md)."""

from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta


class Objective(str, Enum):
    """What tiles are chosen for, equation (8)."""

    DRAM = "dram"
    LATENCY = "latency"
    ENERGY = "energy"

    def key(self, energy: int, dram: int, cycles: int, sram: int) -> tuple[int, ...]:
        """What is compared, before the tile's sizes and order."""
        if self is Objective.DRAM:
            return dram, cycles, sram
        if self is Objective.LATENCY:
            return cycles, dram, sram
        return energy, dram, cycles, sram


class Tiles(str, Enum):
    """Which tile sizes are tried (section 4): `DIVISORS` is the mode of the published tables."""

    ARRAY = "array"
    DIVISORS = "divisors"


class Attention(str, Enum):
    """What becomes of scores and probabilities (section 7)."""

    UNFUSED = "unfused"
    FUSED = "fused"
    RECOMPUTE = "recompute"


class Sparsity(msgspec.Struct, frozen=True):
    """At most `kept` of `group` consecutive weights along K are not zero."""

    kept: Annotated[int, Meta(ge=1)]
    group: Annotated[int, Meta(ge=2)]

    def __post_init__(self) -> None:
        if self.kept >= self.group:
            raise ValueError(f"sparsity {self}; fewer must be kept than there are")

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    @property
    def index_bits(self) -> int:
        """Beside a kept weight, its place in the group: ceil(log2 M)."""
        return (self.group - 1).bit_length()

    def keeps(self, length: Any) -> Any:
        """The most that a row of `length` weights from the start of a group keeps, equation (14); ints or arrays.

        Whole groups keep `kept` each; the short group at the end keeps as many, or all that it has.
        """
        short = length % self.group
        return length // self.group * self.kept + short - (short - self.kept) * (short > self.kept)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All choices of a mapping.

    Attributes
    ----------
    psum_bits
        Width at which partial sums are stored; None: the accumulator's, rounded up to bytes.
    zero_gating
        MACs with a zero operand cost no energy in the array (section 10).
    sparsity
        Structured N:M skipping of weights.
    """

    objective: Objective = Objective.DRAM
    tiles: Tiles = Tiles.ARRAY
    attention: Attention = Attention.UNFUSED
    psum_bits: Annotated[int, Meta(ge=8, le=64)] | None = None
    zero_gating: bool = False
    sparsity: Sparsity | None = None
