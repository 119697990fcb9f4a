"""`hwsim doctor`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import shared


def doctor(json: Annotated[Path | None, typer.Option("--json", help="Write everything.")] = None) -> None:
    """What decides speed here: CPU features, caches, threads, the product engine and why, versions, kernel cache.

    Examples: `hwsim doctor` · `hwsim doctor --json here.json`
    """
    from analysis.bench import machine, tables
    from analysis.estimates.outputs import check_files
    from hwsim.files import write_whole

    if json is not None:
        check_files({}, {"--json": json})
    found = machine.examine()
    if json is not None:
        write_whole(json, shared.encoded(asdict(found)))
    shared.show(tables.doctor(found))
