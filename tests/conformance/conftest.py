"""The third-party packages are needed here and nowhere else: nothing is collected without HWSIM_CONFORMANCE=1.

With it, a package that is missing is an import error, never a skip.
"""

import os
from collections.abc import Iterator

import pytest

from tests.conformance.comparison import Results

ENABLED = os.environ.get("HWSIM_CONFORMANCE") == "1"

collect_ignore_glob = [] if ENABLED else ["*"]


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    """The record of every comparison, written at the end to the path in HWSIM_CONFORMANCE_RESULTS."""
    gathered = Results()
    yield gathered
    path = os.environ.get("HWSIM_CONFORMANCE_RESULTS")
    if path:
        gathered.write(path)
