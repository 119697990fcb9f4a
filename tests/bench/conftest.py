"""Times of kernels, by pytest-benchmark: `python -m pytest tests/bench`. Not part of the suite; nothing is judged."""

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("pytest_benchmark") else ["test_*.py"]
"""Without the extra `bench` there is nothing to collect."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here measures."""
    for item in items:
        if item.path.parent.name == "bench" and item.path.parent.parent.name == "tests":
            item.add_marker(pytest.mark.bench)
