"""Set-up shared by every test."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.golden.tables import complaint

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; must be set before torch is first imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.pop("COLUMNS", None)  # of a worker: readline put it there, and it would decide how wide tables are

# Hypothesis would fail an example that takes 0.2 s, which one that compiles a kernel does; on CI it does not by itself
settings.register_profile("no deadline", parent=settings(), deadline=None)
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--golden DIR`: here and not beside the tests that use it, so that pytest knows it whatever it is to run."""
    parser.addoption("--golden", metavar="DIR", help="directory of tables that tests/golden reads instead of its own")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a directory that cannot serve before anything is collected."""
    directory = config.getoption("golden")
    problem = complaint(Path(directory)) if directory is not None else None
    if problem:
        raise pytest.UsageError(problem)
