"""Models on disk: what is stored comes back, and what does not fit is refused by name."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reference.checkpoint import load_checkpoint, save_checkpoint
from reference.data import ParallelText
from reference.models.translation import Transformer, TransformerConfig
from reference.tokenizer import train_tokenizer
from tests import ROOT
from tests.small.models import TINY_TEXT, save_tiny_model, small_model


@pytest.fixture
def folder(tmp_path: Path, vocabulary: Path) -> Path:
    save_tiny_model(tmp_path / "model", vocabulary)
    return tmp_path / "model"


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip_to_float16(tmp_path: Path, vocabulary: Path, tied: bool) -> None:
    saved = save_tiny_model(tmp_path / "model", vocabulary, tied=tied)
    loaded, tokenizer = load_checkpoint(tmp_path / "model")
    assert loaded.config == saved.config == replace(TINY_TEXT, tied=tied)
    assert not loaded.training
    assert tokenizer.vocabulary_size == 64
    assert (loaded.target_embedding.weight is loaded.source_embedding.weight) == tied
    expected = {name: tensor.half().float() for name, tensor in saved.state_dict().items()}
    assert expected.keys() == loaded.state_dict().keys()
    assert all(torch.equal(expected[name], tensor) for name, tensor in loaded.state_dict().items())
    assert torch.equal(loaded.positions, saved.positions) and all(p.requires_grad for p in loaded.parameters())
    save_checkpoint(tmp_path / "again", loaded.config, loaded.state_dict())
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_stored_once(tmp_path: Path, vocabulary: Path, tied: bool) -> None:
    save_tiny_model(tmp_path / "model", vocabulary, tied=tied)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    matrices = {name for name in stored if tuple(stored[name].shape) == (64, 8)}
    every = {"source_embedding.weight", "target_embedding.weight", "generator.weight"}
    assert matrices == ({"source_embedding.weight"} if tied else every)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}


def test_loading_leaves_the_compiler_alone(folder: Path) -> None:
    """It takes three seconds and 100 MB to import, and nothing here is compiled."""
    script = f"""
import sys
from pathlib import Path
from reference.checkpoint import load_checkpoint
load_checkpoint(Path({str(folder)!r}))
assert not {{"torch._dynamo", "sympy"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.model"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"cannot read .*{name}: No such file"):
        load_checkpoint(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is not a model folder"):
        load_checkpoint(tmp_path / "nowhere")


def test_truncated_weights_are_refused_at_every_length(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors is not a whole safetensors file"):
            load_checkpoint(folder)


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    path, name = folder / "model.safetensors", "encoder.0.feed_forward.expand.weight"
    good = load_file(path)
    bad = {
        f"{name} has shape \\(8, 12\\), needed \\(12, 8\\)": {**good, name: good[name].T.contiguous()},
        f"tensor {name} is missing": {key: tensor for key, tensor in good.items() if key != name},
        "tensor encoder.9.extra is not part of the model": {**good, "encoder.9.extra": torch.zeros(1)},
        f"{name} holds a value that is not finite": {**good, name: good[name] / 0},
        "tensor source_embedding.weight is missing": {k: v for k, v in good.items() if k != "source_embedding.weight"},
        "tensor generator.weight is not part of": {**good, "generator.weight": good["source_embedding.weight"].clone()},
    }
    for message, tensors in bad.items():
        save_file(tensors, path)
        with pytest.raises(ValueError, match=message):
            load_checkpoint(folder)


def test_weights_beyond_float16_are_refused(tmp_path: Path, folder: Path) -> None:
    state = small_model(TINY_TEXT).state_dict()
    state["encoder.0.feed_forward.expand.bias"][0] = 70_000
    save_checkpoint(folder, TINY_TEXT, state)
    with pytest.raises(ValueError, match=r"encoder\.0\.feed_forward\.expand\.bias holds a value that is not finite"):
        load_checkpoint(folder)


def test_a_vocabulary_of_another_model_is_refused(folder: Path, small_text: ParallelText) -> None:
    train_tokenizer([*small_text.source, *small_text.target], 60, folder / "vocabulary.model")
    with pytest.raises(ValueError, match=r"vocabulary\.model has 60 pieces, but the model was trained with 64"):
        load_checkpoint(folder)


TINY_FIELDS = json.dumps(asdict(TINY_TEXT))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name"),
        ("[]", "it is []; a JSON object is needed"),
        ("3", "it is 3; a JSON object is needed"),
        ("null", "it is None; a JSON object is needed"),
        ("{}", "field vocabulary_size is missing"),
        ('"\\u001b[2J"', "it is '\\x1b[2J'; a JSON object is needed"),
        (json.dumps({**asdict(TINY_TEXT), "layers": 3}), "unknown field 'layers'; known: vocabulary_size, d_model"),
        (json.dumps({**asdict(TINY_TEXT), "d_model": "8"}), "d_model is '8'; it must be of type int"),
        (json.dumps({**asdict(TINY_TEXT), "d_model": 8.0}), "d_model is 8.0; it must be of type int"),
        (json.dumps({**asdict(TINY_TEXT), "d_model": True}), "d_model is True; it must be of type int"),
        (json.dumps({**asdict(TINY_TEXT), "d_model": None}), "d_model is None; it must be of type int"),
        (json.dumps({**asdict(TINY_TEXT), "d_model": ["a"] * 99}), "d_model is ['a', "),
        (json.dumps({**asdict(TINY_TEXT), "tied": 1}), "tied is 1; it must be of type bool"),
        (json.dumps({**asdict(TINY_TEXT), "d_ff": -12}), "d_ff is -12; it must be at least 1"),
        (json.dumps({**asdict(TINY_TEXT), "d_ff": 10**9}), "d_ff is above 16777216, the most"),
        (json.dumps({**asdict(TINY_TEXT), "d_ff": 10**100}), "d_ff is above 16777216, the most"),
        (
            json.dumps({**asdict(TINY_TEXT), "max_positions": 1 << 22}),
            "max_positions * d_model is 33554432; it must be",
        ),
        (TINY_FIELDS.replace('"d_ff": 12', '"d_ff": NaN'), "NaN is no number of JSON"),
        (TINY_FIELDS.replace('"d_ff": 12', '"d_ff": 12, "d_ff": 12'), "field 'd_ff' is there twice"),
        (TINY_FIELDS.replace('"d_ff": 12', '"d_ff": ' + "[" * 2000 + "]" * 2000), "it is nested too deeply"),
        ("\udcff", "'utf-8' codec can't decode byte 0xff in position 0"),
    ],
)
def test_a_broken_configuration_is_named(folder: Path, content: str, reason: str) -> None:
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError) as caught:
        load_checkpoint(folder)
    assert str(caught.value).startswith(f"{folder / 'config.json'} is not a model configuration: {reason}")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"encoder_layers": 100_000}, "config.json: encoder_layers is 100000, but"),
        ({"decoder_layers": 100_000}, "config.json: decoder_layers is 100000, but"),
        ({"encoder_layers": 2}, "tensor encoder.1.attention_residual.norm.bias is missing"),
        ({"d_ff": 1 << 24}, "contract.weight has shape (8, 12), needed (8, 16777216)"),
        ({"n_heads": 1 << 20}, "has shape (8,), needed (4194304,)"),
        ({"tied": False}, "tensor generator.weight is missing"),
    ],
)
def test_sizes_are_compared_before_a_model_of_them_is_made(
    folder: Path, changed: dict[str, int], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a few bytes ask for costs neither memory nor time: shapes alone are made, of no more layers than tensors."""

    def made(config: TransformerConfig, positions: torch.Tensor) -> Transformer:
        assert positions.is_meta and torch.get_default_device() == positions.device and config.encoder_layers < 100
        return Transformer(config, positions)

    monkeypatch.setattr("reference.checkpoint.Transformer", made)
    (folder / "config.json").write_text(json.dumps({**asdict(TINY_TEXT), **changed}))
    with pytest.raises(ValueError, match=re.escape(reason)):
        load_checkpoint(folder)


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    path, name = folder / "model.safetensors", "encoder.0.feed_forward.expand.bias"
    save_file({**load_file(path), name: torch.zeros(12, dtype=torch.int64)}, path)
    with pytest.raises(ValueError, match=rf"{name} is of torch.int64; weights are floating-point numbers"):
        load_checkpoint(folder)
