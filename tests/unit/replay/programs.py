"""Small programs that fit their hardware, and stand-ins for operations on a few tensors."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Program, TensorInfo
from reference.quantize.scheme import preset
from tests.replay.comparison import Tally, compare
from tests.replay.context import Context
from tests.replay.replay import Replay
from tests.replay.widths import widths_of
from tests.small.models import small_model
from tests.small.programs import lowered
from tests.small.sentences import copied, sentences


def program_of(target: str) -> Program:
    """A small program of a target's native configuration."""
    return lowered(small_model(seed=3), preset("native", target), copied(sentences(4)))


def tally_of(program: Program, *, each: bool = False) -> Tally:
    """Three sentences by the machine and by the replay."""
    return compare(Machine(program), Replay(program), sentences(3), each=each)


def context_of(
    target: str,
    formats: dict[str, IntFormat],
    constants: dict[str, Any] | None = None,
    zeros: dict[str, int] | None = None,
) -> Context:
    """A target's hardware with some tensors and constants, and no program around them."""
    infos = {
        name: TensorInfo(name=name, format=one, dims=[], zero_point=(zeros or {}).get(name, 0))
        for name, one in formats.items()
    }
    arrays = {name: np.array(values) for name, values in (constants or {}).items()}
    program: Any = SimpleNamespace(tensors=infos, constants=arrays, constant_info={})
    return Context(program, widths_of(target))
