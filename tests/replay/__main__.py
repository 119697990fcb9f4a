"""`python -m tests.replay --target NAME`: the shipped model, replayed on test sentences in the target's own widths."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.output.context import context
from analysis.workload import calibrate_model, configure, load_model
from hwsim.files import write_whole
from hwsim.machine import Machine
from hwsim.program.targets import TARGETS, target
from reference.data import corpus
from reference.quantize.scheme import NATIVE, Scheme, preset, scheme_for
from tests.replay.comparison import Tally, compare
from tests.replay.misfits import misfits
from tests.replay.replay import Replay

BATCH = 32
"""Sentences at once, of similar length, so that little is computed for padding."""


def replayed(machine: Machine, rows: Sequence[list[int]], each: bool) -> Tally:
    """All sentences, the shortest first; `each` as in `compare`."""
    tally, replay = Tally(), Replay(machine.program)
    ordered = sorted(rows, key=len)
    for start in range(0, len(ordered), BATCH):
        compare(machine, replay, ordered[start : start + BATCH], tally=tally, each=each)
    return tally


def lines(name: str, sentences: int, tally: Tally, unfit: Sequence[str], seconds: float) -> list[str]:
    """What is said of one target."""
    said = [
        f"{name}: {sentences} sentences, {tally.codes:,} codes compared, {tally.different:,} different, "
        f"in {len(tally.tensors_different)} of {len(tally.tensors)} tensors, {seconds:.0f} s"
    ]
    if tally.first is not None:
        said.append(f"  first: {tally.first}")
    if unfit:
        said.append(f"  {len(unfit)} constants that its hardware does not encode, first: {unfit[0]}")
    return said


def record(
    name: str, sentences: int, tally: Tally, unfit: Sequence[str], folder: Path, seconds: float
) -> dict[str, Any]:
    """What is written of one target."""
    return {
        "target": name,
        "sentences": sentences,
        "codes": tally.codes,
        "different": tally.different,
        "tensors": len(tally.tensors),
        "tensors_different": len(tally.tensors_different),
        "first": None if tally.first is None else asdict(tally.first),
        "constants_beyond": len(unfit),
        **asdict(context(["python -m tests.replay", *sys.argv[1:]], folder, seconds)),
    }


def append(path: Path, entry: dict[str, Any]) -> None:
    """Put one record behind those of a file; a file that is not there is made."""
    entries = json.loads(path.read_text()) if path.exists() else []
    write_whole(path, (json.dumps([*entries, entry], indent=2) + "\n").encode())


def scheme_of(name: str, bits: int | None) -> Scheme:
    """The native configuration, or that of activations of so many bits."""
    return preset(NATIVE, name) if bits is None else scheme_for(name, name=f"{name}-a{bits}", activation_bits=bits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if a code differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay", description=__doc__)
    parser.add_argument("--target", action="append", metavar="NAME", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--sentences", type=int, default=20, help="of the shipped test set, default 20")
    parser.add_argument("--bits", type=int, help="of activations, default those of the native configuration")
    parser.add_argument("--each", action="store_true", help="each operation on the machine's tensors, not on its own")
    parser.add_argument("--model", type=Path, help="a model folder, default the shipped model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append a record for each target")
    options = parser.parse_args(arguments)
    names = [target(name).name for name in options.target or TARGETS]
    model = load_model(options.model)
    rows = model.encode(corpus("test").head(options.sentences).source, "source text")
    different = 0
    ranges = calibrate_model(model)
    for scheme in [scheme_of(name, options.bits) for name in names]:
        name, program, began = scheme.name, configure(model, scheme, ranges).program, time.process_time()
        tally = replayed(Machine(program), rows, options.each)
        unfit, seconds = misfits(Replay(program).context), time.process_time() - began
        print("\n".join(lines(name, len(rows), tally, unfit, seconds)), flush=True)
        if options.json is not None:
            append(options.json, record(name, len(rows), tally, unfit, model.folder, seconds))
        different += tally.different
    return int(different > 0)


if __name__ == "__main__":
    raise SystemExit(main())
