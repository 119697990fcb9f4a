"""`hwsim estimate`."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared


def estimate(
    program: options.Program,
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
    from analysis.targets import program_provenance
    from hwsim.accelerator.estimate import estimate as price
    from hwsim.loading import load

    loaded = load(program)
    sources, targets = source_length or [], target_length or []
    if len(sources) != len(targets):
        raise ValueError(f"{len(sources)} source lengths but {len(targets)} target lengths; they go in pairs")
    if not sources:
        sources, targets = [20], [20]
    result, origin = price(loaded, list(zip(sources, targets, strict=True))), program_provenance(loaded)
    costs.write(result, origin, csv, json)
    shared.show(*costs.tables(result, origin, None if all_rows else 20))
