"""Small programs that fit their hardware, and stand-ins for operations on a few tensors."""

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Program, TensorInfo
from hwsim.program.catalogue import NarrowBefore
from hwsim.program.operations import Requantize, RescaledAdd
from reference.quantize.scheme import preset
from tests.replay.comparison import Tally, compare
from tests.replay.context import Context
from tests.replay.replay import Replay
from tests.replay.widths import widths_of
from tests.small.models import small_model
from tests.small.programs import lowered
from tests.small.sentences import copied, sentences

COARSE = 8
"""Significant bits of the multipliers of `program_of`: what `lightened` takes off 16-bit ones is all zeros."""


def program_of(target: str) -> Program:
    """A small program of a target's native configuration, whose products fit an int32 too."""
    scheme = preset("native", target)
    if target not in ("pulp", "deeploy"):
        return lowered(small_model(seed=3), scheme, copied(sentences(4)))
    scheme = msgspec.structs.replace(scheme, multiplier_bits=min(COARSE, scheme.multiplier_bits))
    return lightened(lowered(small_model(seed=3), scheme, copied(sentences(4))))


def lightened(program: Program) -> Program:
    """The same ratios with smaller numbers: m / 2^e becomes (m / 2^8) / 2^(e - 8) where m is a multiple of 2^8."""
    constants = dict(program.constants)

    def lighter(scheme: Any) -> Any:
        if not isinstance(scheme, NarrowBefore):
            return scheme
        fields: dict[str, Any] = {}
        multipliers = np.atleast_1d(program.constants.get(scheme.multiplier, scheme.multiplier))
        if (multipliers % 256).any():
            return scheme
        for name, change in (("multiplier", lambda m: m >> 8), ("shift", lambda e: e - 8)):
            old = getattr(scheme, name)
            fields[name] = old if isinstance(old, str) else change(old)
            if isinstance(old, str):
                constants[old] = change(program.constants[old])
        return msgspec.structs.replace(scheme, **fields)

    functions = [
        msgspec.structs.replace(function, operations=[_with_schemes(op, lighter) for op in function.operations])
        for function in program.manifest.functions
    ]
    return Program(msgspec.structs.replace(program.manifest, functions=functions), constants)


def _with_schemes(operation: Any, change: Any) -> Any:
    if not isinstance(operation, Requantize | RescaledAdd):
        return operation
    names = [name for name in operation.__struct_fields__ if name.endswith("requantization")]
    return msgspec.structs.replace(operation, **{name: change(getattr(operation, name)) for name in names})


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
