"""`hwsim explain`."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.commands import options, shared

if TYPE_CHECKING:
    from analysis.output.reserved import Outputs
    from analysis.proof.explain import Dump
    from analysis.workload import Model
    from hwsim.program import Program
    from reference.quantize.calibrate import Range


def explain(
    command: typer.Context,
    a: Annotated[str, typer.Argument(metavar="A", help="Program file, or the name of a target.")],
    b: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]",
            help="Program file, target, or codes from your RTL: npz, a folder of npz or of `hwsim vectors`, or one "
            "$readmemh file with --site and --shape. Left out with --schemes.",
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Configuration of targets: native (default), int8, int6, int4 or w4a8.")
    ] = None,
    text: options.Text = None,
    sentences: Annotated[int | None, typer.Option(min=1, help="How many sentences of the text. Default: 1.")] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Decode steps at most. Default: 16, or the dump's.")] = None,
    site: Annotated[
        str | None, typer.Option(help="Site of a hex file; or, with --schemes, a pattern of requantized sites.")
    ] = None,
    shape: Annotated[str | None, typer.Option(help="Shape of a hex file, for example 2,4,8.")] = None,
    call: Annotated[str | None, typer.Option(help="Call that a file is of: encode, or a decode step's number.")] = None,
    schemes: Annotated[
        str | None,
        typer.Option(
            metavar="ONE,OTHER",
            help="Instead: requantize A's accumulators by two schemes of `hwsim targets --schemes`, or two roundings.",
        ),
    ] = None,
    model: options.Model = None,
    json: Annotated[Path | None, typer.Option(help="Write the explanation.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a PNG of LSB histograms and differing shares.")] = None,
    force: options.Force = False,
) -> None:
    """Why two runs differ: first divergence, its cause, histograms; exit code 1 if they do.

    Examples: `hwsim explain int8.hwsim mine.hwsim` · `hwsim explain tflm tosa --config int8` ·
    `hwsim explain int8.hwsim dump.npz --plot why.png` · `hwsim explain int8.hwsim --schemes half_even,half_up`
    """
    from analysis.proof.explain import Dump, render
    from analysis.proof.explain import explain as explain_runs
    from hwsim.program.targets import TARGETS
    from reference.quantize.scheme import NATIVE

    if (b is None) == (schemes is None):
        raise ValueError("explain needs a B to compare with, or --schemes ONE,OTHER")
    if schemes is not None:
        _refuse({"--shape": shape, "--call": call, "--plot": plot}, "two runs are compared, not --schemes on one")
    if not {a, b} & TARGETS.keys():
        _refuse({"--config": config}, "A or B is a target")
    outputs = shared.reserve(command, files={"--json": json, "--plot": plot}, force=force)
    bench = _Bench(command, model, config or NATIVE)
    first = bench.program(a)
    if schemes is not None:
        _compare_schemes(first, schemes, site or "*", bench.encode(first, text, sentences), steps, outputs)
        return
    other = bench.other(str(b), first, site, shape, call)
    has_sources = isinstance(other, Dump) and other.sources is not None
    if has_sources:
        _refuse({"--text": text, "--sentences": sentences}, f"{b} does not say itself which sentences it is of")
    sources = None if has_sources else bench.encode(first, text, sentences)
    found = explain_runs(first, other, sources, steps=steps, names=(a, str(b)))
    if json is not None:
        outputs.write("--json", found.json())
    if plot is not None:
        from analysis.plots import png
        from analysis.proof.explain.plot import figure

        outputs.write("--plot", png(figure(found)))
    shared.show(*render(found))
    if not found.equal:
        raise SystemExit(1)


def _refuse(given: dict[str, object], only_if: str) -> None:
    """Options that would change nothing."""
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise ValueError(
            f"{' and '.join(names)} can be given only where {only_if}: leave {'it' if len(names) == 1 else 'them'} out"
        )


class _Bench:
    """Finds programs by file or target; only for targets the model is read, and calibrated once."""

    def __init__(self, command: typer.Context, folder: Path | None, config: str) -> None:
        self.command, self.folder, self.config = command, folder, config

    @cached_property
    def _calibrated(self) -> "tuple[Model, dict[str, Range]]":
        from analysis.workload import load_model

        model = load_model(self.folder)
        return model, shared.calibrated(model, None, None)

    def encode(self, program: "Program", text: Path | None, sentences: int | None) -> list[list[int]]:
        return shared.source_ids(self.command, program, text, sentences or 1, self.folder)

    def program(self, name: str) -> "Program":
        from hwsim.program.loading import load
        from hwsim.program.targets import TARGETS
        from reference.quantize.scheme import preset

        if name in TARGETS:
            from analysis.workload import configure

            model, ranges = self._calibrated
            return configure(model, preset(self.config, name), ranges).program
        if not Path(name).exists():
            raise ValueError(f"{name} is neither a file nor a target; known targets: {', '.join(TARGETS)}")
        program = load(Path(name))
        shared.vocabulary(self.folder).check_ids(program.manifest.tokenizer_sha256)
        return program

    def other(
        self, name: str, first: "Program", site: str | None, shape: str | None, call: str | None
    ) -> "Program | Dump":
        from analysis.proof.explain import read_dump

        path = Path(name)
        if path.is_dir() or path.suffix == ".npz" or shape is not None:
            return read_dump(path, first, site=site, shape=None if shape is None else _shape(shape), call=call)
        if site is not None or call is not None:
            raise ValueError("--site and --call are of codes from RTL: npz, a folder, or a hex file with --shape")
        return self.program(name)


def _shape(text: str) -> list[int]:
    sizes = text.split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise ValueError(f"--shape {text!r}; it is positive numbers with commas, for example 2,4,8")
    return [int(size) for size in sizes]


def _compare_schemes(
    program: "Program",
    names: str,
    pattern: str,
    sources: list[list[int]],
    steps: int | None,
    outputs: "Outputs",
) -> None:
    from analysis.proof.explain import compare_schemes

    parts = [name.strip() for name in names.split(",")]
    if len(parts) != 2:
        raise ValueError(f"--schemes {names!r}; it is two names with a comma, for example half_even,half_up")
    one, other = parts
    found = compare_schemes(program, pattern, one, other, sources, steps=4 if steps is None else steps)
    if outputs.wanted("--json"):
        outputs.write("--json", found.json())
    shared.show(found.table())
    raise SystemExit(found.exit_code)
