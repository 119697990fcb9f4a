"""`hwsim show`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.commands import options, shared

if TYPE_CHECKING:
    from hwsim import program as ir

Observed = dict[str, tuple[int, int]]


def show(
    command: typer.Context,
    program: options.Program,
    site: Annotated[str, typer.Option(help="Only tensors and operations that match this pattern.")] = "*",
    accumulators: Annotated[
        bool,
        typer.Option(
            "--accumulators",
            help="Minimum safe accumulator widths instead: by proof, by A2Q's bound, and, with --text or --sentences, "
            "by what the running sums of a text reach.",
        ),
    ] = False,
    text: options.Text = None,
    sentences: Annotated[
        int | None, typer.Option(min=1, help="Observe so many sentences of the text; default: the shipped test set.")
    ] = None,
    model: options.Model = None,
    json: Annotated[Path | None, typer.Option(help="Write the same as JSON.")] = None,
    force: options.Force = False,
) -> None:
    """Sites, formats, shapes, accumulator bounds and multipliers of a program.

    Examples: `hwsim show int8.hwsim --site 'encoder.0.*'` · `hwsim show int8.hwsim --accumulators --sentences 20`
    """
    import msgspec

    from analysis.accuracy.accumulators import safe_widths, width_table
    from analysis.inspect.show import describe, header, render
    from hwsim.files import readable_json
    from hwsim.program.loading import load

    observing = text is not None or sentences is not None
    if observing and not accumulators:
        raise ValueError("--text and --sentences need --accumulators")
    if model is not None and not observing:
        raise ValueError("--model says nothing without a text to observe: give --text or --sentences")
    outputs = shared.reserve(command, files={"--json": json}, force=force)
    loaded = load(program)
    description = describe(loaded, site)
    record = msgspec.to_builtins(description)
    shown = render(description)
    if accumulators:
        widths = safe_widths(loaded, _observe(command, loaded, text, sentences, model) if observing else None, site)
        record["accumulators"] = msgspec.to_builtins(widths)
        shown = [header(description), width_table(widths)]
    if json is not None:
        outputs.write("--json", readable_json(record))
    shared.show(*shown)


def _observe(
    command: typer.Context, program: "ir.Program", text: Path | None, sentences: int | None, model: Path | None
) -> Observed:
    """What the running sums of every accumulator reach while a text is translated greedily."""
    from analysis.accuracy.accumulators import Watch
    from analysis.translation.translate import translate_integer

    watch = Watch(program)
    rows = shared.source_ids(command, program, text, sentences or options.DEFAULT_SENTENCES, model)
    tokenizer = shared.vocabulary(model)
    with shared.progress("observing", len(rows)) as advance:
        translate_integer(tokenizer, watch, rows, advance=advance)
    return watch.observed
