"""What several commands do: choose schemes, read text, calibrate, show progress, print."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from analysis.output.outlet import tell

if TYPE_CHECKING:
    from analysis.output.reserved import Outputs
    from analysis.workload import Model
    from hwsim.program import Program
    from reference.data import ParallelText
    from reference.quantize.calibrate import Range
    from reference.quantize.scheme import Scheme
    from reference.tokenizer import Tokenizer
    from reference.train import Batch


COMPILING = "compiling kernels, which are kept"


def reserve(
    command: typer.Context,
    *,
    files: Mapping[str, Path | None] | None = None,
    folders: Mapping[str, Path | None] | None = None,
    fresh: Mapping[str, Path] | None = None,
    force: bool = False,
    kept: str = "",
) -> "Outputs":
    """As `analysis.output.reserved.reserved`, until the command ends; every other file on its line is an input.

    Raises
    ------
    ValueError
        As there; and for --force where nothing is named that it could replace.
    """
    from analysis.output.reserved import reserved

    named = {**(files or {}), **(folders or {})}
    if force and not any(named.values()):
        raise ValueError(f"--force replaces what is named, and nothing is: give {' or '.join(named)}, or leave it out")
    written = set(named)
    inputs = [
        (name, Path(one))
        for parameter in command.command.params
        if (name := _shown(parameter)) not in written
        for one in _flat(command.params.get(parameter.name or ""))
        if isinstance(one, Path) or (isinstance(one, str) and (Path(one).suffix or os.sep in one or name.isupper()))
    ]
    return command.with_resource(
        reserved(files=files, folders=folders, fresh=fresh, inputs=inputs, force=force, kept=kept)
    )


def typed(command: typer.Context) -> list[str]:
    """What was given on the command line, by its name there; defaults are not."""
    sources = {one: command.get_parameter_source(one.name or "") for one in command.command.params}
    return [_shown(one) for one, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def refuse_others(command: typer.Context, option: str, why: str, allowed: Sequence[str] = ()) -> None:
    """Refuse everything that was typed beside an option but what is allowed with it.

    Raises
    ------
    ValueError
        Names what says nothing there, and the reason.
    """
    others = [name for name in typed(command) if name not in (option, *allowed)]
    if others:
        raise ValueError(f"{option} {why}: leave out {', '.join(others)}")


def refuse(command: typer.Context, names: Sequence[str], why: str) -> None:
    """Refuse those of some options that were typed.

    Raises
    ------
    ValueError
        Names them, and the reason.
    """
    given = [name for name in typed(command) if name in names]
    if given:
        raise ValueError(f"{' and '.join(given)}: {why}; leave {'it' if len(given) == 1 else 'them'} out")


def tell_fewer(command: typer.Context, asked: int, there: int) -> None:
    """Say on standard error that a text has fewer sentences than were asked for on the command line."""
    if asked > there and "--sentences" in typed(command):
        tell(f"--sentences {asked:,}: the text has {there:,}, and all are taken")


def _shown(parameter: Any) -> str:
    """A parameter as it is typed, or named in the help."""
    return str(parameter.opts[0] if parameter.param_type_name == "option" else parameter.name.upper())


def _flat(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def choose_schemes(configs: Sequence[str] | None, scheme: Path | None, targets: Sequence[str] | None) -> "list[Scheme]":
    """Every configuration under every target, then the scheme of a file; without either, the targets' defaults.

    Raises
    ------
    ValueError
        For an unknown target or configuration, a scheme file of a target that was not asked for, and a target that
        was asked for while the file is all there is to run.
    """
    from hwsim.program.targets import DEFAULT_TARGET, target
    from reference.quantize.scheme import NATIVE, PRESETS, preset, read_scheme

    configs = list(dict.fromkeys(configs or ()))
    wanted = [target(name).name for name in dict.fromkeys(targets or [DEFAULT_TARGET])]
    chosen = []
    if configs or scheme is None:
        for name in wanted:
            chosen += [preset(one, name) for one in configs or (PRESETS if name == DEFAULT_TARGET else [NATIVE])]
    if scheme is not None:
        own = read_scheme(scheme)
        if targets and own.target not in wanted:
            raise ValueError(
                f"--target {', '.join(wanted)}, but {scheme} is a scheme of target {own.target} (its field `target`)"
            )
        if targets and not configs and len(wanted) > 1:
            raise ValueError(
                f"--target {', '.join(wanted)}, but {scheme} is a scheme of target {own.target} alone: "
                "leave the others out, or say what to run under them with --config"
            )
        chosen.append(own)
    return chosen


def read_text(source: Path | None, reference: Path | None) -> "ParallelText":
    """The user's text with its translations, or the shipped test set."""
    from reference.data import corpus, read_parallel

    if source is None and reference is None:
        return corpus("test")
    if source is None or reference is None:
        raise ValueError("--reference needs --text" if source is None else "--text needs --reference")
    text = read_parallel(source, reference)
    if text.left_out:
        tell(f"{source}: {text.left_out} of {len(text) + text.left_out} pairs are left out, since a side is empty")
    return text


def read_text_or_source(source: Path | None, reference: Path | None) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The user's sentences with their translations, if there are any; or the shipped test set."""
    if source is not None and reference is None:
        return read_source(source), None
    text = read_text(source, reference)
    return text.source, text.target


def read_source(source: Path | None) -> tuple[str, ...]:
    """The user's sentences, or those of the shipped test set."""
    from reference.data import corpus, read_lines

    return corpus("test").source if source is None else read_lines(source)


def vocabulary(model: Path | None) -> "Tokenizer":
    """Of a model folder, or of the shipped model; the model itself is not read."""
    from reference.data import assets
    from reference.tokenizer import Tokenizer

    return Tokenizer((model or assets() / "model") / "vocabulary.model")


def source_ids(
    command: typer.Context, program: "Program", source: Path | None, count: int, model: Path | None
) -> list[list[int]]:
    """The first sentences as ids that a program reads: of the model's folder only the vocabulary is needed, no torch.

    Raises
    ------
    ValueError
        If the program expects another vocabulary, or a sentence is longer than its positions.
    """
    tokenizer = vocabulary(model)
    tokenizer.check_ids(program.manifest.tokenizer_sha256)
    lines = read_source(source)
    tell_fewer(command, count, len(lines))
    return tokenizer.encode_all(lines[:count], program.manifest.max_positions, "source text")


def calibration(model: "Model", source: Path | None, reference: Path | None) -> "list[Batch]":
    """Batches to calibrate on: the user's text, with its translations or the float model's own, or training text."""
    from analysis.translation.calibration import choose_text

    return choose_text(model, source, reference).batches(model)


def calibrated(model: "Model", source: Path | None, reference: Path | None) -> "dict[str, Range]":
    """Ranges of all sites on that text, calibrated once and kept."""
    from analysis.translation.calibration import choose_text, ranges_of

    text = choose_text(model, source, reference)
    return ranges_of(model, text, waiting=lambda: progress("calibrating", None), say=tell)


def show(*renderables: Any) -> None:
    """Print, as wide as the terminal is."""
    from analysis.output.terminal import Terminal

    console = Terminal(sys.stdout)
    for renderable in renderables:
        console.print(renderable)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; without a total it only shows that time passes. In a log, its last line.

    It says so while Numba compiles, which on the first use of a kernel takes longer than anything that is waited for.
    """
    from numba.core.event import Listener, install_listener
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from analysis.output.terminal import Terminal

    steps = () if total is None else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *steps, TimeElapsedColumn())
    console = Terminal(sys.stderr, force_terminal=None if sys.stderr.isatty() else False)  # no colours in a log
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)

        class Said(Listener):
            def on_start(self, event: Any) -> None:
                bar.update(task, description=f"{what}: {COMPILING}")

            def on_end(self, event: Any) -> None:
                bar.update(task, description=what)

        with install_listener("numba:compile", Said()):
            yield lambda count: bar.advance(task, count)
