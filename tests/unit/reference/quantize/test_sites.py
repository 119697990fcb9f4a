"""Which tensors are quantized: the two site sets of a model, written out."""

from collections import Counter

import pytest

from reference.quantize.graph import Kind, trace
from reference.quantize.sites import GROUPS, Role, Site, SiteSet, weight_site
from tests.small.models import TINY, TWO_LAYERS, sites_of, small_model

PAPER_ACTIVATIONS = """
    encoder.embedding
    encoder.0.self_attention.softmax.numerator
    encoder.0.self_attention.softmax.denominator
    encoder.0.self_attention.softmax.output
    encoder.0.self_attention.context
    encoder.0.self_attention.layernorm.numerator
    encoder.0.self_attention.layernorm.denominator
    encoder.0.self_attention.layernorm.quotient
    encoder.0.self_attention.layernorm.output
    encoder.0.feed_forward.hidden
    encoder.0.feed_forward.output
    encoder.0.feed_forward.layernorm.numerator
    encoder.0.feed_forward.layernorm.denominator
    encoder.0.feed_forward.layernorm.quotient
    encoder.0.feed_forward.layernorm.output
    decoder.embedding
    decoder.0.self_attention.softmax.numerator
    decoder.0.self_attention.softmax.denominator
    decoder.0.self_attention.softmax.output
    decoder.0.self_attention.context
    decoder.0.self_attention.layernorm.numerator
    decoder.0.self_attention.layernorm.denominator
    decoder.0.self_attention.layernorm.quotient
    decoder.0.self_attention.layernorm.output
    decoder.0.cross_attention.softmax.numerator
    decoder.0.cross_attention.softmax.denominator
    decoder.0.cross_attention.softmax.output
    decoder.0.cross_attention.context
    decoder.0.cross_attention.layernorm.numerator
    decoder.0.cross_attention.layernorm.denominator
    decoder.0.cross_attention.layernorm.quotient
    decoder.0.cross_attention.layernorm.output
    decoder.0.feed_forward.hidden
    decoder.0.feed_forward.output
    decoder.0.feed_forward.layernorm.numerator
    decoder.0.feed_forward.layernorm.denominator
    decoder.0.feed_forward.layernorm.quotient
    decoder.0.feed_forward.layernorm.output
""".split()

PAPER_WEIGHTS = """
    encoder.embedding.weight
    positions.weight
    encoder.0.self_attention.key.weight
    encoder.0.self_attention.value.weight
    encoder.0.self_attention.query.weight
    encoder.0.self_attention.output.weight
    encoder.0.self_attention.layernorm.gamma
    encoder.0.feed_forward.hidden.weight
    encoder.0.feed_forward.output.weight
    encoder.0.feed_forward.layernorm.gamma
    decoder.0.cross_attention.key.weight
    decoder.0.cross_attention.value.weight
    decoder.embedding.weight
    decoder.0.self_attention.key.weight
    decoder.0.self_attention.value.weight
    decoder.0.self_attention.query.weight
    decoder.0.self_attention.output.weight
    decoder.0.self_attention.layernorm.gamma
    decoder.0.cross_attention.query.weight
    decoder.0.cross_attention.output.weight
    decoder.0.cross_attention.layernorm.gamma
    decoder.0.feed_forward.hidden.weight
    decoder.0.feed_forward.output.weight
    decoder.0.feed_forward.layernorm.gamma
    generator.logits.weight
""".split()

DATAPATH = """
    encoder.0.self_attention.key
    encoder.0.self_attention.value
    encoder.0.self_attention.query
    encoder.0.self_attention.scores
    encoder.0.self_attention.output
    encoder.0.self_attention.residual
    encoder.0.feed_forward.residual
    decoder.0.cross_attention.key
    decoder.0.cross_attention.value
    decoder.0.self_attention.key
    decoder.0.self_attention.value
    decoder.0.self_attention.query
    decoder.0.self_attention.scores
    decoder.0.self_attention.output
    decoder.0.self_attention.residual
    decoder.0.cross_attention.query
    decoder.0.cross_attention.scores
    decoder.0.cross_attention.output
    decoder.0.cross_attention.residual
    decoder.0.feed_forward.residual
    generator.logits
""".split()


def named(sites: dict[str, Site], wanted: SiteSet, weights: bool) -> list[str]:
    return [name for name, site in sites.items() if site.set is wanted and (site.role is Role.WEIGHT) == weights]


def test_the_paper_set_of_one_layer() -> None:
    sites = sites_of()
    assert named(sites, SiteSet.PAPER, weights=False) == PAPER_ACTIVATIONS
    assert named(sites, SiteSet.PAPER, weights=True) == PAPER_WEIGHTS


def test_the_datapath_set_of_one_layer() -> None:
    sites = sites_of()
    assert named(sites, SiteSet.DATAPATH, weights=False) == DATAPATH
    assert named(sites, SiteSet.DATAPATH, weights=True) == []
    assert len(sites) == len(PAPER_ACTIVATIONS) + len(PAPER_WEIGHTS) + len(DATAPATH) == 84


def test_three_layers_counted() -> None:
    """A layer more adds 14 activations of the paper, 8 weights and 7 of the datapath; in the decoder 22, 13, 13."""
    sites = sites_of(3, 3)
    kinds = Counter((site.set, site.role is Role.WEIGHT) for site in sites.values())
    assert kinds == {
        (SiteSet.PAPER, False): 2 + 3 * (14 + 22),
        (SiteSet.PAPER, True): 4 + 3 * (8 + 13),
        (SiteSet.DATAPATH, False): 1 + 3 * (7 + 13),
    }


def test_an_untied_model_has_the_same_sites() -> None:
    assert sites_of(tied=False) == sites_of(tied=True)


def test_every_site_is_in_a_group_and_in_the_right_one() -> None:
    sites = sites_of()
    assert {site.group for site in sites.values()} == set(GROUPS)
    assert {name for name, site in sites.items() if site.group == "generator"} == {
        "generator.logits",
        "generator.logits.weight",
    }
    assert {name for name, site in sites.items() if site.group == "embedding"} == {
        "encoder.embedding",
        "encoder.embedding.weight",
        "decoder.embedding",
        "decoder.embedding.weight",
        "positions.weight",
    }
    assert all((".softmax." in name) == (site.group == "softmax") for name, site in sites.items())
    assert all((".layernorm." in name) == (site.group == "layernorm") for name, site in sites.items())


@pytest.mark.parametrize(
    ("end", "role"),
    [
        ("embedding", Role.FREE),
        ("query", Role.FREE),
        ("scores", Role.FREE),
        ("softmax.numerator", Role.POSITIVE),
        ("softmax.denominator", Role.POSITIVE),
        ("softmax.output", Role.POSITIVE),
        ("context", Role.FREE),
        ("residual", Role.FREE),
        ("layernorm.numerator", Role.CENTRED),
        ("layernorm.denominator", Role.POSITIVE),
        ("layernorm.quotient", Role.CENTRED),
        ("layernorm.output", Role.FREE),
        ("feed_forward.hidden", Role.POSITIVE),
        ("generator.logits", Role.LOGITS),
        ("weight", Role.WEIGHT),
        ("gamma", Role.WEIGHT),
    ],
)
def test_roles(end: str, role: Role) -> None:
    roles = {site.role for name, site in sites_of().items() if name.endswith(f".{end}") or name == end}
    assert roles == {role}


def test_the_graph_runs_encode_first_and_knows_its_caches() -> None:
    graph = trace(small_model(**TWO_LAYERS))
    functions = [node.function for node in graph.nodes]
    assert functions == sorted(functions, key=["encode", "decode_step"].index)
    assert [len(pairs) for pairs in (graph.cross, graph.past, graph.present)] == [2, 2, 2]
    assert graph.present[1].keys.name == "decoder.1.self_attention.key_cache"
    assert graph.present[1].keys.site == graph.past[1].keys.site == "decoder.1.self_attention.key"
    assert graph.logits.dims == ("batch", "target", TINY.vocabulary_size)
    assert graph.nodes[0].kind is Kind.EMBED
    assert weight_site(graph.nodes[0]) == "encoder.embedding.weight"
