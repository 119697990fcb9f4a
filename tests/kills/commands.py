"""The commands that are killed, on a tiny model, and what may be found where they write."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reference.tokenizer import train_tokenizer
from tests.small.models import save_tiny_model
from tests.small.sentences import word_by_word

TEXT = ("--text", "text.en", "--reference", "text.de")
MODEL = ("--model", "model")
CALIBRATED = (*MODEL, "--calibrate", "text.en", "--calibrate-reference", "text.de")
SIZES = ("--vocabulary", "64", "--d-model", "16", "--heads", "2", "--d-head", "8", "--d-ff", "32", "--layers", "1")
HELD_OUT = ("--validation", "text.en", "--validation-reference", "text.de")


class Killed(NamedTuple):
    """A command, where it writes, what decides that a result is the same as another, and whether it may be absent."""

    words: tuple[str, ...]
    out: str
    result: Callable[[Path], Any]
    force: tuple[str, ...] = ("--force",)


def make_inputs(folder: Path) -> None:
    """A model and its text."""
    text = word_by_word()
    for name, lines in (("en", text.source), ("de", text.target)):
        (folder / f"text.{name}").write_text("".join(f"{line}\n" for line in lines))
    vocabulary = folder / "vocabulary.model"
    train_tokenizer([*text.source, *text.target], 64, vocabulary)
    save_tiny_model(folder / "model", vocabulary)


def names(folder: Path) -> list[str]:
    """What a folder holds, which must be just what its list says, with the sums that it says."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = sorted(line[66:] for line in lines)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == sorted(["SHA256SUMS", *listed]), f"{folder} is not what its list says"
    for line in lines:
        content = (folder / line[66:]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == line[:64], f"{folder / line[66:]} is not whole"
    return listed


def trained(folder: Path) -> bytes:
    """Weights, averages and moments of a training run, and the model that it wrote."""
    state = torch.load(folder / "state.pt", weights_only=True)
    stream = io.BytesIO()
    torch.save([state[name] for name in ("steps", "model", "average", "optimizer")], stream)
    return stream.getvalue() + (folder / "model.safetensors").read_bytes()


COMMANDS = {
    "run": Killed(
        ("run", *TEXT, *CALIBRATED, "--sentences", "2", "--config", "int8", "--no-sensitivity", "--out", "report"),
        "report",
        names,
    ),
    "quantize": Killed(("quantize", *CALIBRATED, "--out", "p.hwsim"), "p.hwsim", Path.read_bytes),
    "vectors": Killed(
        ("vectors", "given.hwsim", "--site", "*.scores", *MODEL, "--text", "text.en", "--out", "vectors"),
        "vectors",
        names,
    ),
    "estimate": Killed(("estimate", "--workload", "tiny11", "--json", "e.json"), "e.json", Path.read_bytes),
    "train": Killed(("train", *TEXT, *HELD_OUT, *SIZES, "--epochs", "2", "--out", "trained"), "trained", trained, ()),
}
