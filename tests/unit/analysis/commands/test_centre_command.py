"""`hwsim centre` on a tiny model: what it writes, prints and refuses."""

from pathlib import Path

import pytest
import torch

from analysis.workload import Model, calibration_batches, load_model
from reference.data import ParallelText, read_parallel
from reference.quantize.centring import centred
from tests.small.models import save_tiny_model
from tests.unit.analysis.commands.estimate_runs import Run, caller


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller("centre", monkeypatch, capsys)


@pytest.fixture(scope="module")
def folder(vocabulary: Path, small_text: ParallelText, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("centre")
    save_tiny_model(folder / "model", vocabulary)
    text = small_text.head(6)
    (folder / "text.en").write_text("\n".join(text.source) + "\n")
    (folder / "text.de").write_text("\n".join(text.target) + "\n")
    return folder


def biases(model: Model) -> torch.Tensor:
    names = [name for name in model.network.state_dict() if name.endswith(".key.bias")]
    assert len(names) == 3
    return torch.cat([model.network.state_dict()[name] for name in names])


@pytest.mark.parametrize(("words", "top"), [((), 1.5), (("--top", "-1.5"), -1.5)])
def test_the_folder_holds_the_centred_model(
    run: Run, folder: Path, tmp_path: Path, words: tuple[str], top: float
) -> None:
    out = tmp_path / "deep" / "centred"
    text = ("--calibrate", folder / "text.en", "--calibrate-reference", folder / "text.de")
    code, printed, _ = run("--model", folder / "model", *text, "--out", out, *words)
    assert (code, printed) == (0, f"{out}: the same model, its keys centred at {top:g} nat\n")
    model, made = load_model(folder / "model"), load_model(out)
    batches = calibration_batches(model, read_parallel(folder / "text.en", folder / "text.de"))
    wanted = Model(folder=out, network=centred(model.network, batches, top), tokenizer=model.tokenizer)
    assert torch.allclose(biases(made), biases(wanted), rtol=1e-3, atol=1e-4)  # float16 on disk
    assert not torch.allclose(biases(made), biases(model), atol=0.05)
    assert (out / "vocabulary.model").read_bytes() == (folder / "model" / "vocabulary.model").read_bytes()


def test_text_without_translations(run: Run, folder: Path, tmp_path: Path) -> None:
    """The decoder reads the model's own: other biases there, the same in the encoder."""
    found = []
    for name, more in (("own", ()), ("given", ("--calibrate-reference", folder / "text.de"))):
        code, _, _ = run(
            "--model", folder / "model", "--calibrate", folder / "text.en", *more, "--out", tmp_path / name
        )
        assert code == 0
        found.append(biases(load_model(tmp_path / name)).unflatten(0, (3, -1)))
    same = [torch.equal(a, b) for a, b in zip(*found, strict=True)]
    assert same[2] is False or same[1] is False
    assert True in same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "{folder}/model"), "--out {folder}/model is what --model reads; name another"),
        (("--out", "{folder}/text.en"), "--out {folder}/text.en is a file; name a folder"),
        (("--out", "{folder}/new", "--top", "20.5"), "--top is 20.5; it must be from -20 to 20 nat"),
        (("--out", "{folder}/new", "--top", "nan"), "--top is nan; it must be from -20 to 20 nat"),
        (
            ("--out", "{folder}/new"),
            "{folder}/model has a vocabulary of its own; calibrate it on its own text (--calibrate)",
        ),
        (
            ("--out", "{folder}/new", "--calibrate-reference", "{folder}/text.de"),
            "--calibrate-reference needs --calibrate",
        ),
    ],
)
def test_refusals(run: Run, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    given = [one.format(folder=folder) for one in arguments]
    code, printed, error = run("--model", folder / "model", *given)
    assert (code, printed) == (2, "")
    assert error.splitlines()[-1] == f"hwsim: error: {message.format(folder=folder)}"
    assert not (folder / "new").exists()


def test_an_interruption_leaves_nothing(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reference.checkpoint.checkpoint_files", interrupted)
    text = ("--calibrate", folder / "text.en", "--calibrate-reference", folder / "text.de")
    code, _, error = run("--model", folder / "model", *text, "--out", tmp_path / "new")
    assert code == 130 and "interrupted" in error
    assert list(tmp_path.iterdir()) == []
