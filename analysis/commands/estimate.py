"""`hwsim estimate`."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say

WORKLOAD_NAMES = "transformer-base, transformer-big, tiny11, bert-base, bert-large, mobilebert, gpt2-small"
TABLE_NAMES = (
    "edge-22, horowitz-45, jouppi-7, node-5, aladdin-40, aladdin-22, cacti-22, cacti-32, cacti-45, eyeriss-65, dram"
)
"""Told here, as nothing of the cost model is imported before an estimate is asked for."""

ACCELERATOR = (
    "edge-256 (default), ita, ethos-u55-256, gemmini-16, keller-5nm, or a TOML file. With --gemm the default is a "
    "machine made from the options."
)


def estimate(
    command: typer.Context,
    program: Annotated[Path | None, typer.Argument(help="Program file.")] = None,
    workload: Annotated[str | None, typer.Option(metavar="NAME", help="A model by its shapes, as bert-base.")] = None,
    model_file: Annotated[Path | None, typer.Option(help="Your own layers or model, a TOML file.")] = None,
    gemm: Annotated[Path | None, typer.Option(help="Products or convolutions, a CSV file of SCALE-Sim.")] = None,
    config: Annotated[str | None, typer.Option(help="Widths of shapes: int8 (default), int6, int4 or w4a8.")] = None,
    batch: Annotated[int | None, typer.Option(help="Inputs at once, of a workload.")] = None,
    source_length: Annotated[list[int] | None, typer.Option(help="Source tokens; of a program repeatable.")] = None,
    target_length: Annotated[list[int] | None, typer.Option(help="Target tokens, of a program as many times.")] = None,
    context: Annotated[int | None, typer.Option(help="Positions before the first decode step.")] = None,
    beam: Annotated[int | None, typer.Option(help="Hypotheses of an input while decoding.")] = None,
    accelerator: Annotated[str | None, typer.Option(metavar="NAME", help=ACCELERATOR)] = None,
    array: Annotated[str | None, typer.Option(metavar="RxC", help="Rows and columns instead of its own.")] = None,
    dataflow: Annotated[str | None, typer.Option(help="os, ws or is.")] = None,
    fold: Annotated[str | None, typer.Option(help="serial or pipelined.")] = None,
    sram_kib: Annotated[int | None, typer.Option(help="Scratchpad, KiB.")] = None,
    clock_mhz: Annotated[float | None, typer.Option(help="Clock, MHz.")] = None,
    bandwidth: Annotated[float | None, typer.Option(help="Of DRAM, GB/s.")] = None,
    energy_table: Annotated[str | None, typer.Option(metavar="NAME", help=f"{TABLE_NAMES}, or a TOML file.")] = None,
    boundary: Annotated[str | None, typer.Option(help="core, chip or system.")] = None,
    objective: Annotated[str | None, typer.Option(help="Tiles for least dram (default), latency or energy.")] = None,
    tiles: Annotated[str | None, typer.Option(help="array (default), or divisors as in published tables.")] = None,
    psum_bits: Annotated[int | None, typer.Option(help="Width of stored partial sums.")] = None,
    attention: Annotated[str | None, typer.Option(help="unfused (default), fused or recompute.")] = None,
    sparsity: Annotated[str | None, typer.Option(metavar="N:M", help="N of M weights are kept.")] = None,
    zero_gating: Annotated[Path | None, typer.Option(help="Gate zero MACs as this report.json counted them.")] = None,
    compare: Annotated[tuple[str, str] | None, typer.Option(metavar="A B", help="Two machines or configs.")] = None,
    sort: Annotated[str, typer.Option(help="energy, cycles, dram, macs, utilization or order.")] = "energy",
    all_rows: Annotated[bool, typer.Option("--all", help="Print every layer, each by itself.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the layers, one a row.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write a timeline for Perfetto or chrome://tracing.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder of figures.")] = None,
    known: Annotated[bool, typer.Option("--list", help="List accelerators, workloads, tables and configs.")] = False,
    print_toml: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print an accelerator or energy table as TOML, to begin with.")
    ] = None,
    force: options.Force = False,
) -> None:
    """Cycles, bytes and energy of a program, a model's shapes or a GEMM table on an accelerator.

    Without lengths a program translates 20 tokens to 20.

    Examples: `hwsim estimate int8.hwsim --source-length 13 --target-length 15` · `hwsim estimate --workload bert-base
    --accelerator ita --json ita.json` · `hwsim estimate --workload gpt2-small --compare int8 int4` ·
    `hwsim estimate --gemm layers.csv --array 32x32 --dataflow ws --fold serial --json table.json` ·
    `hwsim estimate --list` · `hwsim estimate --print-toml ita > mine.toml`
    """
    given = dict(locals())  # every option by its name, before there are other names
    if known or print_toml is not None:
        _tell_known(command, print_toml)
        return
    from analysis.estimates.job import Output, check, run
    from analysis.estimates.request import Request

    given |= {"source_length": tuple(source_length or ()), "target_length": tuple(target_length or ())}
    request = Request(**{name: given[name] for name in Request.__struct_fields__})
    output = Output(**{name: given[name] for name in Output.__struct_fields__})
    check(request, output)
    places = shared.reserve(command, files=output.files, folders={"--plots": plots}, force=force)
    shared.show(*run(request, output, places))


def _tell_known(command: typer.Context, name: str | None) -> None:
    """What there is, or one of it: nothing is priced."""
    from analysis.estimates.catalogue import catalogue, template

    shared.refuse_others(command, "--list" if name is None else "--print-toml", "prices nothing")
    say(*(catalogue() if name is None else template(name).splitlines()))
