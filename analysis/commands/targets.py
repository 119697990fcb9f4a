"""`hwsim targets`."""

from typing import Annotated

import typer

from analysis.commands import shared


def targets(
    name: Annotated[str | None, typer.Argument(help="One target in full, with sources.")] = None,
    schemes: Annotated[
        bool, typer.Option("--schemes", help="The catalogue of requantization schemes instead.")
    ] = False,
) -> None:
    """Whose arithmetic there is: native and borrowed operators, widths, granularity, zero points, accumulators.

    Examples: `hwsim targets` · `hwsim targets ita` · `hwsim targets --schemes`
    """
    from analysis.inspect import target_tables as tables

    if schemes and name is not None:
        raise ValueError(f"--schemes shows the whole catalogue: leave {name} out")
    shared.show(*(tables.schemes() if schemes else tables.overview() if name is None else tables.details(name)))
