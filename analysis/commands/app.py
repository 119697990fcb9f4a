"""All commands as one command line."""

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

app = typer.Typer(
    name="hwsim",
    help="Golden model of an integer Transformer accelerator: exact codes, proven equal to fake-quant, priced.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (
    *(run, train, centre, quantize, verify, estimate, sensitivity, show, explain, vectors, targets),
    *(bench, doctor),
):
    app.command()(command)
