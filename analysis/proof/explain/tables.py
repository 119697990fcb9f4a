"""Causes in a softmax's table: the entries that B must have, read from its numerators, or tried on its outputs."""

from collections.abc import Mapping, Sequence

from analysis.proof.divergence import Element
from analysis.proof.divergence.softmaxes import distances
from analysis.proof.explain.bench import Bench
from analysis.proof.explain.records import Cause
from analysis.proof.explain.tally import Sample
from hwsim.program import Program
from hwsim.program.operations import Softmax

SHOWN = 6


def explain_table(program: Program, operation: Softmax, samples: Sequence[Sample]) -> list[Cause]:
    """The entries that B's numerators imply, if one table can have made them all."""
    entries: dict[int, dict[int, int]] = {}  # distance -> code of B -> how often
    masked, checked = 0, 0
    for sample in samples:
        cache: dict[object, list[int | None]] = {}
        for at, code in zip(sample.at, sample.codes(sample.b), strict=True):
            row = at[:-1]
            if row not in cache:
                cache[row] = distances(operation, Element(program, operation.numerator, at, sample.values, {})).of
            distance, checked = cache[row][at[-1]], checked + 1
            if distance is None:
                masked += code == 0
            else:
                seen = entries.setdefault(distance, {})
                seen[code] = seen.get(code, 0) + 1
    table = [int(entry) for entry in program.constants[operation.table]]
    theirs = {distance: max(seen, key=lambda code: seen[code]) for distance, seen in sorted(entries.items())}
    wrong = {distance: code for distance, code in theirs.items() if code != table[distance]}
    if not wrong:
        return []
    reproduced = masked + sum(max(seen.values()) for seen in entries.values())
    return [Cause(kind="table", text=describe_entries(table, wrong), checked=checked, reproduced=reproduced)]


def explain_swap(program: Program, operation: Softmax, site: str, samples: Sequence[Sample]) -> list[Cause]:
    """Two neighbouring entries swapped, where the numerators themselves are not known: every pair is tried."""
    different = [sample for sample in samples if (sample.of(sample.a) != sample.of(sample.b)).any()]
    table = program.constants.held(operation.table).copy()  # held as it is: the bench reads what is swapped in it
    bench = Bench(Program(program.manifest, program.constants | {operation.table: table}))
    causes = []
    for i in range(len(table) - 1):
        if table[i] == table[i + 1]:
            continue
        table[[i, i + 1]] = table[[i + 1, i]]
        if _reproduced(bench, operation, site, different[:1]) == len(different[0].indices):
            text = describe_entries(
                [*program.constants[operation.table].tolist()], {k: int(table[k]) for k in (i, i + 1)}
            )
            checked = sum(len(sample.indices) for sample in samples)
            hits = _reproduced(bench, operation, site, samples)
            causes.append(Cause(kind="table", text=text, checked=checked, reproduced=hits))
        table[[i, i + 1]] = table[[i + 1, i]]
    return causes


def _reproduced(bench: Bench, operation: Softmax, site: str, samples: Sequence[Sample]) -> int:
    count = 0
    for sample in samples:
        made = bench.run(operation, sample.values)
        if made is not None:
            count += int((sample.of(made[site]) == sample.of(sample.b)).sum())
    return count


def describe_entries(table: Sequence[int], wrong: Mapping[int, int]) -> str:
    """Entries of a table that are others in B, and whether two of them are swapped."""
    if len(wrong) == 2:
        (i, x), (j, y) = wrong.items()
        if (x, y) == (table[j], table[i]):
            return f"swapped table entries: {i} holds {x} and {j} holds {y} in B, {y} and {x} in A"
    shown = ", ".join(f"{i} holds {code} in B, {table[i]} in A" for i, code in list(wrong.items())[:SHOWN])
    more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    text = f"table entr{'y' if len(wrong) == 1 else 'ies'} {shown}{more}"
    if len(wrong) == 1 and (code := next(iter(wrong.values()))) in table:
        text += f", the value of A's entry {table.index(code)}"
    return text
