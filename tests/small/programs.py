"""Plans and programs of small models, and programs with one number changed."""

from typing import Any

import msgspec

from hwsim.machine import operation_of
from hwsim.program import Program
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.calibrate import Range, calibrate
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import Scheme
from reference.train import Batch
from tests.small.models import small_model
from tests.small.sentences import copied, random_batch, sentences


def seen_by(model: Transformer, batch: Batch | None = None) -> dict[str, Range]:
    """What a model's sites take on a batch: a random one unless it is given."""
    return calibrate(model, [random_batch(model.config.vocabulary_size) if batch is None else batch])


def planned(model: Transformer, scheme: Scheme, batch: Batch | None = None) -> Plan:
    """The plan of a model calibrated on a batch: a random one unless it is given."""
    return make_plan(model, scheme, seen_by(model, batch))


def lowered(model: Transformer, scheme: Scheme, batch: Batch | None = None, name: str = "small") -> Program:
    """The program of that plan."""
    return lower(model, planned(model, scheme, batch), name=name)


def tiny_program(scheme: Scheme) -> Program:
    """A TINY model under a scheme: every kind of operation that the scheme's target has."""
    return lowered(small_model(seed=3), scheme, copied(sentences(4)), name="tiny")


def with_operation(program: Program, site: str, **fields: Any) -> Program:
    """The program with fields of one operation changed."""
    old = operation_of(program, site)
    functions = [
        msgspec.structs.replace(
            function,
            operations=[msgspec.structs.replace(op, **fields) if op is old else op for op in function.operations],
        )
        for function in program.manifest.functions
    ]
    return Program(msgspec.structs.replace(program.manifest, functions=functions), program.constants)


def with_constant(program: Program, name: str, values: dict[int | tuple[int, ...], int]) -> Program:
    """The program with elements of one constant changed."""
    array = program.constants[name].copy()
    for index, value in values.items():
        assert array[index] != value
        array[index] = value
    return Program(program.manifest, program.constants | {name: array})


def with_origin(program: Program, origin: str) -> Program:
    """The program with another text of where it comes from."""
    return Program(msgspec.structs.replace(program.manifest, origin=origin), program.constants)
