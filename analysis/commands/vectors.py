"""`hwsim vectors`."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say


def vectors(
    command: typer.Context,
    program: options.Program,
    site: Annotated[str, typer.Option(help="Pattern of output sites, for example 'encoder.0.*.scores'.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    force: options.Force = False,
    text: options.Text = None,
    sentences: Annotated[int, typer.Option(min=1, help="How many sentences of the text.")] = 1,
    steps: Annotated[int, typer.Option(min=0, help="How many decode steps.")] = 2,
    model: options.Model = None,
) -> None:
    """Test vectors for an RTL test bench: inputs, constants and outputs as npz and $readmemh hex, with a manifest.

    Example: `hwsim vectors int8.hwsim --site 'encoder.0.*.softmax.output' --out vectors`
    """
    from analysis.inspect.vectors import write_vectors
    from hwsim.machine import Machine
    from hwsim.program.loading import load

    outputs = shared.reserve(command, folders={"--out": out}, force=force)
    checked = load(program)
    rows, part = shared.source_ids(command, checked, text, sentences, model), outputs.part("--out")
    written = write_vectors(Machine(checked), rows, site, part, steps=steps)
    say(f"{outputs.write('--out', {})}: {written}")
