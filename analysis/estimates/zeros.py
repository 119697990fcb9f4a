"""Zero counts of a run, as `hwsim run` reports them."""

from pathlib import Path

import msgspec

from hwsim.accelerator.reading import short
from hwsim.accelerator.zeros import ZeroCounter, ZeroCounts
from hwsim.program import Program
from hwsim.reading import read_whole

MAX_BYTES = 100_000_000
"""Of a report: more than one of every sentence that is shipped."""


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
        If it is no such report, has no counts of the program, counts of other weights, or more zeros than MACs.
    """
    content = read_whole(path, "--zero-gating", MAX_BYTES)
    try:
        report = msgspec.json.decode(content, type=_Report)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"--zero-gating {path}: no report.json of `hwsim run`: {reason}") from None
    counted = {one.name: one.zeros for one in report.configurations if one.zeros is not None}
    scheme = program.manifest.scheme
    if scheme not in counted:
        known = ", ".join(short(name) for name in counted) or "nothing"
        raise ValueError(f"--zero-gating {path}: no zero counts of {scheme}; there are those of {known}")
    weights = ZeroCounter(program).counts.sites
    for output, site in counted[scheme].sites.items():
        if not 0 <= site.macs_zero <= site.macs:
            raise ValueError(
                f"--zero-gating {path}: {short(output)} has {site.macs_zero} zero MACs of {site.macs};"
                " allowed are 0 to all"
            )
        own = weights.get(output)
        if own is None or (site.weights, site.weights_zero) != (own.weights, own.weights_zero):
            raise ValueError(f"--zero-gating {path}: {short(output)} has other weights than the program; another ran")
    return counted[scheme]
