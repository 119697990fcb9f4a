"""Every site of a model: what is quantized there, and whether FullyQT asks for it or the integer datapath does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from hwsim.program.targets import DEFAULT_TARGET, TARGETS, Heads, LayerNormMethod, SoftmaxMethod

if TYPE_CHECKING:  # which loads torch; a program's sites are told without
    from reference.quantize.graph import Graph, Node


class SiteSet(str, Enum):
    """`paper`: quantized in FullyQT (Prato et al., 2020, section 3.2). `datapath`: an integer machine needs it too."""

    PAPER = "paper"
    DATAPATH = "datapath"


class Role(str, Enum):
    """What a site's format must be, whatever a scheme would like."""

    FREE = "free"
    """Any format: only matrix products, residual sums and maxima read it."""
    CENTRED = "centred"
    """Signed, zero point 0: an operand or result of a division, or a code that is added to others as it is."""
    POSITIVE = "positive"
    """Unsigned, zero point 0: never below zero."""
    PROBABILITY = "probability"
    """Signed, zero point at the lowest code."""
    WEIGHT = "weight"
    """Signed, zero point 0."""
    LOGITS = "logits"
    """INT32 with one scale."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """One named tensor; `group` is the block that sensitivity tables speak of."""

    name: str
    set: SiteSet
    role: Role
    group: str


PROBABILITY_ROLE: dict[SoftmaxMethod, Role] = {
    "table": Role.POSITIVE,
    "gemmlowp": Role.PROBABILITY,
    "ibert": Role.POSITIVE,
    "itamax": Role.POSITIVE,
    "gemmini": Role.CENTRED,
    "pulp": Role.POSITIVE,
    "int16": Role.CENTRED,
    "qlinear": Role.PROBABILITY,
}
"""What each softmax makes of its output."""
POSITIONS_WEIGHT = "positions.weight"
GROUPS = ("feed_forward", "attention", "embedding", "generator", "layernorm", "softmax")


def weight_site(node: Node) -> str:
    """The site of the matrix that a node multiplies with or looks up."""
    return f"{node.site}.gamma" if node.site.endswith(".layernorm") else f"{node.site}.weight"


class Methods(Protocol):
    """Which softmax and LayerNorm make a site: a target, whose are one for all, or a scheme, whose rules may choose."""

    def softmax_at(self, site: str) -> SoftmaxMethod: ...

    def layernorm_at(self, site: str) -> LayerNormMethod: ...

    @property
    def heads(self) -> Heads: ...


def softmax_of(scores: str) -> str:
    """The output of the softmax that reads a site of scores."""
    return f"{scores.removesuffix('.scores')}.softmax.output"


def layernorm_of(gamma: str) -> str:
    """The output of the LayerNorm that has a gamma."""
    return f"{gamma.removesuffix('.gamma')}.output"


def heads_site(output: str) -> str:
    """The site of the projected heads whose sum an attention's output is."""
    return f"{output.removesuffix('.output')}.heads"


def enumerate_sites(graph: Graph, methods: Methods = TARGETS[DEFAULT_TARGET]) -> dict[str, Site]:
    """All sites of a model, activations in execution order, each followed by the weights it is made with.

    The inner sites of softmax, LayerNorm and heads are those of the methods.

    Tied embeddings keep three weight sites, so that each use may have its own width; equal ones share their codes.
    """
    return sites_among((node.output.name for node in graph.nodes), methods)


def sites_among(tensors: Iterable[str], methods: Methods) -> dict[str, Site]:
    """`enumerate_sites` from the names of a model's or a program's tensors; a name that is no site's adds nothing."""
    sites: dict[str, Site] = {}
    for tensor in tensors:
        for name, site_set, role in _sites_of(tensor, methods):
            sites.setdefault(name, Site(name=name, set=site_set, role=role, group=_group(name)))
    return sites


def _sites_of(tensor: str, methods: Methods) -> list[tuple[str, SiteSet, Role]]:
    """(name, set, role) of everything that the operation behind a tensor introduces."""
    paper, datapath = SiteSet.PAPER, SiteSet.DATAPATH
    stem, _, part = tensor.rpartition(".")
    weight = (f"{tensor}.weight", paper, Role.WEIGHT)
    match part:
        case "output" if stem.endswith(".softmax"):
            method = methods.softmax_at(tensor)
            inner = ("numerator", "denominator") if method == "table" else ()
            parts = [(f"{stem}.{part}", paper, Role.POSITIVE) for part in inner]
            return [*parts, (tensor, paper, PROBABILITY_ROLE[method])]
        case "output" if stem.endswith(".layernorm"):
            roles = {"numerator": Role.CENTRED, "denominator": Role.POSITIVE, "quotient": Role.CENTRED}
            parts = [(f"{stem}.{part}", paper, role) for part, role in roles.items()]
            output = [(tensor, paper, Role.FREE), (f"{stem}.gamma", paper, Role.WEIGHT)]
            return [*parts, *output] if methods.layernorm_at(tensor) == "fullyqt" else output
        case "embedding":
            return [(tensor, paper, Role.FREE), weight, (POSITIONS_WEIGHT, paper, Role.WEIGHT)]
        case "output" if stem.endswith("attention") and methods.heads == "projected":
            return [(heads_site(tensor), datapath, Role.CENTRED), (tensor, datapath, Role.FREE), weight]
        case "query" | "key" | "value" | "output":
            return [(tensor, paper if stem.endswith(".feed_forward") else datapath, Role.FREE), weight]
        case "hidden":
            return [(tensor, paper, Role.POSITIVE), weight]
        case "scores" | "residual":
            return [(tensor, datapath, Role.FREE)]
        case "context":
            return [(tensor, paper, Role.FREE)]
        case "logits":
            return [(tensor, datapath, Role.LOGITS), weight]
        case _:
            return []


def _group(site: str) -> str:
    """The sensitivity group; the sums of the residual stream belong to the block that they close."""
    if ".softmax." in site:
        return "softmax"
    if ".layernorm." in site:
        return "layernorm"
    if "attention" in site:
        return "attention"
    if "feed_forward" in site:
        return "feed_forward"
    return "generator" if site.startswith("generator") else "embedding"
