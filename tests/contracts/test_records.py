"""Records that are read from files forbid fields that they do not know, down to the last part of each."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest

from hwsim.accelerator.energy_tables import EnergyTable
from hwsim.accelerator.hardware import Hardware
from hwsim.accelerator.workloads.custom import CustomWorkload
from hwsim.program import Manifest
from hwsim.program.operations import Operation
from reference.quantize.scheme import Scheme

READ = (Manifest, Hardware, CustomWorkload, EnergyTable, Scheme, *get_args(Operation))
LEAST = {Manifest: 25, Hardware: 5, CustomWorkload: 5, EnergyTable: 5, Scheme: 2}
"""So many records at least hang together: a walk that finds fewer has lost its way."""


def parts(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The records in a type, itself included."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from parts(field.type)
    for one in get_args(kind):
        yield from parts(one)


@pytest.mark.parametrize("record", READ, ids=lambda record: record.__name__)
def test_unknown_fields_are_forbidden(record: type[msgspec.Struct]) -> None:
    found = set(parts(record))
    assert len(found) >= LEAST.get(record, 1)
    open_ = {one.__name__ for one in found if not one.__struct_config__.forbid_unknown_fields}
    assert not open_
