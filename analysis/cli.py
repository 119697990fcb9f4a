"""The command line. Each command imports what it needs, so that `--help` and `show` do not wait for torch."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from analysis.run import Advance
    from analysis.workload import Model
    from reference.data import ParallelText
    from reference.quantize.calibrate import Range
    from reference.quantize.scheme import Scheme

DEFAULT_SENTENCES = 100
SENSITIVITY_SENTENCES = 200
INTERRUPTED = 130
"""What the command line library returns after Ctrl-C."""

app = typer.Typer(
    name="hwsim",
    help="Golden model of an integer Transformer accelerator: exact codes, proven equal to fake-quant, priced.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

ModelOption = Annotated[
    Path | None, typer.Option("--model", help="Model folder; default: the shipped English-German model.")
]
ConfigOption = Annotated[
    list[str] | None, typer.Option("--config", help="int8, int6, int4 or w4a8; repeatable. Default: all four.")
]
SchemeOption = Annotated[Path | None, typer.Option("--scheme", help="Your own scheme, a TOML file.")]
TextOption = Annotated[Path | None, typer.Option("--text", help="Source sentences, one a line (plain, .gz or .xz).")]
ReferenceOption = Annotated[Path | None, typer.Option("--reference", help="Their translations, line by line.")]
CalibrateOption = Annotated[
    Path | None,
    typer.Option("--calibrate", help="Source text to calibrate on; default: 512 training sentences."),
]
CalibrateReferenceOption = Annotated[
    Path | None,
    typer.Option("--calibrate-reference", help="Translations of the calibration text; default: the float model's own."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder or file to write.")]
BeamOption = Annotated[int, typer.Option("--beam", min=1, help="Beam width; 1 is greedy.")]


def main() -> None:
    """Run the command line; errors are one line on standard error and exit code 2."""
    try:
        if app(standalone_mode=False) == INTERRUPTED:
            _fail("interrupted; nothing was left half-written")
    except (ValueError, OSError) as error:
        _fail(" ".join(str(error).split()))
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command line library
            _fail(" ".join(error.format_message().split()))
        raise


def _fail(message: str) -> None:
    print(f"hwsim: error: {message}", file=sys.stderr)
    raise SystemExit(2)


@app.command()
def run(
    sentences: Annotated[int, typer.Option(min=1, help="How many test sentences.")] = DEFAULT_SENTENCES,
    config: ConfigOption = None,
    scheme: SchemeOption = None,
    out: OutOption = None,
    model: ModelOption = None,
    text: TextOption = None,
    reference: ReferenceOption = None,
    calibrate: CalibrateOption = None,
    calibrate_reference: CalibrateReferenceOption = None,
    beam: BeamOption = 1,
    sensitivity: Annotated[bool, typer.Option(help="Measure the sensitivity of each group too.")] = True,
) -> None:
    """Translate, prove every code equal, price, and write a report: the main job.

    Examples: `hwsim run` · `hwsim run --sentences 1000 --config int8` ·
    `hwsim run --text my.en --reference my.de --scheme mine.toml --out report`
    """
    from analysis import report
    from analysis.run import run as run_all
    from analysis.workload import check_inputs, load_model

    began = time.perf_counter()
    folder = out or Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
    report.check_target(folder)
    schemes = _schemes(config, scheme)
    loaded = load_model(model)
    body = _text(text, reference).head(sentences)
    check_inputs(loaded, schemes, body)
    ranges = _ranges(loaded, calibrate, calibrate_reference)
    with _progress("translating and comparing", len(body) * (1 + len(schemes))) as advance:
        result = run_all(loaded, schemes, body, ranges, beam_width=beam, advance=advance)
    rows = _group_rows(loaded, ranges, _text(text, reference)) if sensitivity else []
    report.write_report(result, rows, folder, report.context(sys.argv, loaded.folder, time.perf_counter() - began))
    _print(report.summary_table(result), *([report.sensitivity_table(rows)] if rows else []))
    print(f"report: {folder / 'report.html'}")
    if not all(one.equality.equal for one in result.configurations):
        raise SystemExit(1)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Model folder; a run that was stopped there is resumed.")],
    text: TextOption = None,
    reference: ReferenceOption = None,
    validation: Annotated[Path | None, typer.Option(help="Held-out source sentences.")] = None,
    validation_reference: Annotated[Path | None, typer.Option(help="Their translations.")] = None,
    vocabulary: Annotated[int, typer.Option(min=32, help="Size of the joint BPE vocabulary.")] = 4000,
    d_model: int = 256,
    heads: int = 4,
    d_head: int = 64,
    d_ff: int = 1024,
    layers: Annotated[int, typer.Option(help="Encoder layers, and as many decoder layers.")] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 21,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 2026,
    tied: Annotated[bool, typer.Option(help="One matrix for both embeddings and the generator.")] = True,
) -> None:
    """Train a float model; interrupt it at will, the same command resumes after the last whole epoch.

    Example: `hwsim train --out model --epochs 21`
    """
    from reference.data import corpus
    from reference.model import TransformerConfig
    from reference.train import TrainingRecipe, prepare

    config = TransformerConfig(
        vocabulary_size=vocabulary,
        d_model=d_model,
        n_heads=heads,
        d_head=d_head,
        d_ff=d_ff,
        encoder_layers=layers,
        decoder_layers=layers,
        tied=tied,
    )
    given = text is not None or reference is not None
    if given != (validation is not None or validation_reference is not None):
        raise ValueError("your own --text needs --validation text of its own, and the other way round")
    body = _text(text, reference) if given else corpus("train")
    held_out = _text(validation, validation_reference) if given else corpus("validation")
    trainer = prepare(out, config, TrainingRecipe(epochs=epochs, seed=seed), body, held_out)
    while trainer.epoch < epochs:
        with _progress(f"epoch {trainer.epoch + 1} of {epochs}", trainer.steps_per_epoch) as advance:
            record = trainer.run_epoch(partial(advance, 1))
        print(", ".join(f"{key} {value}" for key, value in record.items()))


@app.command()
def quantize(
    out: Annotated[Path, typer.Option(help="Program file to write.")],
    config: Annotated[str | None, typer.Option(help="int8 (default), int6, int4 or w4a8.")] = None,
    scheme: SchemeOption = None,
    model: ModelOption = None,
    calibrate: CalibrateOption = None,
    calibrate_reference: CalibrateReferenceOption = None,
) -> None:
    """Calibrate a checkpoint, lower it, prove its accumulators, write the program file.

    Examples: `hwsim quantize --config int8 --out int8.hwsim` · `hwsim quantize --scheme mine.toml --out mine.hwsim`
    """
    from analysis.workload import check_inputs, configure, load_model
    from reference.quantize.plan import dropped_factor

    if config and scheme:
        raise ValueError("one program has one scheme: give --config or --scheme, not both")
    chosen = _schemes(None if scheme else [config or "int8"], scheme)[0]
    loaded = load_model(model)
    check_inputs(loaded, [chosen])
    ranges = _ranges(loaded, calibrate, calibrate_reference)
    program = configure(loaded, chosen, ranges).program
    program.save(out)
    rule = chosen.accumulator.overflow.value
    print(f"{out}: scheme {chosen.name}, {program.weight_bytes:,} bytes of weights, accumulators {rule}")
    if chosen.sqrt_mode == "dropped":
        print(
            f"sqrt_mode dropped: scores are {dropped_factor(loaded.network.config.d_head):.4f} times their real value"
        )


@app.command()
def verify(
    program: Annotated[Path | None, typer.Argument(help="Program file.")] = None,
    text: TextOption = None,
    sentences: Annotated[int, typer.Option(min=1)] = DEFAULT_SENTENCES,
    model: ModelOption = None,
    beam: BeamOption = 1,
    kernels: Annotated[bool, typer.Option("--kernels", help="Kernel by kernel instead, no program needed.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the kernel error plots and table.")] = None,
) -> None:
    """Prove a program equal to fake-quant on text, every code of every site; exit code 1 if it is not.

    Examples: `hwsim verify int8.hwsim --sentences 200` · `hwsim verify --kernels --out kernels`
    """
    if kernels:
        if program is not None:
            raise ValueError("--kernels looks at the kernels alone: leave the program out")
        _verify_kernels(out)
        return
    if program is None:
        raise ValueError("verify needs a program file, or --kernels")
    from analysis.run import prove_text
    from analysis.workload import load_model, reconfigure

    loaded = load_model(model)
    configuration = reconfigure(loaded, program)
    rows = loaded.encode(_source_text(text)[:sentences], "source text")
    with _progress("comparing", len(rows)) as advance:
        equality, _, _ = prove_text(loaded, configuration, rows, beam_width=beam, advance=advance)
    print(
        f"{program}: {len(rows)} sentences, {equality.codes_compared:,} codes compared, "
        f"{equality.codes_different} different, {equality.tokens_different} tokens different, "
        f"{equality.overflows} overflows"
    )
    if equality.first is not None:
        print(f"first divergence: {equality.first}")
    if not equality.equal:
        raise SystemExit(1)


@app.command()
def estimate(
    program: Annotated[Path, typer.Argument(help="Program file.")],
    source_length: Annotated[list[int] | None, typer.Option(help="Source tokens of a sentence; repeatable.")] = None,
    target_length: Annotated[list[int] | None, typer.Option(help="Target tokens of a sentence; repeatable.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table, one row an operation.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write summary and table as JSON.")] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Print every operation, not the twenty dearest.")] = False,
) -> None:
    """MACs, bytes and energy of a program, batch 1, greedy; without lengths, 20 tokens to 20.

    Example: `hwsim estimate int8.hwsim --source-length 13 --target-length 15 --csv cost.csv`
    """
    from analysis import costs
    from hwsim.accelerator.estimate import estimate as price
    from hwsim.loading import load

    loaded = load(program)
    sources, targets = source_length or [], target_length or []
    if len(sources) != len(targets):
        raise ValueError(f"{len(sources)} source lengths but {len(targets)} target lengths; they go in pairs")
    if not sources:
        sources, targets = [20], [20]
    result = price(loaded, list(zip(sources, targets, strict=True)))
    costs.write(result, csv, json)
    _print(*costs.tables(result, None if all_rows else 20))


@app.command()
def sensitivity(
    out: Annotated[Path, typer.Option(help="Folder for JSON, CSV and plots.")],
    sentences: Annotated[int, typer.Option(min=1)] = SENSITIVITY_SENTENCES,
    by: Annotated[list[str] | None, typer.Option(help="group, layer or site; repeatable. Default: all three.")] = None,
    bleu: Annotated[bool, typer.Option("--bleu", help="Translate at every setting too.")] = False,
    model: ModelOption = None,
    text: TextOption = None,
    reference: ReferenceOption = None,
    calibrate: CalibrateOption = None,
    calibrate_reference: CalibrateReferenceOption = None,
) -> None:
    """Which group, layer or site can do with 6, 4 or 3 bits while the rest has 8.

    Example: `hwsim sensitivity --by group --bleu --out sensitivity`
    """
    from analysis import report
    from analysis.sensitivity_report import check_kinds, study, write_study
    from analysis.workload import load_model

    began = time.perf_counter()
    report.check_target(out)
    kinds = check_kinds(by)
    loaded, body = load_model(model), _text(text, reference).head(sentences)
    rows = study(loaded, body, _ranges(loaded, calibrate, calibrate_reference), kinds, bleu, _progress)
    write_study(rows, len(body), out, report.context(sys.argv, loaded.folder, time.perf_counter() - began))
    _print(report.sensitivity_table([row for row in rows if row.kind != "site"] or rows))


@app.command()
def show(
    program: Annotated[Path, typer.Argument(help="Program file.")],
    site: Annotated[str, typer.Option(help="Only tensors and operations that match this pattern.")] = "*",
) -> None:
    """Sites, formats, shapes, accumulator bounds and multipliers of a program.

    Example: `hwsim show int8.hwsim --site 'encoder.0.*'`
    """
    from analysis.show import show as tables
    from hwsim.loading import load

    _print(*tables(load(program), site))


@app.command()
def vectors(
    program: Annotated[Path, typer.Argument(help="Program file.")],
    site: Annotated[str, typer.Option(help="Pattern of output sites, for example 'encoder.0.*.scores'.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    text: TextOption = None,
    sentences: Annotated[int, typer.Option(min=1, help="How many sentences of the text.")] = 1,
    steps: Annotated[int, typer.Option(min=0, help="How many decode steps.")] = 2,
    model: ModelOption = None,
) -> None:
    """Test vectors for an RTL test bench: inputs, constants and outputs as npz and $readmemh hex, with a manifest.

    Example: `hwsim vectors int8.hwsim --site 'encoder.0.*.softmax.output' --out vectors`
    """
    from analysis.report import check_target
    from analysis.vectors import write_vectors
    from analysis.workload import load_model, match_tokenizer
    from hwsim.loading import load
    from hwsim.machine import Machine

    check_target(out)
    loaded, checked = load_model(model), load(program)
    match_tokenizer(loaded, checked)
    lines = _source_text(text)[:sentences]
    written = write_vectors(Machine(checked), loaded.encode(lines, "source text"), site, out, steps=steps)
    print(f"{out}: {written}")


# --- shared by the commands ---------------------------------------------------------------------------------------


def _schemes(names: list[str] | None, scheme: Path | None) -> "list[Scheme]":
    from reference.quantize.scheme import PRESETS, preset, read_scheme

    if scheme is not None:
        return [*(preset(name) for name in names or ()), read_scheme(scheme)]
    return [preset(name) for name in names or list(PRESETS)]


def _text(source: Path | None, reference: Path | None) -> "ParallelText":
    from reference.data import corpus, read_parallel

    if source is None and reference is None:
        return corpus("test")
    if source is None or reference is None:
        raise ValueError("--text and --reference go together")
    return read_parallel(source, reference)


def _source_text(source: Path | None) -> tuple[str, ...]:
    from reference.data import corpus, read_lines

    return corpus("test").source if source is None else read_lines(source)


def _ranges(model: "Model", source: Path | None, reference: Path | None) -> "dict[str, Range]":
    """Calibrated ranges: on the user's text, with its translations or the float model's own, or on training text."""
    from analysis.run import calibrate_on_own_translations
    from analysis.workload import calibrate_model
    from reference.data import read_lines, read_parallel

    if source is None and reference is not None:
        raise ValueError("--calibrate-reference needs --calibrate")
    with _progress("calibrating", None):
        if source is not None and reference is None:
            return calibrate_on_own_translations(model, read_lines(source), str(source))
        text = None if source is None or reference is None else read_parallel(source, reference)
        return calibrate_model(model, text)


def _group_rows(model: "Model", ranges: Any, text: "ParallelText") -> Any:
    """Sensitivity of each group on the first sentences of the text."""
    from analysis.sensitivity import count_schemes, passes_by_length
    from analysis.sensitivity import sensitivity as measure_all

    passes = passes_by_length(model, text.head(SENSITIVITY_SENTENCES))
    with _progress("sensitivity", count_schemes(model, ("group",))) as advance:
        return measure_all(model, ranges, passes, ("group",), advance=partial(advance, 1))


def _print(*renderables: Any) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    for renderable in renderables:
        console.print(renderable)


@contextmanager
def _progress(what: str, total: int | None) -> "Iterator[Advance]":
    """A progress bar on standard error; without a total it only shows that time passes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    steps = () if total is None else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *steps, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def _verify_kernels(out: Path | None) -> None:
    from analysis.kernel_report import print_and_write

    if out is not None:
        from analysis.report import check_target

        check_target(out)
    if not print_and_write(out, sys.argv, _print):
        raise SystemExit(1)
