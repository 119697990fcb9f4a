"""Calibrated ranges as a file beside the model, so that one model reads one text once.

The file is named after a hash of all that decides the ranges. What it holds is believed only if it is whole, names that
hash and fits the model; it is a copy of what calibration gives, bit for bit, and may be deleted at any time.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import msgspec
import torch

from hwsim.files import readable_json, sweep, write_whole
from hwsim.reading import read_whole
from reference.floating import FloatArithmetic
from reference.models.translation import Transformer
from reference.quantize.calibrate import ARITHMETIC, MOMENTUM, Range
from reference.tokenizer import EOS
from reference.train import make_batch, teacher_forced

FOLDER = "ranges"
MOST_FILES = 16
"""In a folder; the oldest go."""
MOST_BYTES = 1 << 24
"""Of a file; the shipped model's has 30 thousand."""


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file holds; hashes are SHA-256, that of `ranges` of their JSON."""

    inputs_sha256: str
    ranges_sha256: str
    ranges: dict[str, Range]


def inputs_hash(
    model: Transformer,
    vocabulary_sha256: str,
    source: Sequence[str],
    target: Sequence[str] | None,
    tokens_per_batch: int,
) -> str:
    """SHA-256 of what decides ranges: model, vocabulary, text and settings.

    Parameters
    ----------
    target
        Translations of `source`; None for the model's own, which the model decides.
    tokens_per_batch
        Of `reference.train.bucketed`: ranges are averages over batches.
    """
    found = hashlib.sha256()
    settings = {
        "calibration": ARITHMETIC,
        "momentum": MOMENTUM,
        "tokens_per_batch": tokens_per_batch,
        "vocabulary": vocabulary_sha256,
        "config": asdict(model.config),
        "source": source,
        "target": target,
    }
    found.update(msgspec.json.encode(settings))
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().numpy())
    return found.hexdigest()


def user_folder() -> Path | None:
    """The folder of ranges in the user's cache, if the user has one."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # what is relative is ignored (XDG base directory specification)
        return Path(given) / "hwsim" / FOLDER
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "hwsim" / FOLDER
    return None


def read_ranges(folder: Path, inputs: str, model: Transformer) -> dict[str, Range] | None:
    """The ranges kept in a folder for these inputs, or None if there are none.

    Raises
    ------
    ValueError
        If there is a file that is not to be believed; says which and why.
    """
    path = _path(folder, inputs)
    try:
        if not path.exists():
            return None
        return _checked(_read(path), inputs, model)
    except (OSError, msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} does not hold the ranges that are looked for: {_reason(error)}") from error


def write_ranges(folder: Path, inputs: str, ranges: dict[str, Range]) -> bool:
    """Keep ranges in a folder, whole or not at all; False where that cannot be."""
    kept = Kept(inputs_sha256=inputs, ranges_sha256=_hash(ranges), ranges=ranges)
    try:
        write_whole(_path(folder, inputs), readable_json(kept))
    except (OSError, ValueError):  # a full disk, a folder that is read-only or is none
        return False
    with suppress(OSError):
        sweep(folder)
        _forget_oldest(folder)
    return True


def _path(folder: Path, inputs: str) -> Path:
    return folder / f"{inputs[:16]}.json"


def _read(path: Path) -> Kept:
    return msgspec.json.decode(read_whole(path, "ranges", MOST_BYTES), type=Kept)


def _checked(kept: Kept, inputs: str, model: Transformer) -> dict[str, Range]:
    if kept.inputs_sha256 != inputs:
        raise ValueError(f"it is of other inputs ({kept.inputs_sha256[:12]}, needed {inputs[:12]})")
    if kept.ranges_sha256 != _hash(kept.ranges):
        raise ValueError("its ranges are not those that were written")
    for site in sorted(kept.ranges.keys() ^ observed_sites(model)):
        raise ValueError(f"site {site} is {'unknown to the model' if site in kept.ranges else 'missing'}")
    for site, one in kept.ranges.items():
        for low, high in (one.average, one.extremes):
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(f"site {site} has the range {low} to {high}")
    return kept.ranges


@torch.no_grad()
def observed_sites(model: Transformer) -> set[str]:
    """The sites that calibration sees in a model, whatever it reads: here one token."""
    sites: set[str] = set()
    teacher_forced(model, FloatArithmetic(lambda site, _: sites.add(site)), make_batch([([EOS], [EOS])]))
    return sites


def _hash(ranges: dict[str, Range]) -> str:
    return hashlib.sha256(msgspec.json.encode(ranges)).hexdigest()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _forget_oldest(folder: Path) -> None:
    """Leave the newest files; another command may be at it too."""
    files = sorted(folder.glob(f"{'[0-9a-f]' * 16}.json"), key=lambda path: path.stat().st_mtime)
    for path in files[:-MOST_FILES]:
        path.unlink(missing_ok=True)
