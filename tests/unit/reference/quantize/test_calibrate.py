"""What calibration finds at a site: ranges computed by hand, where the two estimators and every mask matter."""

import pytest
import torch
from torch import Tensor

from reference.floating import FloatArithmetic
from reference.models.translation import Transformer, TransformerConfig
from reference.quantize import calibrate as module
from reference.quantize.calibrate import Range, calibrate
from reference.quantize.plan import make_plan
from reference.quantize.scheme import Rule, Scheme
from reference.tokenizer import BOS, EOS, PAD
from reference.train import Batch

EMBEDDING = "encoder.embedding"
WORDS = {4: [1.0, -2.0], 5: [10.0, 2.0], 6: [-4.0, 3.0], 7: [0.5, -0.5]}
"""Values that a word has at the encoder's embedding; PAD has -1000 and 1000, BOS and EOS have 0."""


def model_of_words() -> Transformer:
    """A model whose embeddings are WORDS, without positions."""
    torch.manual_seed(2)
    sizes = {"d_model": 2, "n_heads": 1, "d_head": 2, "d_ff": 2, "encoder_layers": 1, "decoder_layers": 1}
    model = Transformer(TransformerConfig(vocabulary_size=8, max_positions=6, tied=False, **sizes)).eval()  # type: ignore[arg-type]
    model.positions.zero_()
    with torch.no_grad():
        for embedding in (model.source_embedding, model.target_embedding):
            embedding.weight.zero_()
            embedding.weight[PAD] = torch.tensor([-1000.0, 1000.0]) / 2**0.5
            for word, values in WORDS.items():
                embedding.weight[word] = torch.tensor(values) / 2**0.5  # the look-up multiplies by sqrt(d_model)
    return model


def batch(source: list[list[int]], target: list[list[int]]) -> Batch:
    return Batch(source=torch.tensor(source), target=torch.tensor(target), labels=torch.tensor(target))


BATCHES = [
    batch([[4, EOS, PAD], [5, 4, EOS]], [[BOS, 6], [BOS, PAD]]),
    batch([[6, EOS]], [[BOS, 4]]),
    batch([[7, EOS]], [[BOS, 5]]),
]


def test_the_estimators_differ_and_neither_reads_padding() -> None:
    """Source batches take [-2, 10], [-4, 3], [-0.5, 0.5]; target batches [-4, 3], [-2, 1], [0, 10].

    Averages: -2, then 0.9*-2 - 0.1*4 = -2.2, then 0.9*-2.2 - 0.1*0.5 = -2.03; 10, 9.3, 8.42.
    """
    found = calibrate(model_of_words(), BATCHES)
    encoder, decoder = found[EMBEDDING], found["decoder.embedding"]
    assert encoder.estimate("ema") == pytest.approx((-2.03, 8.42), rel=1e-6)
    assert encoder.estimate("min_max") == pytest.approx((-4.0, 10.0), rel=1e-6)
    assert decoder.estimate("ema") == pytest.approx((-3.42, 3.52), rel=1e-6)
    assert decoder.estimate("min_max") == pytest.approx((-4.0, 10.0), rel=1e-6)


def test_the_average_begins_with_the_first_batch() -> None:
    """Not with 0, and its order matters: the last batch counts for a tenth, the first for all that is left."""
    model = model_of_words()
    assert calibrate(model, BATCHES[:1])[EMBEDDING].average == pytest.approx((-2.0, 10.0), rel=1e-6)
    backwards = calibrate(model, BATCHES[1::-1])[EMBEDDING]
    assert backwards.average == pytest.approx((-3.8, 3.7), rel=1e-6)
    assert backwards.extremes == pytest.approx((-4.0, 10.0), rel=1e-6)


def test_updates_by_hand() -> None:
    one = Range((-1.0, 2.0), (-1.0, 2.0))
    one.update(-11.0, 1.0)
    assert one.average == pytest.approx((-2.0, 1.9)) and one.extremes == (-11.0, 2.0)
    one.update(4.0, 12.0)  # the least of a batch may lie above zero
    assert one.average == pytest.approx((-1.4, 2.91)) and one.extremes == (-11.0, 12.0)
    assert one.estimate("ema") == one.average and one.estimate("min_max") == one.extremes


def test_a_scheme_chooses_the_estimator_of_its_scale() -> None:
    """int8 codes of the embedding: 255 steps over the range, whose scale snapping may only widen."""
    model = model_of_words()
    ranges = calibrate(model, BATCHES)
    model.positions.fill_(0.25)  # weights that are all 0 have no scale
    for estimator, width in (("ema", 8.42 + 2.03), ("min_max", 14.0)):
        scheme = Scheme(name="one", rules=(Rule(pattern=EMBEDDING, estimator=estimator),))  # type: ignore[arg-type]
        scale = make_plan(model, scheme, ranges).quantizers[EMBEDDING].scale
        assert 0.999999 * width / 255 <= scale < 1.02 * width / 255


# --- which elements of a site are seen ----------------------------------------------------------------------------

MASKED = -99.0
CAUSAL = [[1.0, MASKED, MASKED], [2.0, 3.0, MASKED], [4.0, 5.0, 6.0]]
"""Scores (t, t) of a target of three words: later keys are masked."""
PADDED_CAUSAL = [[7.0, MASKED, MASKED], [8.0, 9.0, MASKED], [MASKED, MASKED, MASKED]]
"""The last query is padding."""
CROSS = [[11.0, 12.0], [13.0, 14.0], [15.0, 16.0]]
PADDED_CROSS = [[17.0, MASKED], [18.0, MASKED], [MASKED, MASKED]]
"""The second source word is padding, and the third query."""
ENCODER_SCORES = [[21.0, 22.0], [23.0, 24.0]]
PADDED_ENCODER_SCORES = [[25.0, MASKED], [MASKED, MASKED]]
TEXT = batch([[4, EOS], [EOS, PAD]], [[BOS, 4, 5], [BOS, 4, PAD]])


def heads(*rows: list[list[float]]) -> Tensor:
    """(b, h, t, s) of one head."""
    return torch.tensor(rows)[:, None]


SEEN = {
    "encoder.0.self_attention.scores": (heads(ENCODER_SCORES, PADDED_ENCODER_SCORES), (21.0, 25.0)),
    "decoder.0.self_attention.scores": (heads(CAUSAL, PADDED_CAUSAL), (1.0, 9.0)),
    "decoder.0.self_attention.softmax.output": (heads(CAUSAL, PADDED_CAUSAL), (1.0, 9.0)),
    "decoder.0.cross_attention.scores": (heads(CROSS, PADDED_CROSS), (11.0, 18.0)),
    "decoder.0.cross_attention.softmax.numerator": (heads(CROSS, PADDED_CROSS), (11.0, 18.0)),
    "decoder.0.cross_attention.softmax.denominator": (
        heads([[1.0], [2.0], [3.0]], [[4.0], [5.0], [MASKED]]),
        (1.0, 5.0),
    ),
    "decoder.0.cross_attention.key": (torch.tensor([[[1.0], [2.0]], [[3.0], [MASKED]]]), (1.0, 3.0)),
    "decoder.0.cross_attention.query": (
        torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [MASKED]]]),
        (1.0, 5.0),
    ),
    "decoder.0.self_attention.context": (heads([[1.0], [2.0], [3.0]], [[4.0], [5.0], [MASKED]]), (1.0, 5.0)),
    "encoder.0.self_attention.context": (heads([[1.0], [2.0]], [[3.0], [MASKED]]), (1.0, 3.0)),
    "encoder.0.feed_forward.hidden": (torch.tensor([[[1.0], [2.0]], [[3.0], [MASKED]]]), (1.0, 3.0)),
    "generator.logits": (torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [MASKED]]]), (1.0, 5.0)),
}


@pytest.mark.parametrize("site", SEEN)
def test_padding_and_masked_scores_are_left_out(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every element that is not real is -99; the range is that of the others."""
    values, expected = SEEN[site]

    def read(model: Transformer, ops: FloatArithmetic, text: Batch) -> None:
        assert text is TEXT and not torch.is_grad_enabled()
        ops.add(site, values, torch.zeros(()))

    monkeypatch.setattr(module, "teacher_forced", read)
    found = calibrate(model_of_words(), [TEXT])
    assert list(found) == [site] and found[site] == Range(expected, expected)


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf")], ids=str
)
def test_a_value_that_is_not_finite_is_named(value: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(model: Transformer, ops: FloatArithmetic, text: Batch) -> None:
        ops.add(EMBEDDING, torch.tensor([[[1.0], [value]], [[3.0], [4.0]]]), torch.zeros(()))

    monkeypatch.setattr(module, "teacher_forced", read)
    with pytest.raises(ValueError, match=rf"^site {EMBEDDING} takes the value {said} in calibration$"):
        calibrate(model_of_words(), [TEXT])
