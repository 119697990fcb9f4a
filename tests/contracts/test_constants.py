"""Every constant of the source stands in a table: who changes one says so there, and nobody does by the way.

`python -m tests.contracts.test_constants` writes the table, tests/golden/constants.json, anew.
"""

import ast
import importlib
import json
import pkgutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import analysis
import hwsim
import reference
from tests import GOLDEN

TABLE = GOLDEN / "constants.json"
OF_THE_PROCESSOR = ("hwsim.operators.gemm.engines",)
"""Modules whose constants are those of the machine that runs."""


def modules() -> Iterator[ModuleType]:
    """Every module of the source but those that are run."""
    for package in (hwsim, reference, analysis):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("__main__"):
                yield importlib.import_module(info.name)


def names(module: ModuleType) -> Iterator[str]:
    """Names in capitals that a module assigns at its top."""
    for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name) and one.id.isupper())


def plain(value: Any) -> Any:
    """A constant as JSON has it; a TypeError for what is no number, word, or collection of these."""
    if isinstance(value, Enum) and isinstance(value.value, str):
        return value.value
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(plain(key)): plain(one) for key, one in value.items()}
    raise TypeError(type(value))


def constants() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for module in modules():
        for name in names(module) if module.__name__ not in OF_THE_PROCESSOR else ():
            try:
                found.setdefault(module.__name__, {})[name] = plain(getattr(module, name))
            except TypeError:
                continue
    return {name: dict(sorted(found[name].items())) for name in sorted(found) if found[name]}


def test_constants_are_those_of_the_table() -> None:
    found, table = constants(), json.loads(TABLE.read_text())
    assert set(found) == set(table), "python -m tests.contracts.test_constants"
    for module, values in found.items():
        assert values == table[module], f"{module}: if it is meant, python -m tests.contracts.test_constants"


def test_what_is_no_constant_is_left_out() -> None:
    assert plain({"a": (1, 2.5, [True])}) == {"a": [1, 2.5, [True]]}
    for other in (object(), {1: print}, {1, 2}):
        with pytest.raises(TypeError):
            plain(other)


if __name__ == "__main__":
    TABLE.write_text(json.dumps(constants(), indent=1, ensure_ascii=False) + "\n")
