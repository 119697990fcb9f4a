"""All commands as one command line."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from analysis.commands.bench import bench
from analysis.commands.centre import centre
from analysis.commands.doctor import doctor
from analysis.commands.estimate import estimate
from analysis.commands.explain import explain
from analysis.commands.quantize import quantize
from analysis.commands.run import run
from analysis.commands.sensitivity import sensitivity
from analysis.commands.show import show
from analysis.commands.targets import targets
from analysis.commands.train import train
from analysis.commands.vectors import vectors
from analysis.commands.verify import verify
from analysis.output.outlet import say

EXIT_CODES = (
    "Exit codes: 0 success; 1 a difference that was found; 2 an error; 70 a fault of hwsim; 130 interrupted, "
    "143 ended by SIGTERM, 129 by SIGHUP; 141 the reader of its output went away."
)

app = typer.Typer(
    name="hwsim",
    help="Golden model of an integer Transformer accelerator: exact codes, proven equal to fake-quant, priced.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # whose tables cut the names of options in a terminal of 80 columns
    pretty_exceptions_enable=False,
)
for command in (
    *(run, train, centre, quantize, verify, estimate, sensitivity, show, explain, vectors, targets),
    *(bench, doctor),
):
    app.command()(command)


def _say_version(asked: bool) -> None:
    if asked:
        try:
            say(f"hwsim {version_of('hwsim')}")
        except PackageNotFoundError:  # run from a folder that was never installed
            say("hwsim, not installed")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and exit.")
    ] = False,
) -> None:
    pass
