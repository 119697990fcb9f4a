"""The float Transformer: what it must not see, its cache, its weights and the names of its tensors."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.floating import FloatArithmetic
from reference.models.translation import Transformer, causal_mask, sinusoidal_positions, source_mask
from reference.tokenizer import PAD
from tests.small.models import TINY, TWO_LAYERS, small_model

SMALL = replace(TINY, vocabulary_size=13, d_head=3, **TWO_LAYERS)


def stirred(**changes: Any) -> Transformer:
    """A small model whose biases and LayerNorm weights matter, because all parameters are moved a little."""
    model = small_model(SMALL, seed=5, **changes)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def random_ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(4, SMALL.vocabulary_size, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(
    model: Transformer, source: Tensor, target: Tensor, observe: Callable[[str, Tensor], None] | None = None
) -> Tensor:
    """Logits of the whole target at once."""
    ops, mask = FloatArithmetic(observe), source_mask(source, PAD)
    memory = model.encode(ops, source, mask)
    start, causal = torch.zeros((), dtype=torch.int64), causal_mask(target.shape[1])
    return model.decode(ops, target, memory, None, mask, first_position=start, target_mask=causal)[0]


def test_later_target_ids_leave_earlier_logits_unchanged() -> None:
    model, source, target = stirred(), random_ids(3, 6), random_ids(3, 7, seed=1)
    whole = logits(model, source, target)
    for position in range(1, 7):
        changed = target.clone()
        changed[:, position:] = (changed[:, position:] + 1) % SMALL.vocabulary_size
        other = logits(model, source, changed)
        assert torch.equal(other[:, :position], whole[:, :position])
        assert not torch.allclose(other[:, position], whole[:, position], atol=1e-3)


def test_every_source_token_matters_but_padding_does_not() -> None:
    model, source, target = stirred(), random_ids(2, 6), random_ids(2, 5, seed=1)
    whole = logits(model, source, target)
    padded = torch.nn.functional.pad(source, (0, 4), value=PAD)
    torch.testing.assert_close(logits(model, padded, target), whole, atol=1e-5, rtol=0)
    for position in range(6):
        changed = source.clone()
        changed[:, position] = 4 + (changed[:, position] - 3) % (SMALL.vocabulary_size - 4)
        assert not torch.allclose(logits(model, changed, target), whole, atol=1e-4)


def test_a_sentence_does_not_depend_on_its_batch() -> None:
    model, source, target = stirred(), random_ids(3, 6), random_ids(3, 5, seed=1)
    source[1, 3:] = PAD
    together = logits(model, source, target)
    alone = torch.cat([logits(model, source[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("prefix", [1, 3])
def test_decoding_with_a_cache_equals_decoding_at_once(prefix: int) -> None:
    model, source, target = stirred(), random_ids(3, 6), random_ids(3, 9, seed=1)
    source[1, 4:] = PAD
    ops, mask = FloatArithmetic(), source_mask(source, PAD)
    memory = model.encode(ops, source, mask)
    first, past = model.decode(
        ops, target[:, :prefix], memory, None, mask, first_position=torch.tensor(0), target_mask=causal_mask(prefix)
    )
    pieces = [first]
    for position in range(prefix, 9):
        step, past = model.decode(
            *(ops, target[:, position : position + 1], memory, past, mask),
            first_position=torch.tensor(position),
            target_mask=None,
        )
        pieces.append(step)
    torch.testing.assert_close(torch.cat(pieces, 1), logits(model, source, target), atol=1e-5, rtol=0)
    assert past[0].keys.shape == (3, SMALL.n_heads, 9, SMALL.d_head)


def torch_attention(weights: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    """Our attention's weights under the names of `torch.nn.MultiheadAttention`."""
    renamed = {}
    for kind in ("weight", "bias"):
        parts = [weights[f"{ours}.{name}.{kind}"] for name in ("query", "key", "value")]
        renamed[f"{theirs}.in_proj_{kind}"] = torch.cat(parts)
        renamed[f"{theirs}.out_proj.{kind}"] = weights[f"{ours}.output.{kind}"]
    return renamed


def torch_rest(weights: dict[str, Tensor], norms: list[str]) -> dict[str, Tensor]:
    """Our LayerNorms and feed-forward network under torch's names."""
    names = {"feed_forward.expand": "linear1", "feed_forward.contract": "linear2"}
    names |= {f"{norm}_residual.norm": f"norm{i}" for i, norm in enumerate(norms, start=1)}
    return {
        f"{theirs}.{kind}": weights[f"{ours}.{kind}"] for ours, theirs in names.items() for kind in ("weight", "bias")
    }


@torch.no_grad()
def test_the_layers_are_those_of_torch() -> None:
    model = stirred(d_model=12, d_head=6, encoder_layers=1, decoder_layers=1)
    source, target = random_ids(2, 6), random_ids(2, 5, seed=1)
    source[0, 4:] = PAD
    sites: dict[str, Tensor] = {}
    logits(model, source, target, sites.__setitem__)
    encoder = torch.nn.TransformerEncoderLayer(12, 2, 12, dropout=0.0, batch_first=True)
    weights = model.encoder[0].state_dict()
    encoder.load_state_dict(
        torch_attention(weights, "self_attention", "self_attn") | torch_rest(weights, ["attention", "feed_forward"])
    )
    memory = encoder(sites["encoder.embedding"], src_key_padding_mask=source == PAD)
    visible = source != PAD
    torch.testing.assert_close(memory[visible], sites["encoder.0.feed_forward.layernorm.output"][visible])
    decoder = torch.nn.TransformerDecoderLayer(12, 2, 12, dropout=0.0, batch_first=True)
    weights = model.decoder[0].state_dict()
    decoder.load_state_dict(
        torch_attention(weights, "self_attention", "self_attn")
        | torch_attention(weights, "cross_attention", "multihead_attn")
        | torch_rest(weights, ["self_attention", "cross_attention", "feed_forward"])
    )
    mask = {"tgt_mask": ~causal_mask(5).allowed[0, 0], "memory_key_padding_mask": source == PAD}
    out = decoder(sites["decoder.embedding"], memory, **mask)
    torch.testing.assert_close(out, sites["decoder.0.feed_forward.layernorm.output"])


@torch.no_grad()
def test_embeddings_are_scaled_and_shared_with_the_generator() -> None:
    model, target = stirred(), random_ids(2, 5)
    sites: dict[str, Tensor] = {}
    found = logits(model, random_ids(2, 6), target, sites.__setitem__)
    matrix = model.source_embedding.weight
    torch.testing.assert_close(sites["decoder.embedding"], matrix[target] * math.sqrt(8) + sinusoidal_positions(5, 8))
    torch.testing.assert_close(found, sites["decoder.1.feed_forward.layernorm.output"] @ matrix.T)


def test_tied_weights_are_one_matrix_and_untied_ones_three() -> None:
    names = ("source_embedding.weight", "target_embedding.weight", "generator.weight")
    tied, untied = stirred(), stirred(tied=False)
    assert len({tied.state_dict()[name].data_ptr() for name in names}) == 1
    assert len({untied.state_dict()[name].data_ptr() for name in names}) == 3
    extra = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert extra == 2 * SMALL.vocabulary_size * SMALL.d_model


def test_the_head_size_is_free_of_the_model_size() -> None:
    model = stirred()
    assert SMALL.n_heads * SMALL.d_head != SMALL.d_model
    attention = model.get_submodule("decoder.0.cross_attention")
    assert {name: tuple(p.shape) for name, p in attention.named_parameters() if name.endswith("weight")} == {
        "query.weight": (6, 8),
        "key.weight": (6, 8),
        "value.weight": (6, 8),
        "output.weight": (8, 6),
    }
    assert logits(model, random_ids(1, 4), random_ids(1, 3)).shape == (1, 3, 13)


SITES = """
encoder.embedding
encoder.0.self_attention.key
encoder.0.self_attention.value
encoder.0.self_attention.query
encoder.0.self_attention.scores
encoder.0.self_attention.softmax.numerator
encoder.0.self_attention.softmax.denominator
encoder.0.self_attention.softmax.output
encoder.0.self_attention.context
encoder.0.self_attention.heads
encoder.0.self_attention.output
encoder.0.self_attention.residual
encoder.0.self_attention.layernorm.numerator
encoder.0.self_attention.layernorm.denominator
encoder.0.self_attention.layernorm.quotient
encoder.0.self_attention.layernorm.output
encoder.0.feed_forward.hidden
encoder.0.feed_forward.output
encoder.0.feed_forward.residual
encoder.0.feed_forward.layernorm.numerator
encoder.0.feed_forward.layernorm.denominator
encoder.0.feed_forward.layernorm.quotient
encoder.0.feed_forward.layernorm.output
decoder.0.cross_attention.key
decoder.0.cross_attention.value
decoder.embedding
decoder.0.self_attention.key
decoder.0.self_attention.value
decoder.0.self_attention.query
decoder.0.self_attention.scores
decoder.0.self_attention.softmax.numerator
decoder.0.self_attention.softmax.denominator
decoder.0.self_attention.softmax.output
decoder.0.self_attention.context
decoder.0.self_attention.heads
decoder.0.self_attention.output
decoder.0.self_attention.residual
decoder.0.self_attention.layernorm.numerator
decoder.0.self_attention.layernorm.denominator
decoder.0.self_attention.layernorm.quotient
decoder.0.self_attention.layernorm.output
decoder.0.cross_attention.query
decoder.0.cross_attention.scores
decoder.0.cross_attention.softmax.numerator
decoder.0.cross_attention.softmax.denominator
decoder.0.cross_attention.softmax.output
decoder.0.cross_attention.context
decoder.0.cross_attention.heads
decoder.0.cross_attention.output
decoder.0.cross_attention.residual
decoder.0.cross_attention.layernorm.numerator
decoder.0.cross_attention.layernorm.denominator
decoder.0.cross_attention.layernorm.quotient
decoder.0.cross_attention.layernorm.output
decoder.0.feed_forward.hidden
decoder.0.feed_forward.output
decoder.0.feed_forward.residual
decoder.0.feed_forward.layernorm.numerator
decoder.0.feed_forward.layernorm.denominator
decoder.0.feed_forward.layernorm.quotient
decoder.0.feed_forward.layernorm.output
generator.logits
""".split()
"""Every tensor that a model of one encoder and one decoder layer makes, in order."""


def test_the_sites_are_exactly_these_and_observing_changes_nothing() -> None:
    model = stirred(encoder_layers=1, decoder_layers=1)
    seen: dict[str, Tensor] = {}
    sites: list[str] = []

    def observe(site: str, tensor: Tensor) -> None:
        sites.append(site)
        seen[site] = tensor

    source, target = random_ids(2, 6), random_ids(2, 5, seed=1)
    source[0, 4:] = PAD
    observed = logits(model, source, target, observe)
    assert sites == SITES
    torch.testing.assert_close(observed, logits(model, source, target), atol=1e-5, rtol=0)
    probabilities = seen["decoder.0.cross_attention.softmax.output"]
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, 2, 5))
    assert not probabilities[0, :, :, 4:].any()
    assert not seen["decoder.0.self_attention.softmax.output"].triu(1).any()


def test_deeper_models_repeat_the_sites_of_a_layer() -> None:
    sites: list[str] = []
    logits(stirred(), random_ids(1, 3), random_ids(1, 3), lambda site, _: sites.append(site))
    again = [site.replace("er.0.", "er.1.") for site in SITES if "er.0." in site]
    assert sorted(sites) == sorted(SITES + again)


def test_positions_are_the_published_sinusoids() -> None:
    table = sinusoidal_positions(20, 8)
    for position in (0, 1, 19):
        for i in range(4):
            angle = position / 10_000 ** (2 * i / 8)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    torch.manual_seed(1)
    x = torch.full((300, 333), 2.0)
    assert FloatArithmetic().dropout(x) is x
    dropped = FloatArithmetic(dropout=0.25).dropout(x)
    kept = dropped != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert torch.equal(dropped[kept], torch.full_like(dropped[kept], 2 / 0.75))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_ff": 0}, "d_ff is 0; it must be at least 1"),
        ({"n_heads": -1}, "n_heads is -1; it must be at least 1"),
        ({"d_model": 7}, "d_model is 7; sinusoidal positions need an even number"),
        ({"d_model": 8.0}, "d_model is 8.0; it must be of type int"),
        ({"d_head": True}, "d_head is True; it must be of type int"),
        ({"tied": "no"}, "tied is 'no'; it must be of type bool"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)
