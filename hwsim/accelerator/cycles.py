"""Cycles by cause: every cycle of a layer has one (docs/accelerator.md, section 5)."""

from typing import NamedTuple


class Cycles(NamedTuple):
    """Cycles of a layer by cause.

    Attributes
    ----------
    compute
        The array streams operands.
    fill_drain
        The array fills or drains.
    sram
        The scratchpad's ports are slower than the array.
    dma_in, dma_out
        A transfer from or to DRAM is exposed.
    vector
        The vector unit is exposed.
    """

    compute: int = 0
    fill_drain: int = 0
    sram: int = 0
    dma_in: int = 0
    dma_out: int = 0
    vector: int = 0

    @property
    def total(self) -> int:
        return sum(self)

    def added(self, other: "Cycles") -> "Cycles":
        """Cause by cause."""
        return Cycles(*(mine + its for mine, its in zip(self, other, strict=True)))

    def times(self, count: int) -> "Cycles":
        """`count` such layers, one after the other."""
        return Cycles(*(cycles * count for cycles in self))

    def bound(self) -> str:
        """The greatest of "compute" (fill and drain too), "sram", "dma" (both ways), "vector"; of equals the first."""
        shares = {
            "compute": self.compute + self.fill_drain,
            "sram": self.sram,
            "dma": self.dma_in + self.dma_out,
            "vector": self.vector,
        }
        return max(shares, key=lambda cause: shares[cause])


def exposed(busy: int, loaded: int, stored: int) -> Cycles:
    """Of transfers of so many cycles in and out what a step of (10) that is busy so long does not hide."""
    dma_out = max(0, stored - busy)
    return Cycles(dma_in=max(0, loaded + stored - busy) - dma_out, dma_out=dma_out)
