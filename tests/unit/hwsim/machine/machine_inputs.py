"""Inputs of both functions of the tiny program, and a run of both."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.machine import Machine
from hwsim.program import Program

Arrays = dict[str, NDArray[Any]]
SOURCE = np.array([[4, 9, 13, 7, 2], [5, 17, 2, 0, 0], [19, 2, 0, 0, 0]])
PAST = "decoder.0.self_attention.key_past"


def encode_inputs(source: NDArray[Any] = SOURCE) -> Arrays:
    return {"source_ids": source, "source_mask": source != 0, "encode.position": np.array(0)}


def step_inputs(program: Program, source: NDArray[Any] = SOURCE, past: int = 3) -> Arrays:
    """The second function's, with caches of small codes."""
    rows, rng = len(source), np.random.default_rng(4)
    cross = Machine(program).run("encode", encode_inputs(source))
    caches = {state.past: rng.integers(-8, 8, (rows, 2, past, 4)).astype(np.int32) for state in program.manifest.states}
    ids = {"target_ids": np.full((rows, 1), 6), "decode_step.position": np.array(past), "source_mask": source != 0}
    return ids | cross | caches


def run_both(machine: Machine, observe: Callable[[str, NDArray[Any]], None] | None = None) -> Arrays:
    outputs = machine.run("encode", encode_inputs(), observe)
    return outputs | machine.run("decode_step", step_inputs(machine.program), observe)
