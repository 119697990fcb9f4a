"""`hwsim verify`."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say

if TYPE_CHECKING:
    from analysis.output.reserved import Outputs
    from analysis.workload import Configuration

Lines = tuple[tuple[str, ...], tuple[str, ...] | None]


def verify(
    command: typer.Context,
    program: Annotated[Path | None, typer.Argument(help="Program file.")] = None,
    text: options.Text = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="Translations of --text, for BLEU; default: the shipped test set's."),
    ] = None,
    sentences: Annotated[int, typer.Option(min=1)] = options.DEFAULT_SENTENCES,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="Refuse a program of another target.")
    ] = None,
    accumulator: Annotated[
        str | None,
        typer.Option(
            "--accumulator",
            metavar="SPEC",
            help="Verify the same program with another accumulator for every matrix product. BITS:RULE[:WHEN[=TILE]]: "
            "8 to 63 bits; saturate or wrap; after every product (mac, the default), after TILE products (tile, "
            "default 16) or at the end (end). For example 16:saturate:tile=32. Reports BLEU, overflow events, where "
            "they begin, and safe widths.",
        ),
    ] = None,
    model: options.Model = None,
    beam: options.Beam = 1,
    kernels: Annotated[bool, typer.Option("--kernels", help="Kernel by kernel instead, no program needed.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for verify.json with safe accumulator widths; or for the kernel error plots and table."
        ),
    ] = None,
    force: options.Force = False,
) -> None:
    """Prove a program equal to fake-quant on text, every code of every site; exit code 1 if it is not.

    Examples: `hwsim verify int8.hwsim --sentences 200` · `hwsim verify int8.hwsim --accumulator 18:wrap --out narrow` ·
    `hwsim verify --kernels --out kernels`
    """
    if kernels:
        shared.refuse_others(command, "--kernels", "looks at the kernels alone", allowed=("--out", "--force"))
    outputs = shared.reserve(command, folders={"--out": out}, force=force)
    if kernels:
        _verify_kernels(outputs)
        return
    if program is None:
        raise ValueError("verify needs a program file, or --kernels")
    if reference is not None and text is None:
        raise ValueError("--reference needs --text")
    read = partial(_lines, command, text, reference, sentences)
    _verify_program(program, read, target, accumulator, model, beam, outputs)


def _verify_program(
    path: Path,
    read: Callable[[], Lines],
    target: str | None,
    spec: str | None,
    model: Path | None,
    beam: int,
    outputs: "Outputs",
) -> None:
    from analysis.accuracy.accumulators import parse_accumulator
    from analysis.output.context import context
    from analysis.proof import verification
    from analysis.report import verify_record
    from analysis.workload import load_model, reconfigure

    began = time.perf_counter()
    accumulator = None if spec is None else parse_accumulator(spec)
    _known(target)
    loaded = load_model(model)
    configuration = reconfigure(loaded, path)
    _check_same(path, configuration, target)
    source, references = read()
    rows = loaded.encode(source, "source text")
    passes = 1 + verification.translates_twice(accumulator, references)
    with shared.progress("comparing", len(rows) * passes) as advance:
        found = verification.verify(
            loaded,
            configuration,
            rows,
            references=references,
            accumulator=accumulator,
            watched=outputs.wanted("--out"),
            beam_width=beam,
            advance=advance,
        )
    if outputs.wanted("--out"):
        origin = context(sys.argv, loaded.folder, time.perf_counter() - began)
        outputs.write("--out", verify_record.files(found, origin))
    say(*verification.lines(str(path), found))
    shared.show(*verification.tables(found))
    if outputs.wanted("--out"):
        say(f"record: {outputs.path('--out') / verify_record.RECORD}")
    if not found.equality.equal:
        raise SystemExit(1)


def _known(target: str | None) -> None:
    """Refuse an unknown target before anything is read."""
    from hwsim.program.targets import target as named_target

    if target is not None:
        named_target(target)


def _check_same(path: Path, configuration: "Configuration", target: str | None) -> None:
    own = configuration.scheme.target
    if target is not None and target != own:
        raise ValueError(f"{path} is a program of target {own}, not {target}")


def _lines(command: typer.Context, text: Path | None, reference: Path | None, sentences: int) -> Lines:
    """The first source sentences, and their translations if they are known."""
    source, references = shared.read_text_or_source(text, reference)
    shared.tell_fewer(command, sentences, len(source))
    return source[:sentences], None if references is None else references[:sentences]


def _verify_kernels(outputs: "Outputs") -> None:
    from analysis.accuracy.kernel_errors import kernel_table
    from analysis.report import kernel_table as written

    began = time.perf_counter()
    rows = kernel_table(written.SEED)
    if outputs.wanted("--out"):
        outputs.write("--out", written.files(rows, sys.argv, time.perf_counter() - began))
    shared.show(written.table(rows))
    if any(row.codes_different for row in rows):
        raise SystemExit(1)
