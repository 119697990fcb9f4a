"""Models on disk: what is stored comes back, and what does not fit is refused by name."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reference.checkpoint import load_checkpoint, save_checkpoint
from reference.data import ParallelText
from reference.tokenizer import train_tokenizer
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


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        json.dumps({**asdict(TINY_TEXT), "layers": 3}),
        json.dumps({**asdict(TINY_TEXT), "d_model": "8"}),
        json.dumps({**asdict(TINY_TEXT), "d_model": 8.5}),
        json.dumps({**asdict(TINY_TEXT), "d_model": None}),
        json.dumps({**asdict(TINY_TEXT), "d_ff": -12}),
        "\udcff",
    ],
)
def test_a_broken_configuration_is_named(folder: Path, content: str) -> None:
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"config\.json is not a model configuration"):
        load_checkpoint(folder)
