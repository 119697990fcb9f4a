"""Every pass over the operation set knows every operation: the list in docs/architecture.md, table by table."""

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, get_args

import msgspec
import pytest

from hwsim.program.operations import CONSTANTS, READ, WRITTEN, Operation
from hwsim.program.targets import LayerNormMethod, ResidualMethod, SoftmaxMethod
from reference.quantize.graph import Kind
from reference.quantize.plan import constants
from tests import ROOT

KEYS: dict[str, Iterable[Any]] = {
    "operation": get_args(Operation),
    "node": list(Kind),
    "softmax method": get_args(SoftmaxMethod),
    "LayerNorm method": get_args(LayerNormMethod),
    "residual method": get_args(ResidualMethod),
    "softmax constants": get_args(constants.AnySoftmaxConstants),
    "LayerNorm constants": get_args(constants.AnyLayerNormConstants),
    "residual constants": get_args(constants.AnyAddConstants),
}
SECTION = (ROOT / "docs" / "architecture.md").read_text().split("## What a new operation needs\n")[1].split("\n## ")[0]
PASSES = re.findall(r"^\| ([^|]+?) \| `([\w.]+)` \| ([^|]+?) \|$", SECTION, re.MULTILINE)


def name(key: object) -> str:
    return key.__name__ if isinstance(key, type) else str(getattr(key, "value", key))


def holes(table: Mapping[Any, object], keys: Iterable[Any]) -> set[str]:
    """Names of the keys that a table lacks."""
    return {name(key) for key in keys} - {name(key) for key in table}


@pytest.mark.parametrize(("what", "path", "kind"), PASSES, ids=[path for _, path, _ in PASSES])
def test_every_pass_knows_every_operation(what: str, path: str, kind: str) -> None:
    module, _, table = path.rpartition(".")
    passes = getattr(import_module(module), table)
    missing = holes(passes, KEYS[kind])
    assert not missing, f"{what}: {path} does not know {', '.join(sorted(missing))}"
    assert not holes(dict.fromkeys(KEYS[kind]), passes), f"{what}: {path} knows what is no {kind}"


def test_the_list_has_the_passes_that_there_are() -> None:
    assert {kind for _, _, kind in PASSES} == set(KEYS)
    assert sum(kind == "operation" for _, _, kind in PASSES) == 9
    assert len({path for _, path, _ in PASSES}) == len(PASSES) == 21


@pytest.mark.parametrize("operation", get_args(Operation), ids=name)
def test_every_name_in_a_record_is_read_made_or_a_constant(operation: type[Operation]) -> None:
    """Else nobody would check that it exists, move its bytes, or write it down."""
    fields = msgspec.structs.fields(operation)
    names = {field.name for field in fields if str in (field.type, *get_args(field.type))}
    unknown = names - {*READ, *WRITTEN, *CONSTANTS}
    assert not unknown, f"{operation.__name__}: READ, WRITTEN and CONSTANTS lack {', '.join(sorted(unknown))}"
    assert "output" in names


def test_a_hole_is_named() -> None:
    table = dict.fromkeys(get_args(Operation))
    gone = next(operation for operation in table if operation.__name__ == "ItaMax")
    del table[gone]
    assert holes(table, get_args(Operation)) == {"ItaMax"}
    assert holes({Kind.ADD: 1}, Kind) == {kind.value for kind in Kind} - {"add"}
