"""Errors of a site, losses and BLEU intervals by hand: sums over batches, padding left out, a token counts once."""

import math

import numpy as np
import pytest
import torch

from analysis.accuracy import bleu
from analysis.accuracy.accuracy import Accuracy, SiteError, decibel, float_passes, measure
from reference.floating import FloatArithmetic
from reference.models.translation import Transformer
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import preset
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import PAD
from reference.train import Batch, make_batch, teacher_forced
from tests.small.models import TINY
from tests.small.sentences import sentences


def test_decibels() -> None:
    assert decibel(100.0, 1.0) == 20.0 and decibel(1.0, 1000.0) == pytest.approx(-30.0)
    assert decibel(1.0, 0.0) == math.inf == decibel(0.0, 0.0) and decibel(0.0, 1.0) == -math.inf


def test_errors_add_up_over_batches() -> None:
    """3, 4 against 3, 3 and 0, -2 against 1/2, -2: signal 29, noise 1.25, product 25, power 22.25."""
    error = SiteError()
    error.add(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.0]))
    assert (error.count, error.signal, error.noise, error.max_error) == (2, 25.0, 1.0, 1.0)
    assert error.sqnr_db == pytest.approx(13.9794, abs=1e-4)
    error.add(torch.tensor([[0.0], [-2.0]]), torch.tensor([[0.5], [-2.0]]))
    assert (error.count, error.signal, error.noise) == (4, 29.0, 1.25)
    assert (error.product, error.quantized, error.max_error) == (25.0, 22.25, 1.0)
    assert error.sqnr_db == pytest.approx(13.6549, abs=1e-4)
    assert error.cosine == pytest.approx(0.984183, abs=1e-6)
    error.add(torch.tensor([1.0]), torch.tensor([-4.0]))  # the greatest error is below zero
    assert error.max_error == 5.0


def test_nothing_has_no_angle() -> None:
    assert math.isnan(SiteError().cosine) and SiteError().sqnr_db == math.inf


def test_the_loss_increase_is_what_quantization_adds() -> None:
    assert Accuracy(loss_float=2.0, loss_quantized=2.5, sites={}).loss_increase == 0.5


# --- a model ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(3)
    return Transformer(TINY).eval()


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    """Of 2 sentences of unlike length, and of a long one: token for token, neither batch counts as the other."""
    rows = sentences(4)
    return [make_batch([(rows[0], rows[0]), (rows[1], rows[2])]), make_batch([(rows[2], rows[3])])]


@pytest.fixture(scope="module")
def plan(model: Transformer, batches: list[Batch]) -> Plan:
    return make_plan(model, preset("int4"), calibrate(model, batches))


def loss(logits: list[np.ndarray], batches: list[Batch]) -> float:
    """Mean over all labels of minus the log of their probability."""
    terms = []
    for scores, batch in zip(logits, batches, strict=True):
        for row, label in zip(scores.reshape(-1, scores.shape[-1]), batch.labels.flatten().tolist(), strict=True):
            if label != PAD:
                terms.append(math.log(np.exp(row - row[label]).sum()))
    return sum(terms) / len(terms)


def test_losses_count_every_token_once(model: Transformer, plan: Plan, batches: list[Batch]) -> None:
    found = measure(model, plan, float_passes(model, batches))
    with torch.no_grad():
        real = [teacher_forced(model, FloatArithmetic(), batch).double().numpy() for batch in batches]
        strict = StrictArithmetic(model, plan)
        codes = [teacher_forced(model, strict, batch).codes.double().numpy() for batch in batches]
    assert found.loss_float == pytest.approx(loss(real, batches), rel=1e-5)
    quantized = [plan.logit_scale * x for x in codes]
    assert found.loss_quantized == pytest.approx(loss(quantized, batches), rel=1e-5)
    assert abs(found.loss_increase) > 1e-3
    assert list(found.sites) == [plan.graph.logits.site]
    seen = [
        x.reshape(-1, x.shape[-1])[(batch.target != PAD).flatten().numpy()]
        for x, batch in zip(real, batches, strict=True)
    ]
    assert found.sites[plan.graph.logits.site].signal == pytest.approx(sum(float((x**2).sum()) for x in seen), rel=1e-5)


def test_the_interval_is_of_sentences(model: Transformer, plan: Plan, batches: list[Batch]) -> None:
    """Of three sentences 1 draw in 27 is one of them three times: the ends are the least and the greatest increase."""
    found = measure(model, plan, float_passes(model, batches))
    with torch.no_grad():
        real = [teacher_forced(model, FloatArithmetic(), batch).double().numpy() for batch in batches]
        strict = StrictArithmetic(model, plan)
        codes = [teacher_forced(model, strict, batch).codes.double().numpy() for batch in batches]
    increases = []
    for x, q, batch in zip(real, codes, batches, strict=True):
        for i in range(len(batch.labels)):
            alone = [Batch(source=batch.source, target=batch.target, labels=batch.labels[i : i + 1])]
            increases.append(loss([plan.logit_scale * q[i : i + 1]], alone) - loss([x[i : i + 1]], alone))
    assert len(increases) == 3
    assert found.interval == (pytest.approx(min(increases), rel=1e-3), pytest.approx(max(increases), rel=1e-3))


@pytest.mark.parametrize(
    "site", ["encoder.0.self_attention.query", "encoder.0.feed_forward.output", "encoder.embedding"]
)
def test_errors_of_a_site_leave_padding_out(model: Transformer, plan: Plan, batches: list[Batch], site: str) -> None:
    found = measure(model, plan, float_passes(model, batches, keep_sites=True)).sites[site]
    quantizer, real, codes = plan.quantizers[site], {}, {}
    signal = noise = count = 0.0
    for batch in batches:
        with torch.no_grad():
            teacher_forced(model, FloatArithmetic(real.__setitem__), batch)
            teacher_forced(model, StrictArithmetic(model, plan, codes.__setitem__), batch)
        kept = batch.source != PAD
        x = real[site][kept].double()
        error = (codes[site][kept].double() - quantizer.zero_point) * quantizer.scale - x
        signal, noise, count = signal + float((x**2).sum()), noise + float((error**2).sum()), count + x.numel()
    assert quantizer.zero_point != 0 or site.endswith("query")
    assert found.count == count < sum(batch.source.numel() for batch in batches) * 8
    assert (found.signal, found.noise) == (pytest.approx(signal), pytest.approx(noise))


def test_passes_keep_sites_only_if_they_are_wanted(model: Transformer, batches: list[Batch]) -> None:
    (first, _), (kept, _) = (list(float_passes(model, batches, keep_sites=keep)) for keep in (False, True))
    assert first.sites == {} and "encoder.embedding" in kept.sites and first.batch is batches[0]
    labels = int((batches[0].labels != PAD).sum())
    mean = loss([first.logits.double().numpy()], batches[:1])
    assert float(first.losses.sum()) == pytest.approx(mean * labels, rel=1e-5)


# --- BLEU's intervals -------------------------------------------------------------------------------------------------


def test_an_interval_leaves_two_and_a_half_percent_on_either_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the numbers 0 to 1000; of a difference, those of ours less the baseline's."""
    draws = {("a",): np.arange(1001.0), ("b",): np.full(1001, 40.0)}
    monkeypatch.setattr(bleu, "_resampled", lambda texts, references, seed: draws[tuple(texts)])
    one = bleu.bleu(["a"], ["a"])
    assert (one.low, one.high) == (25.0, 975.0)
    assert bleu.paired_difference(["a"], ["b"], ["a"]) == (-15.0, 935.0)
    assert bleu.paired_difference(["b"], ["a"], ["a"]) == (-935.0, 15.0)


def test_a_thousand_draws_of_sentences_with_replacement() -> None:
    """Of a right and a wrong sentence a draw has both right in a quarter of cases, and both wrong in another."""
    texts, references = ["the cat sat on the mat", "x y z u v w"], ["the cat sat on the mat", "a b c d e f"]
    scores = bleu._resampled(texts, references, 7)
    both_wrong = scores.min()
    assert scores.shape == (1000,) and both_wrong < 5
    right, wrong = int((scores > 99.9).sum()), int((scores == both_wrong).sum())
    assert 200 < right < 300 and 200 < wrong < 300 and len(set(scores.round(6))) == 3


def test_two_systems_are_drawn_alike() -> None:
    """Both are wrong in sentence 0, ours in sentence 1 too: with the same draws ours is never ahead."""
    references = [f"the cat number {i} sat on the mat today" for i in range(12)]
    wrong = [text.replace("cat", "dog") for text in references]
    ours, baseline = [*wrong[:2], *references[2:]], [*wrong[:1], *references[1:]]
    low, high = bleu.paired_difference(ours, baseline, references)
    assert low < -1 and high <= 0.0
    assert bleu.paired_difference(baseline, ours, references) == (-high, -low)
