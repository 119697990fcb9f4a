"""A pytest plug-in with two uses: to record which test executes which line, and to run chosen tests in a chosen order.

Recording (`--mutation-record FOLDER`): coverage with the name of the running test as context, a fixture of more than
one test as a context of its own; which test uses which such fixture; how much time a test takes, and whether it fails.
Choosing (`--mutation-tests FILE`): the tests named in FILE, in that order, after an import of `--mutation-module`.
"""

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

TEST = "HWSIM_MUTANTS_TEST"  # tells coverage in a process that a test starts whose process it is
NOT_IMPORTED = 70  # exit code


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutation-record", type=Path, help="folder for the record")
    parser.addoption("--mutation-tests", type=Path, help="file with the tests to run, one a line")
    parser.addoption("--mutation-module", help="module that must be importable")


def pytest_configure(config: pytest.Config) -> None:
    if folder := config.getoption("--mutation-record"):
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        config.pluginmanager.register(Lines(folder, worker) if worker else Failures(folder))
    if tests := config.getoption("--mutation-tests"):
        config.pluginmanager.register(Chosen(tests.read_text().splitlines(), config.getoption("--mutation-module")))


def fixture_name(fixture: pytest.FixtureDef[object]) -> str:
    return f"fixture {fixture.baseid}::{fixture.argname}"


class Lines:
    """In a worker of pytest-xdist: the lines that every test and every shared fixture executes, and the time it takes.

    Time is the processor's, of processes that the test waits for as well: it is the same on a busy machine.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self.file = folder / f"worker-{worker}.json"
        self.coverage = coverage.Coverage(config_file=str(folder / "coveragerc"))
        self.fixtures: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = {}
        self.coverage.start()
        os.environ["COVERAGE_PROCESS_START"] = str(folder / "coveragerc")  # for processes that the tests start

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        known = getattr(item, "_fixtureinfo", None)
        every = [fixture for named in known.name2fixturedefs.values() for fixture in named] if known else []
        self.fixtures[item.nodeid] = [fixture_name(one) for one in every if one.scope != "function"]
        os.environ[TEST] = item.nodeid
        self.coverage.switch_context(item.nodeid)
        before = sum(os.times()[:4])
        result = yield
        self.seconds[item.nodeid] = sum(os.times()[:4]) - before
        self.coverage.switch_context("")
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
        before = os.environ[TEST]
        if fixturedef.scope != "function":
            os.environ[TEST] = fixture_name(fixturedef)
            self.coverage.switch_context(os.environ[TEST])
        try:
            return (yield)
        finally:
            os.environ[TEST] = before
            self.coverage.switch_context(before)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        self.coverage.save()
        self.file.write_text(json.dumps({"fixtures": self.fixtures, "seconds": self.seconds}))


class Failures:
    """In the process that hands out the tests: those that fail without a mutant."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "failed.json"
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(json.dumps(sorted(self.failed)))


class Chosen:
    """The tests to run, in the given order."""

    def __init__(self, tests: list[str], module: str) -> None:
        self.place = {test: place for place, test in enumerate(tests)}
        self.module = module

    def pytest_collection(self) -> None:
        try:
            importlib.import_module(self.module)
        except Exception as error:
            pytest.exit(f"{self.module} does not import: {error!r}", returncode=NOT_IMPORTED)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.place), key=lambda one: self.place[one.nodeid])
