"""Section 4's laws for whole layers and workloads: what more scratchpad or bandwidth never makes worse.

Row layers and exposed epilogues included (docs/accelerator.md, sections 4 to 7).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hwsim.accelerator.cost.estimate import Estimate, LayerCost, estimate
from hwsim.accelerator.events import Level
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.layers import Layer, Part
from hwsim.accelerator.options import Attention, Objective, Options
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.prices import Prices, prices_of
from hwsim.accelerator.workloads import workload
from tests.property.test_accelerator_laws import EXAMPLES, Drawn, drawn, layers_of


def _with(hardware: Hardware, bandwidth: int = 0, capacity: int = 0) -> Hardware:
    """So much more of each."""
    dram = replace(hardware.dram, bandwidth_bytes_per_second=hardware.dram.bandwidth_bytes_per_second + bandwidth)
    return replace(
        hardware, dram=dram, sram=replace(hardware.sram, capacity_bytes=hardware.sram.capacity_bytes + capacity)
    )


class Unit(NamedTuple):
    """What is chosen together: a layer, or the three of a fused attention, of which a product alone may get worse.

    That holds of the three: both products are in the key, and the softmax between depends on neither choice.
    """

    layers: tuple[Layer, ...]
    costs: tuple[LayerCost, ...]

    @property
    def cycles(self) -> int:
        return sum(one.cycles.total for one in self.costs)

    @property
    def dram_bytes(self) -> int:
        return sum(one.cost.dram_bytes for one in self.costs)

    def energy(self, prices: Prices) -> int:
        """That of (8): column constants that an epilogue reads are not in it, row layers and attentions have none."""
        (layer, one), *others = zip(self.layers, self.costs, strict=True)
        if layer.product and one.plan and not others:
            return one.plan.energy_aj * layer.product.count * layer.repeat
        far = [event for part in self.costs for event in part.events if event.level in (Level.SRAM, Level.DRAM)]
        return sum(energy.nominal for energy in map(prices.price, far) if energy is not None)


def units_of(result: Estimate) -> Iterator[Unit]:
    pairs = list(layers_of(result))
    while pairs:
        parts = [layer.part for layer, _ in pairs[:3]]
        fused = result.options.attention is not Attention.UNFUSED
        together = 3 if fused and parts == [Part.SCORES, Part.SOFTMAX, Part.CONTEXT] else 1
        layers, answers = zip(*pairs[:together], strict=True)
        yield Unit(layers, answers)
        del pairs[:together]


def check_more(before: Estimate, after: Estimate, *, bandwidth: bool) -> None:
    """No unit is worse by the objective's figure with more bandwidth, or else with more scratchpad."""
    objective, prices = before.options.objective, prices_of(before.hardware)
    for one, other in zip(units_of(before), units_of(after), strict=True):
        if one.layers[0].rows or objective is Objective.LATENCY or (bandwidth and objective is Objective.DRAM):
            assert other.cycles <= one.cycles, one.layers[0].name
        if one.layers[0].rows or objective is Objective.DRAM:
            assert other.dram_bytes <= one.dram_bytes, one.layers[0].name
            assert not bandwidth or other.dram_bytes == one.dram_bytes
        if bandwidth and (one.layers[0].rows or objective is Objective.ENERGY):
            assert other.energy(prices) <= one.energy(prices), one.layers[0].name
        softmaxes = [[c for c in unit.costs if c.product is None] for unit in (one, other)]
        assert all(y.cycles.total <= x.cycles.total for x, y in zip(*softmaxes, strict=True))


@EXAMPLES
@given(drawn(), st.integers(1, 300), st.integers(1, 4000))
def test_objectives_on_whole_workloads(case: Drawn, bandwidth: int, capacity: int) -> None:
    before = case.estimate()
    check_more(before, case._replace(hardware=_with(case.hardware, bandwidth=bandwidth)).estimate(), bandwidth=True)
    check_more(before, case._replace(hardware=_with(case.hardware, capacity=capacity)).estimate(), bandwidth=False)


class Case(NamedTuple):
    """A model and how it is mapped; with 2 lanes its epilogues are exposed."""

    name: str
    objective: Objective
    attention: Attention
    lanes: int

    def estimate(self, kib: int, gigabytes: int = 4) -> Estimate:
        """On the default machine with so much scratchpad and bandwidth."""
        machine = hardware("edge-256")
        sized = replace(
            machine, sram=replace(machine.sram, capacity_bytes=kib * 1024),
            dram=replace(machine.dram, bandwidth_bytes_per_second=gigabytes * 10**9),
            vector=replace(machine.vector, lanes=self.lanes),
        )  # fmt: skip
        return estimate(workload(self.name), sized, Options(objective=self.objective, attention=self.attention))


@pytest.mark.parametrize("lanes", [16, 2])
@pytest.mark.parametrize("attention", Attention)
@pytest.mark.parametrize("name", ["bert-base", "mobilebert"])
def test_models_are_never_slower_with_more(name: str, attention: Attention, lanes: int) -> None:
    """Under `latency`; with their LayerNorms, NoNorms, softmaxes and epilogues."""
    case = Case(name, Objective.LATENCY, attention, lanes)
    sizes = [case.estimate(kib) for kib in (128, 256, 512, 1024)]
    rates = [case.estimate(256, gigabytes) for gigabytes in (1, 4, 16)]
    for results, bandwidth in ((sizes, False), (rates, True)):
        for before, after in pairwise(results):
            check_more(before, after, bandwidth=bandwidth)
        assert results[-1].total.cycles.total < results[0].total.cycles.total
    exposed = any(one.product and one.cycles.vector for one in sizes[0].total.layers)
    assert exposed is (lanes == 2)


@pytest.mark.parametrize("attention", [Attention.UNFUSED, Attention.FUSED])
def test_models_never_move_more_with_more_scratchpad(attention: Attention) -> None:
    """Under `dram`, layer by layer, and fewer bytes in the end."""
    case = Case("mobilebert", Objective.DRAM, attention, 2)
    sizes = [case.estimate(kib) for kib in (32, 64, 128, 1024)]
    for before, after in pairwise(sizes):
        check_more(before, after, bandwidth=False)
    assert sizes[-1].total.cost.dram_bytes < sizes[0].total.cost.dram_bytes
