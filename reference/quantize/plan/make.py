"""The plan of a model under a scheme: every quantizer and every integer constant."""

from collections.abc import Callable
from dataclasses import replace

import torch

from reference.models.translation import Transformer
from reference.quantize.calibrate import Range
from reference.quantize.graph import Kind, Node, trace
from reference.quantize.plan import embedding, products
from reference.quantize.plan.constants import LayerNormConstants
from reference.quantize.plan.finest import raise_finest
from reference.quantize.plan.layernorm import LAYERNORM
from reference.quantize.plan.planner import Plan, Planner
from reference.quantize.plan.residual import RESIDUAL
from reference.quantize.plan.softmax import SOFTMAX
from reference.quantize.scheme import Scheme
from reference.quantize.sites import enumerate_sites


def make_plan(model: Transformer, scheme: Scheme, ranges: dict[str, Range]) -> Plan:
    """Choose and snap every scale of a model.

    Raises
    ------
    ValueError
        If the scheme does not fit the model, a site was not calibrated, or a scale cannot be encoded; names the site.
    """
    graph = trace(model)
    sites = enumerate_sites(graph, scheme)
    plan = Plan(scheme=scheme, graph=graph, sites=sites, settings=scheme.resolve(sites))
    with torch.no_grad():
        _settle(Planner(model, plan, ranges))
    return plan


def _softmax(planner: Planner, node: Node) -> None:
    SOFTMAX[planner.plan.scheme.softmax_at(f"{node.site}.output")](planner, node)


def _layernorm(planner: Planner, node: Node) -> None:
    LAYERNORM[planner.plan.scheme.layernorm_at(f"{node.site}.output")](planner, node)


def _residual(planner: Planner, node: Node) -> None:
    RESIDUAL[planner.plan.target.residual](planner, node)


def _heads(planner: Planner, node: Node) -> None:
    products.HEADS[planner.plan.target.heads](planner, node)


def _nothing(planner: Planner, node: Node) -> None:
    """Codes move or grow; none is computed."""


PLANNERS: dict[Kind, Callable[[Planner, Node], None]] = {
    Kind.EMBED: embedding.embed,
    Kind.ADD: _residual,
    Kind.LINEAR: products.linear,
    Kind.LINEAR_RELU: products.linear,
    Kind.SCORES: products.scores,
    Kind.SOFTMAX: _softmax,
    Kind.CONTEXT: products.context,
    Kind.LAYERNORM: _layernorm,
    Kind.LOGITS: embedding.logits,
    Kind.PROJECT_HEADS: _heads,
    Kind.SPLIT_HEADS: _nothing,
    Kind.EXTEND: _nothing,
}
"""What settles the constants of each kind of node."""
ORDER = ((Kind.EMBED,), (Kind.ADD,), tuple(kind for kind in Kind if kind not in (Kind.EMBED, Kind.ADD)))
"""Embeddings settle their scale alone, then residual sums tie two producers; everything else fits itself to these."""


def _settle(planner: Planner) -> None:
    """Every node in an order in which what it fits itself to is known, then the quantizers."""
    nodes, plan = planner.plan.graph.nodes, planner.plan
    raise_finest(planner)
    embedding.tie_embeddings(planner)
    for kinds in ORDER:
        for node in nodes:
            if node.kind in kinds:
                PLANNERS[node.kind](planner, node)
    planner.write_quantizers()
    for name, constants in plan.layernorm.items():  # its zero point is known only now
        if isinstance(constants, LayerNormConstants):
            zero_point = plan.quantizers[f"{name}.output"].zero_point
            plan.layernorm[name] = replace(constants, output=replace(constants.output, zero_point=zero_point))
