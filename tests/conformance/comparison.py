"""What a comparison with third-party code found, and the file that a table of all of them is made from."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT = ""
"""The deviation of an oracle that has none."""


class Comparison:
    """Codes of one operator against one oracle; every difference must be the one that `deviation` explains.

    Parameters
    ----------
    operator : str
        Name of the kernel in docs/operators, and of the scheme if it has several.
    oracle : str
        Distribution name of the package.
    target : str
        What the oracle stands for.
    deviation : str
        What the oracle is known to do differently; empty if nothing.
    case : str
        Widths, lengths, whatever tells this comparison from others of the same operator.
    """

    def __init__(self, operator: str, oracle: str, target: str, deviation: str = EXACT, *, case: str = "") -> None:
        self.operator, self.oracle, self.target = operator, oracle, target
        self.deviation, self.case = deviation, case
        self.codes = self.different = self.unexplained = 0

    def add(
        self,
        got: NDArray[Any],
        want: NDArray[Any],
        *,
        explained: NDArray[np.bool_] | None = None,
        case: object = "",
    ) -> None:
        """Compare the project's codes with the oracle's; fail at the first difference that is not `explained`."""
        assert got.shape == want.shape, f"{self.operator}: shape {got.shape}, {self.oracle} has {want.shape} ({case})"
        differs = np.asarray(got != want)
        unexplained = differs if explained is None else differs & ~explained
        self.codes += got.size
        self.different += int(differs.sum())
        self.unexplained += int(unexplained.sum())
        if unexplained.any():
            where = tuple(int(i) for i in np.argwhere(unexplained)[0])
            found = f"{got[where]}, {self.oracle} has {want[where]} at {where}"
            raise AssertionError(f"{self.operator}: {found}; {unexplained.sum()} of {got.size} differ ({case})")

    def finish(self, at_least: int) -> None:
        """Assert that enough was compared, and that a deviation said to exist was met."""
        assert self.codes >= at_least, f"{self.operator}: {self.codes} codes compared; wanted {at_least}"
        assert (self.different > 0) == (self.deviation != EXACT), f"{self.operator}: {self.different} differences"

    def record(self) -> dict[str, object]:
        """One row of the table."""
        return {
            "operator": self.operator,
            "case": self.case,
            "target": self.target,
            "oracle": self.oracle,
            "version": version(self.oracle),
            "codes": self.codes,
            "different": self.different,
            "unexplained": self.unexplained,
            "deviation": self.deviation,
        }


class Results:
    """All comparisons of a session."""

    def __init__(self) -> None:
        self._comparisons: list[Comparison] = []

    def start(self, operator: str, oracle: str, target: str, deviation: str = EXACT, *, case: str = "") -> Comparison:
        """A comparison that will be in the file whatever becomes of it."""
        comparison = Comparison(operator, oracle, target, deviation, case=case)
        self._comparisons.append(comparison)
        return comparison

    def write(self, path: str) -> None:
        """JSON: where the comparisons were made, and a record of each in the order of the tests."""
        made = {
            "command": os.environ.get("HWSIM_CONFORMANCE_COMMAND", "pytest tests/conformance"),
            "seed": "the name of each test's cases",
            "commit": os.environ.get("HWSIM_CONFORMANCE_COMMIT", "unknown"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "records": [comparison.record() for comparison in self._comparisons],
        }
        Path(path).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
