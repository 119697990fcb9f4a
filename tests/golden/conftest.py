"""The tables that the tests read: those of this repository, or with `--golden DIR` others of the same format."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from tests.golden.tables import AUTHORS, Read, Table, read


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Read:
    """Reads a table by its name."""
    directory = Path(pytestconfig.getoption("golden") or AUTHORS)
    return lambda name: read(directory, name)


@pytest.fixture(scope="session")
def own(pytestconfig: pytest.Config) -> bool:
    """Whether the tables are those of this repository, of which more is known."""
    return pytestconfig.getoption("golden") is None


@pytest.fixture(params=["kernels", "oracles"])
def engine(request: pytest.FixtureRequest) -> ModuleType:
    """The kernels, and the pure-Python oracle: both are held by tables that nobody here made."""
    return import_module(f"tests.golden.{request.param}")


Rows = Callable[..., Table]


@pytest.fixture(scope="session")
def within(golden: Read) -> Rows:
    """The rows of a table whose flags say that the operator is defined; there must be some."""

    def rows(name: str, **flags: int) -> Table:
        table = golden(name).where(**flags)
        assert len(table) > 0, f"{name} has no row within its range"
        return table

    return rows


@pytest.fixture(scope="session")
def beyond(golden: Read, own: bool) -> Rows:
    """The rows beyond the range. The tables of this repository have some; others need not."""

    def rows(name: str, *counts: str, **flags: int) -> Table:
        """`counts` are columns that are not 0."""
        table = golden(name).where(**flags)
        for count in counts:
            table = table.taken(table[count])
        if not len(table) and not own:
            pytest.skip(f"{name} has no row beyond its range")
        assert len(table) > 0, f"{name} has no row beyond its range"
        return table

    return rows
