"""What a run prints and writes: shares by area, survivors, and a record as JSON."""

import json
import os
import platform
import shlex
import sys
from collections import Counter
from datetime import UTC, datetime

from trial import EQUIVALENT, KILLED, REPLACED, SURVIVED, TIMED_OUT, Result

COUNTED = (KILLED, TIMED_OUT, SURVIVED)


def short(operator: str) -> str:
    return operator.partition("/")[2]


def table(results: list[Result]) -> str:
    """Mutants and outcomes by area; the share is of those that were tried and are not equivalent."""
    columns = (KILLED, TIMED_OUT, SURVIVED, EQUIVALENT, *REPLACED)
    lines = [f"{'area':28}" + "".join(f"{name:>13}" for name in ("mutants", *columns, "share killed"))]
    areas = sorted({one.mutant.area for one in results})
    for name in [*areas, "all"]:
        count = Counter(one.outcome for one in results if name in ("all", one.mutant.area))
        tried = sum(count[outcome] for outcome in COUNTED)
        share = f"{(tried - count[SURVIVED]) / tried:.0%}" if tried else "-"
        cells = (tried + count[EQUIVALENT], *(count[column] for column in columns), share)
        lines.append(f"{name:28}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def survivor(result: Result) -> str:
    mutant, choice = result.mutant, result.choice
    assert choice is not None
    run = len(choice.first) + len(choice.second)
    left_out = f", no time for {choice.left_out}" if choice.left_out else ""
    tests = f"{run} tests run; {choice.executing} execute it{left_out}"
    return f"{mutant.path}:{mutant.line}  {short(mutant.operator)}  ({tests})\n{difference(result)}"


def difference(result: Result) -> str:
    signed = [("-", line) for line in result.mutant.before.split("\n")]
    signed += [("+", line) for line in result.mutant.after.split("\n")]
    return "\n".join(f"  {sign} {line}" for sign, line in signed)


def equivalent(result: Result) -> str:
    return f"{result.mutant.path}:{result.mutant.line}  {result.reason}\n{difference(result)}"


def as_json(results: list[Result], began: datetime, seed: int, lines: dict[str, int]) -> str:
    context = {
        "command": f".ci/mutants {shlex.join(sys.argv[3:])}",
        "seed": seed,
        "commit": os.environ.get("HWSIM_MUTANTS_COMMIT", ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "began": began.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
        "lines": lines,
    }
    mutants = [
        {
            "file": str(one.mutant.path),
            "line": one.mutant.line,
            "area": one.mutant.area,
            "operator": one.mutant.operator,
            "before": one.mutant.before,
            "after": one.mutant.after,
            "outcome": one.outcome,
            "killed_by": one.killed_by,
            "reason": one.reason,
            "tests": len(one.choice.first) + len(one.choice.second) if one.choice else 0,
            "tests_that_execute_the_line": one.choice.executing if one.choice else 0,
            "of_those_left_out": one.choice.left_out if one.choice else 0,
            "seconds": round(one.seconds, 1),
        }
        for one in results
    ]
    return json.dumps({"context": context, "mutants": mutants}, indent=1) + "\n"
