"""What `explain` found, as records ready for JSON."""

from typing import Literal

import msgspec

from hwsim.files import readable_json

EXPLANATION_VERSION = 1
UNEXPLAINED = "unexplained"
ASSUMED = "input not in the dump: assumed equal"

DEFINITIONS = {
    "lsb": "a difference of codes, B - A: 1 LSB is one step of the site's integer format",
    "sites_compared, sites_made": "sites of which codes of at least one call were compared; sites that A can make",
    "compared, different": "codes, padded positions of the batch included, summed over all calls",
    "different_on_equal_inputs": "codes in which B differs from A when the operation reads the same inputs in both",
    "histogram": "difference in LSB -> codes of all calls, equal codes at 0",
    "histogram_on_equal_inputs": "the same, of operations that read the same inputs in A and B",
    "status": "equal; origin: differs on equal inputs; follows: differs because an input does, see follows_from",
    "accumulator": "the integer that A scaled and rounded; for a sum or a quotient, the sum or the dividend",
    "before_rounding": "A's code before its last rounding and clamp, zero point included (LSB)",
    "tie_distance": "distance of before_rounding from the nearest half integer (LSB); 0 is a tie",
    "events": "counted by the operation that makes the site, over all calls, padding included; a tie is a value "
    "halfway between two codes, an overflow is a sum outside its accumulator, which wraps or saturates there",
    "causes": "exact causes reproduce every code that was checked, differing and equal; others are no explanation",
    "stages": "sites that were not dumped, upstream of the first that differs, whose rule the cause changes; empty if "
    "it is the rule of the differing site itself",
}

Status = Literal["equal", "origin", "follows"]


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the operation that makes a site."""

    overflows: int
    saturations: int
    positive_ties: int
    negative_ties: int
    denominator_clamps: int

    @property
    def ties(self) -> int:
        return self.positive_ties + self.negative_ties


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A rule, constant or entry that would make B's codes of A's inputs.

    Attributes
    ----------
    kind
        declared, table, ties, rounding, scaling, saturation, zero_point, multiplier, accumulator, bias, order or relu.
    stages
        Sites before the differing one whose rule it is; the differing site itself may be among them.
    declared
        Read from B's program; otherwise inferred from B's codes.
    checked, reproduced
        Codes that were recomputed, and that came out as B has them.
    """

    kind: str
    text: str
    stages: list[str] = msgspec.field(default_factory=list)
    declared: bool = False
    checked: int
    reproduced: int

    @property
    def exact(self) -> bool:
        return self.reproduced == self.checked > 0


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """B - A in LSB -> codes, for differences of at most 16 LSB; how many are below and above that."""

    codes: dict[int, int]
    below: int
    above: int


class SiteReport(msgspec.Struct, frozen=True, kw_only=True):
    """One site over all calls; see DEFINITIONS."""

    site: str
    function: str
    operation: str
    status: Status
    compared: int
    different: int
    different_on_equal_inputs: int
    max_lsb: int
    histogram: Histogram
    histogram_on_equal_inputs: Histogram
    events_a: Events | None
    events_b: Events | None
    follows_from: list[str]
    causes: list[Cause]
    observations: list[str]

    @property
    def cause(self) -> str:
        """The best exact cause in words, or that there is none."""
        return next((cause.text for cause in self.causes if cause.exact), UNEXPLAINED)

    @property
    def is_assumed(self) -> bool:
        """Whether an input was not dumped, and taken to be as in A."""
        return any(ASSUMED in text for text in self.observations)


class FirstDivergence(msgspec.Struct, frozen=True, kw_only=True):
    """The first code that differs in execution order: call, operation, then C order. `sentence` counts from 1."""

    call: str
    site: str
    sentence: int
    index: tuple[int, ...]
    a: int
    b: int
    accumulator: int | None
    before_rounding: float | None
    before_rounding_exact: str | None
    tie_distance: float | None
    cause: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that `explain` found."""

    version: int = EXPLANATION_VERSION
    definitions: dict[str, str] = msgspec.field(default_factory=DEFINITIONS.copy)
    a: str
    b: str
    sentences: int
    calls: int
    sites_compared: int
    sites_made: int
    equal: bool
    first: FirstDivergence | None
    sites: list[SiteReport]
    not_compared: dict[str, str]
    """Sites of A that could not be compared, and why."""

    @property
    def exit_code(self) -> int:
        """0 equal, 1 different."""
        return int(not self.equal)

    @property
    def compared(self) -> int:
        return sum(site.compared for site in self.sites)

    @property
    def different(self) -> int:
        return sum(site.different for site in self.sites)

    @property
    def origins(self) -> list[SiteReport]:
        return [site for site in self.sites if site.status == "origin"]

    def json(self) -> bytes:
        return readable_json(self)
