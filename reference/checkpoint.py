"""A trained model on disk: a folder with `model.safetensors` (float16), `config.json` and `vocabulary.model`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hwsim.files import write_whole
from hwsim.reading import open_regular, printable, read_whole
from reference.foreign import owner
from reference.models.translation import Transformer, TransformerConfig, sinusoidal_positions
from reference.tokenizer import Tokenizer

_ALIASES = ("target_embedding.weight", "generator.weight")
"""Further names of source_embedding.weight in a tied model."""
_MOST_CONFIGURATION = 1_000_000
_LETTERS = 60
OWN_FIELDS = ", ".join(field.name for field in fields(TransformerConfig))


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
    with _weights(path) as stored:
        names: list[str] = stored.keys()
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names}
        model = _fitting(folder, config, shapes)
        weights = {name: _finite(path, name, stored.get_tensor(name)) for name in names}
    if config.tied:
        weights |= dict.fromkeys(_ALIASES, weights["source_embedding.weight"])
    model.load_state_dict(weights, assign=True)
    model.positions = sinusoidal_positions(config.max_positions, config.d_model)
    return model.eval(), tokenizer


def _stored(config: TransformerConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What of a model's state lies on disk: a tied matrix once, under its first name."""
    return {name: tensor for name, tensor in state.items() if not (config.tied and name in _ALIASES)}


@contextmanager
def _weights(path: Path) -> Iterator[Any]:
    """The tensors of a safetensors file, of which only the header has been read."""
    open_regular(path, "weights").close()
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error


def _finite(path: Path, name: str, tensor: Tensor) -> Tensor:
    """A tensor of weights in float32."""
    if not tensor.is_floating_point():
        raise ValueError(f"{path}: {name} is of {tensor.dtype}; weights are floating-point numbers")
    weights = tensor.float()
    if not bool(torch.isfinite(weights).all()):
        raise ValueError(f"{path}: {name} holds a value that is not finite")
    return weights


# --- config.json ------------------------------------------------------------------------------------------------------


def _read_config(path: Path) -> TransformerConfig:
    content = read_whole(path, "configuration", _MOST_CONFIGURATION)
    try:
        found = json.loads(content, object_pairs_hook=_distinct, parse_constant=_no_number)
        return TransformerConfig(**_known(found))
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{path} is not a model configuration: {reason}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that has no field twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"field {_short(name)} is there twice")
        found[name] = value
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _known(found: object) -> dict[str, Any]:
    """The fields of a configuration: none unknown, none missing."""
    if not isinstance(found, dict):
        raise ValueError(f"it is {_short(found)}; a JSON object is needed")
    if whose := owner(found):
        raise ValueError(f"it looks like {whose}; hwsim reads its own fields, {OWN_FIELDS}, see docs/model.md")
    known = {field.name: field.default for field in fields(TransformerConfig)}
    for name in found.keys() - known.keys():
        raise ValueError(f"unknown field {_short(name)}; known: {', '.join(known)}")
    for name, default in known.items():
        if default is MISSING and name not in found:
            raise ValueError(f"field {name} is missing")
    return found


def _short(value: object) -> str:
    text = printable(repr(value))
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."


# --- whether they fit each other --------------------------------------------------------------------------------------


class _NoRandomNumbers(TorchFunctionMode):
    """Leaves new parameters as they are: on the device `meta`, a random number loads all of torch's compiler."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _fitting(folder: Path, config: TransformerConfig, got: dict[str, tuple[int, ...]]) -> Transformer:
    """A model without weights. Tensors of other names or shapes are refused before anything of their sizes is made."""
    path = folder / "model.safetensors"
    for name in ("encoder_layers", "decoder_layers"):
        if getattr(config, name) > len(got):  # so that a number alone costs no time
            raise ValueError(
                f"{folder / 'config.json'}: {name} is {getattr(config, name)}, but {path} has {len(got)} tensors in all"
            )
    with torch.device("meta"), _NoRandomNumbers():
        model = Transformer(config, torch.empty(config.max_positions, config.d_model))
    wanted = _stored(config, model.state_dict())
    for name in sorted(wanted.keys() ^ got.keys()):
        raise ValueError(f"{path}: tensor {name} is {'missing' if name in wanted else 'not part of the model'}")
    for name, shape in got.items():
        if shape != tuple(wanted[name].shape):
            raise ValueError(f"{path}: {name} has shape {shape}, needed {tuple(wanted[name].shape)}")
    return model
