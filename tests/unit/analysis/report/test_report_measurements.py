"""What a run measures for its report: at the sites of each target, with the float model run once."""

import pytest

from analysis.accuracy import accuracy
from analysis.accuracy.accuracy import float_passes
from analysis.run import RunResult, run
from analysis.workload import Model, calibrate_model
from reference.data import ParallelText
from reference.floating import FloatArithmetic
from tests.unit.analysis.report.reading import SENTENCES


def test_sites_are_those_of_the_target(result: RunResult) -> None:
    """The float model has softmax numerators; a target whose softmax has none is not measured there. ITA has heads."""
    plain, ita = (set(one.accuracy.sites) for one in result.configurations)
    attentions = ("encoder.0.self", "decoder.0.self", "decoder.0.cross")
    assert ita - plain == {f"{name}_attention.heads" for name in attentions}
    assert {site.rpartition(".")[2] for site in plain - ita} == {"numerator", "denominator", "quotient"}


def test_the_float_model_is_run_once_for_all_schemes(
    model: Model, small_text: ParallelText, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[object] = []
    monkeypatch.setattr(accuracy, "FloatArithmetic", lambda *args: passes.append(args) or FloatArithmetic(*args))
    text = small_text.head(SENTENCES)
    schemes = [one.configuration.scheme for one in result.configurations]
    again = run(model, schemes, text.source, text.target, calibrate_model(model, text))
    assert len(passes) == len(model.batches_by_length(text, "text"))
    for ours, theirs in zip(again.configurations, result.configurations, strict=True):
        assert ours.accuracy == theirs.accuracy
        alone = float_passes(model.network, model.batches_by_length(text, "text"), keep_sites=True)
        assert accuracy.measure(model.network, ours.configuration.plan, alone) == ours.accuracy
