"""What a model is calibrated on, and its ranges: those kept of the last time, or made.

`python -m analysis.translation.calibration` calibrates the shipped model anew and writes the ranges that ship with it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from analysis.translation.floating import batches_of_own_translations
from analysis.workload import TOKENS_PER_BATCH, Model, calibration_text, check_vocabulary, load_model
from reference.data import ParallelText, assets, read_lines, read_parallel
from reference.quantize.calibrate import Range, calibrate
from reference.quantize.kept import FOLDER, inputs_hash, read_ranges, user_folder, write_ranges
from reference.train import Batch

Waiting = Callable[[], AbstractContextManager[object]]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CalibrationText:
    """Sentences to calibrate on; where there are no translations, the decoder reads what the float model makes."""

    name: str
    source: tuple[str, ...]
    target: tuple[str, ...] | None

    def batches(self, model: Model) -> list[Batch]:
        """Teacher-forced."""
        if self.target is None:
            return batches_of_own_translations(model, self.source, self.name)
        return model.batches(ParallelText(source=self.source, target=self.target), self.name)

    def inputs(self, model: Model) -> str:
        """The hash of all that decides the ranges of a model on this text."""
        return inputs_hash(model.network, model.tokenizer.hash, self.source, self.target, TOKENS_PER_BATCH)


def choose_text(model: Model, source: Path | None, reference: Path | None) -> CalibrationText:
    """The user's text with or without translations; by default training sentences of the shipped corpus.

    Raises
    ------
    ValueError
        If there are translations of no text, a file is refused, or the default is of another vocabulary.
    """
    if source is None and reference is not None:
        raise ValueError("--calibrate-reference needs --calibrate")
    if source is not None and reference is None:
        return CalibrationText(name=str(source), source=read_lines(source), target=None)
    if source is None or reference is None:
        check_vocabulary(model)
        text = calibration_text()
    else:
        text = read_parallel(source, reference)
    return CalibrationText(name="calibration", source=text.source, target=text.target)


def ranges_of(
    model: Model, text: CalibrationText | None = None, *, waiting: Waiting = nullcontext, say: Say = lambda _: None
) -> dict[str, Range]:
    """Ranges of all sites on a text: what is kept of them if there is any, else made and kept.

    Parameters
    ----------
    text
        By default that of `choose_text`.
    waiting
        Entered while the model is calibrated.
    say
        Told of a file that is not believed.
    """
    text = text or choose_text(model, None, None)
    inputs, folders, complaints = text.inputs(model), _folders(model), []
    for folder in folders:
        try:
            if (kept := read_ranges(folder, inputs, model.network)) is not None:
                return kept
        except ValueError as error:
            complaints.append(str(error))
    if complaints:
        say(f"{complaints[0]}; calibrating anew")
    with waiting():
        ranges = calibrate(model.network, text.batches(model))
    any(write_ranges(folder, inputs, ranges) for folder in folders if not _ships(folder))
    return ranges


def _folders(model: Model) -> list[Path]:
    """Where ranges of a model may lie, the best place first."""
    user = user_folder()
    return [model.folder / FOLDER, *([] if user is None else [user])]


def _ships(folder: Path) -> bool:
    """Whether a folder is part of the package, which a run does not change."""
    return folder.resolve().is_relative_to(assets().resolve())


def write_shipped_ranges() -> None:
    """Calibrate the shipped model and write its ranges, in place of those that ship; on one thread, as all have one."""
    torch.set_num_threads(1)
    model = load_model()
    text = choose_text(model, None, None)
    for old in (model.folder / FOLDER).glob("*.json"):
        old.unlink()
    if not write_ranges(model.folder / FOLDER, text.inputs(model), calibrate(model.network, text.batches(model))):
        raise OSError(f"{model.folder / FOLDER} cannot be written")


if __name__ == "__main__":
    write_shipped_ranges()
