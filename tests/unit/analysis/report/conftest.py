"""One run on a tiny model, and the report that was written of it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.accuracy.sensitivity import Row
from analysis.output.context import Context, context
from analysis.run import RunResult, Scores, run
from analysis.workload import Model, calibrate_model, load_model
from reference.data import ParallelText
from reference.quantize.scheme import Rule, preset, scheme_for
from tests.small.models import save_tiny_model
from tests.unit.analysis.report.reading import SCRIPT, SENTENCES, write_report


@pytest.fixture(scope="session")
def model(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Random weights."""
    path = tmp_path_factory.mktemp("report") / "model"
    save_tiny_model(path, vocabulary)
    return load_model(path)


@pytest.fixture(scope="session")
def result(model: Model, small_text: ParallelText) -> RunResult:
    """Two configurations on a few sentences; BLEU, which random weights leave at 0, is made up."""
    text = small_text.head(SENTENCES)
    rules = [Rule(pattern="*.softmax.output", bits=5)]
    own = scheme_for("ita", name="own & <b>$x^$</b>", weight_bits=4, rules=rules)
    done = run(model, [preset("int8"), own], text.source, text.target, calibrate_model(model, text))
    assert done.bleu_float is not None
    score = replace(done.bleu_float, score=12.5, low=9.0, high=16.5)
    made = Scores(integer=score, fake_quant=score, difference=(-1.0, 1.0))
    scored = [replace(one, scores=made) for one in done.configurations]
    return replace(done, bleu_float=score, configurations=scored)


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Made up, with everything that JSON has no number for."""
    groups = [
        Row(kind="group", name=name, bits=bits, loss_increase=slope / bits, sqnr_db=6.0 * bits)
        for name, slope in (("layernorm", 0.1), ("feed_forward", 0.3))
        for bits in (8, 4)
    ]
    layer = Row(kind="layer", name="encoder.0", bits=4, loss_increase=-0.01, sqnr_db=20.0, bleu=3.5)
    site = Row(kind="site", name="encoder.0.self_attention.key", bits=4, loss_increase=0.02, sqnr_db=math.inf)
    ita = Row(kind="group", name="softmax", bits=4, loss_increase=0.5, sqnr_db=9.0, accelerator="ita")
    return [*groups, ita, layer, site]


@pytest.fixture
def origin(model: Model) -> Context:
    return context(["/somewhere/bin/hwsim", "run", "--text", "a file.en"], model.folder, 125.04)


@pytest.fixture(scope="session")
def written(model: Model, result: RunResult, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a hostile translation in it."""
    target = tmp_path_factory.mktemp("written") / "runs" / "report"
    floating = replace(result.floating, text=[SCRIPT, *result.floating.text[1:]])
    argv = ["hwsim", "run", "--text", "<img src=http://example.com/x>"]
    write_report(replace(result, floating=floating), rows, target, context(argv, model.folder, 3.21))
    return target
