"""Peak memory of a machine that translates, in a process that holds nothing else: no torch, no checkpoint.

`python -m analysis.bench.memory PROGRAM BATCHES`, a program file and a JSON list of batches of id rows.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hwsim
from reference.decoding import greedy, length_limit

KIB = 1024
LINE = "VmHWM:"
"""Of /proc/self/status: the most that was ever resident. `getrusage` counts what the parent had, too."""


class Stepper:
    """A machine that decodes: `reference.decoding` drives it."""

    def __init__(self, machine: hwsim.Machine, sources: Sequence[list[int]]) -> None:
        manifest = machine.program.manifest
        self.logit_scale, self.position = manifest.logit_scale, 0
        ids = np.full((len(sources), max(map(len, sources))), manifest.pad_id, np.int64)
        for row, source in zip(ids, sources, strict=True):
            row[: len(source)] = source
        inputs = {"source_ids": ids, "source_mask": ids != manifest.pad_id, "encode.position": np.array(0)}
        session = machine.session("encode", "decode_step", inputs)
        assert session is not None
        self.session = session

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[Any]:
        """Logits of the next token."""
        inputs = {"target_ids": tokens[:, None], "decode_step.position": np.array(self.position)}
        self.position += 1
        (logits,) = self.session.step(inputs, parents).values()
        return np.asarray(logits[:, 0])


def translate(machine: hwsim.Machine, batches: Sequence[Sequence[list[int]]]) -> list[list[int]]:
    """Greedy translations in the order of the batches."""
    most = machine.program.manifest.max_positions
    found = []
    for rows in batches:
        found += greedy(Stepper(machine, rows), [length_limit(len(row), most) for row in rows])
    return found


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(LINE)) * KIB
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else KIB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_of(program: hwsim.Program, batches: Sequence[Sequence[list[int]]]) -> tuple[int, list[list[int]]]:
    """Peak bytes, and the translations, of a process that loads a program and runs it.

    Raises
    ------
    ValueError
        If that process failed; with its last line.
    """
    with tempfile.TemporaryDirectory(prefix="hwsim-bench-") as folder:
        path, rows = Path(folder) / "program.hwsim", Path(folder) / "batches.json"
        program.save(path)
        rows.write_text(json.dumps(batches))
        command = [sys.executable, "-P", "-m", "analysis.bench.memory", str(path), str(rows)]
        imports = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # a package of ours is ours there, too
        done = subprocess.run(command, env=imports, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the run for peak memory failed: {(done.stderr.splitlines() or ['no message'])[-1]}")
    found = json.loads(done.stdout)
    return int(found["peak_bytes"]), found["translations"]


def main(arguments: Sequence[str]) -> None:
    """Translate, and print both as JSON."""
    machine = hwsim.Machine(hwsim.load(Path(arguments[0])))
    found = translate(machine, json.loads(Path(arguments[1]).read_text()))
    print(json.dumps({"peak_bytes": peak_bytes(), "translations": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
