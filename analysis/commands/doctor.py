"""`hwsim doctor`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared


def doctor(
    command: typer.Context,
    json: Annotated[Path | None, typer.Option("--json", help="Write everything.")] = None,
    force: options.Force = False,
) -> None:
    """What decides speed here: CPU features, caches, threads, the product engine and why, versions, kernel cache.

    Examples: `hwsim doctor` · `hwsim doctor --json here.json`
    """
    from analysis.bench import machine
    from analysis.bench.doctor import table
    from hwsim.files import readable_json

    outputs = shared.reserve(command, files={"--json": json}, force=force)
    found = machine.examine()
    if json is not None:
        outputs.write("--json", readable_json(asdict(found)))
    shared.show(table(found))
