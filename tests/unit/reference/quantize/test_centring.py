"""Centred keys: the same function, and the least squares of (C1) by hand."""

import math

import numpy as np
import pytest
import torch

from reference.floating import FloatArithmetic
from reference.models.translation import Transformer
from reference.quantize.centring import centred
from reference.tokenizer import BOS, EOS, PAD
from reference.train import Batch, teacher_forced
from tests.small.models import small_model

SCORES = ("encoder.0.self_attention", "decoder.0.self_attention", "decoder.0.cross_attention")


def batch(source: list[list[int]], target: list[list[int]]) -> Batch:
    return Batch(source=torch.tensor(source), target=torch.tensor(target), labels=torch.tensor(target))


BATCHES = [
    batch([[4, 9, 6, EOS], [5, EOS, PAD, PAD]], [[BOS, 6, 11], [BOS, 8, PAD]]),
    batch([[12, 7, EOS]], [[BOS, 4, 15]]),
]


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Sharp attention: scores of several nat."""
    model = small_model(seed=4)
    with torch.no_grad():
        for name in SCORES:
            model.get_submodule(name).query.weight *= 6  # type: ignore[operator, union-attr]
            model.get_submodule(name).key.bias += 2  # type: ignore[operator, union-attr]
    return model


def rows_of(model: Transformer, site: str) -> tuple[list[list[list[float]]], list[list[float]]]:
    """By head, queries / sqrt(d_head) and greatest visible scores of the real positions of BATCHES, one by one."""
    heads = model.config.n_heads
    queries: list[list[list[float]]] = [[] for _ in range(heads)]
    greatest: list[list[float]] = [[] for _ in range(heads)]
    for one in BATCHES:
        seen: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            teacher_forced(model, FloatArithmetic(seen.__setitem__), one)
        scores, query = seen[f"{site}.scores"], seen[f"{site}.query"]
        own = one.source if site.startswith("encoder") else one.target
        keys = one.target if site == "decoder.0.self_attention" else one.source
        for b, row in enumerate(own.tolist()):
            for t, token in enumerate(row):
                if token == PAD:
                    continue
                seen_keys = [
                    s
                    for s, key in enumerate(keys[b].tolist())
                    if (s <= t if site == "decoder.0.self_attention" else key != PAD)
                ]
                for h in range(heads):
                    queries[h].append((query[b, t].reshape(heads, -1)[h] / math.sqrt(model.config.d_head)).tolist())
                    greatest[h].append(max(scores[b, h, t, s].item() for s in seen_keys))
    return queries, greatest


@pytest.mark.parametrize("site", SCORES)
def test_key_biases_are_the_least_squares_of_the_page(model: Transformer, site: str) -> None:
    """numpy's solver on rows gathered position by position, the ridge as further rows."""
    bias = {
        name: (model if name == "old" else centred(model, BATCHES, 1.5)).get_submodule(site).key.bias
        for name in ("old", "new")
    }
    found = (bias["new"] - bias["old"]).detach().reshape(model.config.n_heads, -1)  # type: ignore[operator]
    for h, (queries, greatest) in enumerate(zip(*rows_of(model, site), strict=True)):
        width = model.config.d_head
        ridge = math.sqrt(1e-3 * len(queries)) * np.eye(width)
        rows = np.concatenate([np.array(queries), ridge])
        wanted = np.concatenate([1.5 - np.array(greatest), np.zeros(width)])
        expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        assert np.abs(expected).max() > 0.1
        assert found[h].tolist() == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-3)


def test_the_float_model_stays_the_same_function(model: Transformer) -> None:
    """Attention, and so the logits, do not see it; greatest scores come nearer to the top than they were."""
    result = centred(model, BATCHES, 2.0)
    for one in BATCHES:
        with torch.no_grad():
            before, after = (teacher_forced(which, FloatArithmetic(), one) for which in (model, result))
        real = one.target != PAD
        assert torch.allclose(before[real], after[real], atol=2e-5)
    for site in SCORES:
        far = [
            sum((value - 2.0) ** 2 for head in rows_of(which, site)[1] for value in head) for which in (model, result)
        ]
        assert far[1] < 0.6 * far[0]


def test_the_model_that_was_given_is_left_alone(model: Transformer) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = centred(model, BATCHES).state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"{site}.key.bias" for site in SCORES}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_text_is_refused(model: Transformer) -> None:
    with pytest.raises(ValueError, match=r"^calibration text is empty$"):
        centred(model, [])


def test_a_score_that_is_not_finite_is_refused() -> None:
    broken = small_model(seed=4)
    with torch.no_grad():
        broken.get_submodule(SCORES[1]).key.bias.fill_(torch.inf)  # type: ignore[operator, union-attr]
    with pytest.raises(
        ValueError, match=r"^site decoder\.0\.self_attention\.scores takes a value that is not finite in"
    ):
        centred(broken, BATCHES)
