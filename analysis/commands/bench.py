"""`hwsim bench`."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from analysis.bench.parts import Part
from analysis.commands import options, shared
from analysis.output.outlet import tell

SENTENCES = 128


def bench(
    command: typer.Context,
    only: Annotated[
        list[Part] | None, typer.Option("--only", help="One part; repeatable. Default: all of them.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Of every contender. Default: the cores of this process.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Turns of each contender.")] = 7,
    sentences: Annotated[
        int | None, typer.Option("--sentences", min=1, help=f"Test sentences to translate. Default: {SENTENCES}.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME", help="Models and operators of this target alone; repeatable."),
    ] = None,
    growth: Annotated[bool, typer.Option("--growth", help="Growth with tokens, batch, layers and width, too.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random operands and models.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", help="Write everything.")] = None,
    force: options.Force = False,
) -> None:
    """How fast: matrix products, operators and translations beside those of others, whose results are checked.

    All contenders take turns in one process, and ratios are of their medians. The extra `bench` (`pip install
    'hwsim[bench]'`) brings CTranslate2 and ONNX Runtime; what is missing is left out.

    Examples: `hwsim bench --only gemm --threads 1` · `hwsim bench --only model --target ita --sentences 64` ·
    `hwsim bench --growth --json speed.json`
    """
    parts = list(dict.fromkeys(only or Part))
    if parts == [Part.GEMM]:
        shared.refuse(command, ("--sentences", "--target"), "--only gemm has neither models nor operators")
    if parts == [Part.MODEL] and target and not growth:
        shared.refuse(command, ("--seed",), "--only model under a --target has no random operands or models")
    from analysis.bench import job, tables
    from analysis.bench.threads import check_threads, usable_cores
    from analysis.output.context import context
    from analysis.workload import load_model
    from hwsim.files import readable_json
    from hwsim.program.targets import target as known

    began = time.perf_counter()
    outputs = shared.reserve(command, files={"--json": json}, force=force)
    request = job.Request(
        parts=parts,
        threads=check_threads(usable_cores() if threads is None else threads),
        repeats=repeats,
        sentences=SENTENCES if sentences is None else sentences,
        seed=seed,
        targets=target,
        growth=growth,
    )
    for name in target or ():
        known(name)
    if sentences is not None:
        shared.tell_fewer(command, sentences, len(shared.read_source(None)))
    loaded = None if parts == [Part.GEMM] else load_model()
    result = job.run(request, loaded, lambda what: tell(f"measuring: {what}"))
    if json is not None:
        provenance = asdict(
            context(sys.argv, None if loaded is None else loaded.folder, time.perf_counter() - began, seed)
        )
        outputs.write("--json", readable_json(job.record(request, result, provenance)))
    shared.show(*tables.results(result))
