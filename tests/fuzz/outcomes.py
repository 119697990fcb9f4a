"""What comes of a file: refused in one line, or a program that runs as its plain steps say, within what is proven."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from hwsim.machine import Machine
from hwsim.machine.kernels import KERNELS
from hwsim.program import Program
from hwsim.program.loading import load
from tests.unit.hwsim.program.program_edits import inputs_of

Arrays = dict[str, NDArray[Any]]


class Offence(Exception):
    """What no file may cause."""


def outcome(content: bytes, path: Path, *, run: bool) -> str:
    """`refused`, `loaded`, or `ran`.

    Raises
    ------
    Offence
        If the refusal is not one line that names the file; if the program leaves what was proven, or differs from its
        plain steps. Whatever else is raised is an offence of its own.
    """
    path.write_bytes(content)
    try:
        program = load(path)
    except ValueError as error:
        said = str(error)
        if len(said.splitlines()) != 1 or str(path) not in said:
            raise Offence(f"the refusal is {said!r}") from error
        return "refused"
    if not run:
        return "loaded"
    fast, steps = ran(program), {}
    with patch.dict(KERNELS, {kind: lambda builder, operation: None for kind in KERNELS}):
        steps = ran(program)
    for name, codes in steps.items():
        if not np.array_equal(codes, fast[name]):
            raise Offence(f"{name} is not what its plain steps give")
    return "ran"


def ran(program: Program) -> Arrays:
    """Every tensor of every function, on codes at random and on the ends of their range."""
    machine, rng, seen = Machine(program, threads=1), np.random.default_rng(2), Arrays()
    for function in program.functions:
        for worst in (False, True):

            def observe(name: str, codes: NDArray[Any], run: str = f"{function} {worst}") -> None:
                form = program.tensors[name].format
                low, high = machine.reach.get(name, (form.min, form.max))
                if codes.size and not (low <= codes.min() and codes.max() <= high):
                    raise Offence(f"{name} leaves {low}..{high}")
                seen[f"{run} {name}"] = codes.copy()

            machine.run(function, inputs_of(program, function, rng, worst), observe)
    return seen
