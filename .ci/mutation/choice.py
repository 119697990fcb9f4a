"""Which tests a mutant is run against, and in what order."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from record import Record
from sample import Mutant

FIRST_SECONDS = 15  # of the tests that are collected and run before all others
WHOLE, WHOLE_SECONDS = "tests/contracts/", 15  # quick tests that look at every file, by no import that can be followed


@dataclass(frozen=True)
class Choice:
    """Tests to run, in two lots: the second only when the first all pass."""

    first: list[str]
    second: list[str]
    seconds: float  # recorded, of both lots
    executing: int  # how many tests execute the line
    left_out: int  # how many of those there was no time for


def choose(record: Record, mutant: Mutant, seconds: float) -> Choice:
    """The tests that execute the line; then those near it: of its file, of the same test files, of what imports it.

    A line that coverage cannot see (compiled by numba, or run once at import) has only near ones. Files of tests stay
    together, near and quick ones first, within the time allowed.
    """
    by_line = record.tests_by_line(mutant.path)
    seen = mutant.in_function and not mutant.jitted
    executing = set().union(*(by_line.get(line, set()) for line in mutant.statement)) if seen else set()
    ranks = _ranks(record, mutant.path, executing, set().union(*by_line.values()), seen and bool(executing))
    groups: dict[tuple[int, int, Path], list[str]] = defaultdict(list)
    for test, (rank, distance) in ranks.items():
        groups[rank, distance, test_file(test)].append(test)
    cost = {key: sum(record.seconds[test] for test in tests) for key, tests in groups.items()}
    lots: tuple[list[str], list[str]] = ([], [])
    spent = 0.0
    for key in sorted(groups, key=lambda key: (key[0], cost[key] * (1 + key[1]), key[2])):
        for test in sorted(groups[key], key=record.seconds.__getitem__):
            if not spent or spent + record.seconds[test] <= seconds:
                lots[bool(lots[1]) or spent > FIRST_SECONDS].append(test)
                spent += record.seconds[test]
    return Choice(*lots, spent, len(executing), len(executing.difference(*lots)))


def _ranks(
    record: Record, path: Path, executing: set[str], near: set[str], certain: bool
) -> dict[str, tuple[int, int]]:
    """Of every test that may matter: 0 executes the line, 1 its file, 2 imports it or reads all; and how far it is."""
    distances = record.distances(path)
    far = max(distances.values(), default=0) + 1
    together = {test_file(test) for test in executing}
    ranks = {}
    for test in record.seconds:
        distance = distances.get(test_file(test), far)
        if test in executing:
            ranks[test] = (0, distance)
        elif test in near or test_file(test) in together:
            ranks[test] = (1, distance)
        elif (not certain and distance < far) or (test.startswith(WHOLE) and record.seconds[test] < WHOLE_SECONDS):
            ranks[test] = (2, distance)
    return ranks


def test_file(test: str) -> Path:
    return Path(test.partition("::")[0])
