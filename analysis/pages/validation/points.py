"""Records of a validation: a published figure, the computed one, and how far apart they may be."""

from enum import Enum

import msgspec

from hwsim.accelerator.cost.estimate import Estimate
from hwsim.accelerator.events import Component
from hwsim.accelerator.prices import AJ_PER_PJ

MACS = (Component.MAC_MULTIPLY.value, Component.MAC_ADD.value)


class Role(str, Enum):
    """Whether a constant of the model was chosen by the figure, it is a test of the model, or neither."""

    FITTED = "fitted"
    HELD_OUT = "held out"
    INFORMATIONAL = "informational"


class Band(msgspec.Struct, frozen=True):
    """Ratios of computed to published that are allowed, ends included."""

    low: float
    high: float


def within(share: float) -> Band:
    """The same share to either side."""
    return Band(1 - share, 1 + share)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure and the model's.

    Attributes
    ----------
    published, computed
        In `unit`.
    band
        None of what is informational.
    voltage
        At which it was computed, V; None of what has none.
    boundary
        Of the computed figure: `core`, `chip` or `system`, or what of the cycles.
    included
        What the published figure includes.
    """

    name: str
    published: float
    unit: str
    computed: float
    band: Band | None = None
    role: Role
    precision: str
    voltage: float | None = None
    boundary: str
    included: str
    workload: str
    source: str

    def __post_init__(self) -> None:
        if (self.band is None) != (self.role is Role.INFORMATIONAL):
            raise ValueError(f"{self.name}: role {self.role.value}, band {self.band}; a gate has one, others have none")

    @property
    def ratio(self) -> float:
        """Computed over published."""
        return self.computed / self.published

    @property
    def inside(self) -> bool:
        """Whether the ratio is allowed; always, if nothing is asked."""
        return self.band is None or self.band.low <= self.ratio <= self.band.high


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The factor of a node.

    Attributes
    ----------
    published_pj, plain_pj
        Of a MAC; the latter as the model has it with factor 1.
    preset_factor
        `overhead` of the preset.
    mac_pj
        What of `plain_pj` is multiplications and additions of MACs.
    """

    node_nm: int
    preset: str
    published_pj: float
    plain_pj: float
    mac_pj: float
    preset_factor: float

    @property
    def factor(self) -> float:
        """What makes the model's figure the published one."""
        return self.published_pj / self.plain_pj

    @property
    def mac_share(self) -> float:
        """Of multiplications and additions, without the factor, in the published figure."""
        return self.mac_pj / self.published_pj


def pj_per_mac(result: Estimate) -> float:
    """Energy within the boundary over all MACs."""
    cost = result.total.cost
    return cost.energy_aj / cost.macs / AJ_PER_PJ


def array_pj_per_mac(result: Estimate) -> float:
    """Of the MACs' multiplications and additions alone."""
    cost = result.total.cost
    return sum(cost.by_component[name] for name in MACS) / cost.macs / AJ_PER_PJ
