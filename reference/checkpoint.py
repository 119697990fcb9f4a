"""A trained model on disk: a folder with `model.safetensors` (float16), `config.json` and `vocabulary.model`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hwsim.files import write_whole
from reference.models.translation import Transformer, TransformerConfig
from reference.tokenizer import Tokenizer

_ALIASES = ("target_embedding.weight", "generator.weight")
"""Further names of source_embedding.weight in a tied model."""


def save_checkpoint(folder: Path, config: TransformerConfig, state: dict[str, Tensor]) -> None:
    """Write weights, rounded to float16, and configuration; the vocabulary is put there by whoever trained it."""
    for name, content in checkpoint_files(config, state).items():
        write_whole(folder / name, content)


def checkpoint_files(config: TransformerConfig, state: dict[str, Tensor]) -> dict[str, bytes]:
    """Content of the files of a model folder by name, but for the vocabulary."""
    half = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in _stored(config, state).items()}
    text = json.dumps(asdict(config), indent=2) + "\n"
    return {"model.safetensors": save(half), "config.json": text.encode()}


def load_checkpoint(folder: Path) -> tuple[Transformer, Tokenizer]:
    """Load a model in evaluation mode and its tokenizer.

    Raises
    ------
    ValueError
        If a file is missing, damaged or does not fit the others; the message names it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a model folder (with model.safetensors, config.json, vocabulary.model)")
    config = _read_config(folder / "config.json")
    tokenizer = Tokenizer(folder / "vocabulary.model")
    if tokenizer.vocabulary_size != config.vocabulary_size:
        raise ValueError(
            f"{folder / 'vocabulary.model'} has {tokenizer.vocabulary_size} pieces, "
            f"but the model was trained with {config.vocabulary_size}"
        )
    path = folder / "model.safetensors"
    try:
        weights = {name: tensor.float() for name, tensor in load(path.read_bytes()).items()}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    model = Transformer(config)
    _check_fit(path, _stored(config, model.state_dict()), weights)
    if config.tied:
        weights |= dict.fromkeys(_ALIASES, weights["source_embedding.weight"])
    model.load_state_dict(weights)
    return model.eval(), tokenizer


def _stored(config: TransformerConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What of a model's state lies on disk: a tied matrix once, under its first name."""
    return {name: tensor for name, tensor in state.items() if not (config.tied and name in _ALIASES)}


def _read_config(path: Path) -> TransformerConfig:
    try:
        fields: Any = json.loads(path.read_text())
        return TransformerConfig(**fields)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a model configuration: {error}") from error


def _check_fit(path: Path, wanted: dict[str, Tensor], got: dict[str, Tensor]) -> None:
    for name in sorted(wanted.keys() ^ got.keys()):
        raise ValueError(f"{path}: tensor {name} is {'missing' if name in wanted else 'not part of the model'}")
    for name, tensor in got.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(f"{path}: {name} has shape {tuple(tensor.shape)}, needed {tuple(wanted[name].shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{path}: {name} holds a value that is not finite")
