"""`python -m tests.replay --target NAME`: the shipped model, replayed on test sentences in the target's own widths."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from analysis.output.context import context
from analysis.translation.calibration import ranges_of
from analysis.workload import configure, load_model
from hwsim.files import write_whole
from hwsim.formats import Counter
from hwsim.machine import Machine
from hwsim.program.targets import TARGETS
from reference.data import corpus
from reference.quantize.scheme import NATIVE, Scheme, preset, scheme_for
from tests.replay.comparison import Tally, compare
from tests.replay.misfits import misfits
from tests.replay.replay import Replay

COMMAND = ["python", "-m", "tests.replay"]
BATCH = 32
"""Sentences at once, of similar length, so that little is computed for padding."""


def replayed(machine: Machine, replay: Replay, rows: Sequence[list[int]], each: bool) -> Tally:
    """All sentences, the shortest first; `each` as in `compare`."""
    tally = Tally()
    ordered = sorted(rows, key=len)
    for start in range(0, len(ordered), BATCH):
        compare(machine, replay, ordered[start : start + BATCH], tally=tally, each=each)
    return tally


def lines(run: dict[str, Any], tally: Tally, seconds: float) -> list[str]:
    """What is said of one target."""
    said = [
        f"{run['name']}: {run['sentences']} sentences, {tally.codes:,} codes compared, {tally.different:,} different, "
        f"in {len(tally.tensors_different)} of {len(tally.tensors)} tensors, {seconds:.0f} s"
    ]
    if tally.first is not None:
        said.append(f"  first: {tally.first}")
    if run["overflows"] or run["wrapped"]:
        said.append(f"  {run['overflows']:,} overflows in the machine, {run['wrapped']:,} values cut in the replay")
    if run["constants_beyond"]:
        unfit = run["constants_beyond"]
        said.append(f"  {len(unfit)} constants that its hardware does not encode, first: {unfit[0]}")
    return said


def record(
    name: str, sentences: int, machine: Machine, tally: Tally, lost: int, unfit: Sequence[str]
) -> dict[str, Any]:
    """What is written of one target."""
    return {
        "name": name,
        "target": machine.program.manifest.target,
        "sentences": sentences,
        "codes": tally.codes,
        "different": tally.different,
        "tensors": len(tally.tensors),
        "tensors_different": len(tally.tensors_different),
        "first": None if tally.first is None else asdict(tally.first),
        "overflows": machine.totals[Counter.OVERFLOW],
        "wrapped": lost,
        "constants_beyond": list(unfit),
    }


def everything() -> list[str]:
    """Every target in its native configuration, and with 16-bit activations where it computes these in another way."""
    return [*TARGETS, *(f"{name}:16" for name, one in TARGETS.items() if one.wide is not None)]


def scheme_of(name: str) -> Scheme:
    """NAME is the native configuration, NAME:BITS that of activations of so many bits."""
    known, _, bits = name.partition(":")
    if not bits:
        return preset(NATIVE, known)
    return scheme_for(known, name=f"{known}-a{bits}", activation_bits=int(bits))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if a code differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay", description=__doc__)
    parser.add_argument("--target", action="append", metavar="NAME", help="NAME or NAME:ACTIVATION_BITS; default: all")
    parser.add_argument("--sentences", type=int, default=20, help="of the shipped test set, default 20")
    parser.add_argument("--each", action="store_true", help="each operation on the machine's tensors, not on its own")
    parser.add_argument("--model", type=Path, help="a model folder, default the shipped model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    options = parser.parse_args(arguments)
    began, start = time.monotonic(), context(COMMAND, None, 0)
    schemes = [scheme_of(name) for name in options.target or everything()]
    model = load_model(options.model)
    rows = model.encode(corpus("test").head(options.sentences).source, "source text")
    ranges, runs = ranges_of(model), []
    for scheme in schemes:
        machine = Machine(configure(model, scheme, ranges).program)
        replay, before = Replay(machine.program), time.process_time()
        tally, unfit = replayed(machine, replay, rows, options.each), misfits(replay.context)
        runs.append(record(scheme.name, len(rows), machine, tally, replay.lost.events, unfit))
        print("\n".join(lines(runs[-1], tally, time.process_time() - before)), flush=True)
    if options.json is not None:
        command = [*COMMAND, *(sys.argv[1:] if arguments is None else arguments)]
        end = replace(context(command, model.folder, time.monotonic() - began), commit=start.commit)
        write_whole(options.json, (json.dumps({"context": asdict(end), "runs": runs}, indent=2) + "\n").encode())
    return int(any(run["different"] for run in runs))


if __name__ == "__main__":
    raise SystemExit(main())
