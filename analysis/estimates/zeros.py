"""Zero counts of a run, as `hwsim run` reports them."""

from pathlib import Path

import msgspec

from hwsim.program import Program
from hwsim.zeros import ZeroCounts


class _Configuration(msgspec.Struct):
    """What is read of a configuration of a report."""

    name: str
    zeros: ZeroCounts | None = None


class _Report(msgspec.Struct):
    """What is read of a report."""

    configurations: tuple[_Configuration, ...]


def read_zeros(path: Path, program: Program) -> ZeroCounts:
    """Zero counts of a program from a `report.json`: those of the configuration that bears its scheme's name.

    Raises
    ------
    ValueError
        If it is no such report, or has no counts of the program.
    """
    try:
        report = msgspec.json.decode(path.read_bytes(), type=_Report)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise ValueError(f"--zero-gating {path}: no report.json of `hwsim run`: {reason}") from None
    counted = {one.name: one.zeros for one in report.configurations if one.zeros is not None}
    scheme = program.manifest.scheme
    if scheme not in counted:
        raise ValueError(
            f"--zero-gating {path}: no zero counts of {scheme}; there are those of {', '.join(counted) or 'nothing'}"
        )
    return counted[scheme]
