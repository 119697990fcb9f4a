"""Other rules for one rounding, tried on sampled codes: which of them would make B's codes of A's inputs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from analysis.proof.divergence import Stage
from analysis.proof.divergence.columns import Columns
from analysis.proof.divergence.stage import NEAREST, ROUNDINGS, SCALINGS, wrapped
from analysis.proof.explain.records import Cause
from hwsim.formats import Rounding

FEW, SCREENED = 32, 512
"""Codes of either kind that every rule is tried on, and then those rules that missed none of them."""
STANDARD = [rounding.value for rounding in Rounding]
SHOWN = 3
"""Rules that reproduce only a part of the codes are no explanation; so many are told."""


AnyStage = Stage | Columns
Code = Callable[[Any], Any]
"""Of a stage; for rules of upstream stages of columns too."""


class Rounded(NamedTuple):
    """A sampled code: its last rounding in A, if it has one, and both codes."""

    stage: Stage | None
    a: int
    b: int


class Rule(NamedTuple):
    """One hypothesis; `code` gives what B would make, None where the rule does not apply to the numbers."""

    kind: str
    text: str
    code: Code


def explain_rounding(sample: Sequence[Rounded]) -> list[Cause]:
    """Causes that are another rule of the last rounding, exact ones first, then by share."""
    different = [one for one in sample if one.a != one.b]
    if not different or any(one.stage is None for one in different):
        return []
    equal = [one for one in sample if one.a == one.b and one.stage is not None]
    scores = [
        (sum(_fits(rule, one) for one in different[:FEW] + equal[:FEW]), rule) for rule in _rules(different, equal)
    ]
    all_few = min(FEW, len(different)) + min(FEW, len(equal))
    hits = [rule for score, rule in scores if score == all_few]
    for one in different[FEW:SCREENED] + equal[FEW:SCREENED]:
        hits = [rule for rule in hits if _fits(rule, one)]
    causes = rank([_tried(rule, different, equal) for rule in hits])
    if any(cause.exact for cause in causes):
        return causes
    best = [rule for _, rule in sorted(scores, key=lambda scored: -scored[0])[:SHOWN]]
    causes += [_tried(rule, different, equal) for rule in best]
    return rank([cause for cause in causes if cause.reproduced > len(equal)])


def _tried(rule: Rule, different: Sequence[Rounded], equal: Sequence[Rounded]) -> Cause:
    """A rule on all sampled codes."""
    reproduced = sum(_fits(rule, one) for one in (*different, *equal))
    return Cause(kind=rule.kind, text=rule.text, checked=len(different) + len(equal), reproduced=reproduced)


def rank(causes: Sequence[Cause]) -> list[Cause]:
    """All exact causes in the order given, else the best of the others; one that is told twice counts once."""
    told = {cause.text: cause for cause in reversed(causes)}
    once = [cause for cause in causes if told[cause.text] is cause]
    exact = [cause for cause in once if cause.exact]
    partial = sorted((c for c in once if not c.exact), key=lambda c: -c.reproduced / max(c.checked, 1))
    return exact or partial[:SHOWN]


def _fits(rule: Rule, one: Rounded) -> bool:
    return one.stage is not None and rule.code(one.stage) == one.b


def observe(sample: Sequence[Rounded]) -> list[str]:
    """What is true of all differing codes, whether or not a rule explains them."""
    different = [one for one in sample if one.a != one.b]
    stages = [one.stage for one in different if one.stage is not None]
    if len(stages) < len(different):
        unrounded = len(different) - len(stages)
        return [f"differing codes that A does not round, as of masked keys: {unrounded} of {len(different)}"]
    told: list[str] = []
    if not stages:
        return told
    if all(stage.is_tie for stage in stages):
        agreeing = sum(one.stage is not None and one.stage.is_tie for one in sample if one.a == one.b)
        lsb = "1 LSB" if all(abs(one.a - one.b) == 1 for one in different) else "more than 1 LSB"
        told.append(
            f"differing codes that are ties, off by {lsb}: {len(different)} of {len(different)}; equal ones: {agreeing}"
        )
    if all(stage.fit(stage.unclamped) != stage.unclamped for stage in stages):
        told.append(f"differing codes that are saturated in A: {len(different)} of {len(different)}")
    return told


def _rules(different: Sequence[Rounded], equal: Sequence[Rounded]) -> Iterator[Rule]:
    """Likely rules first: of those that fit alike the first is named."""
    first = different[0].stage
    assert first is not None
    ties = all(one.stage is not None and one.stage.is_tie for one in different)
    yield from _saturations(first, str(first.format))
    yield from _roundings(first, "ties: {}; the codes differ only where the value is a tie" if ties else None)
    yield from _sums(first)
    yield from _zero_points(first, different)
    yield from _ratios(first)
    yield from _accumulators([one.stage for one in (*different, *equal) if one.stage is not None])


def upstream_rules(first: AnyStage, formats: str, *, rounds_once: bool) -> Iterator[Rule]:
    """Roundings, ties and saturations of a stage whose codes in B are not known; they take `Columns` too.

    `formats` is what it clamps to; a sum that A rounds once is not rounded once in other words.
    """
    yield from _saturations(first, formats)
    yield from _roundings(first, "ties: {}")
    yield from _sums(first, once=not rounds_once)


def _saturations(first: AnyStage, formats: str) -> Iterator[Rule]:
    fmt = first.format
    low = f"low {fmt.bits} bits"
    yield Rule(
        "saturation",
        f"saturation missing: B keeps the {low} of what lies outside {formats} (wraps)",
        lambda s: s.wrapped,
    )
    yield Rule("saturation", f"saturation missing: B does not clamp to {formats}", lambda s: s.unclamped)
    if fmt.signed and formats == str(fmt):
        narrow = not fmt.narrow
        lowest = -(1 << (fmt.bits - 1)) + narrow
        other = f"{'narrow, ' if narrow else 'full, '}to {lowest}"
        yield Rule(
            "saturation",
            f"B clamps to another range of {fmt.bits} bits: {other} instead of {fmt.min} at the bottom",
            lambda s: s.between(lowest, fmt.max),
        )
    if first.lowest is not None:
        yield Rule("saturation", "B does not raise 0 to 1", lambda s: s._replace(lowest=None).code)


def _roundings(first: AnyStage, at_ties: str | None) -> Iterator[Rule]:
    """`at_ties` is how to say that a rule is another at ties only, None if that is not what the codes show."""
    rule = first.last_rule
    for name in ROUNDINGS:
        if name == rule:
            continue
        text = f"B rounds {name}, A {rule}"
        if at_ties is not None and name in NEAREST and rule in NEAREST:
            yield Rule("ties", at_ties.format(text), _last(name))
        else:
            yield Rule("rounding", text, _last(name))
    if first.scaling in SCALINGS:
        for name in STANDARD:
            yield Rule(
                "scaling", f"B rounds the exact product once, {name}; A scales by {first.scaling}", _scaled(name)
            )
    for name in SCALINGS:
        if name != first.scaling:
            yield Rule("scaling", f"B scales by {name}, A by {first.scaling}", _scaled(name))


def _last(name: str) -> Code:
    return lambda stage: stage.by(name)


def _scaled(name: str) -> Code:
    return lambda stage: stage.scaled(name)


def _sums(first: AnyStage, *, once: bool = True) -> Iterator[Rule]:
    """Of two operands: one rounding, or one each."""
    if not first.terms:
        return

    def together(name: str) -> Code:
        return lambda stage: stage.together(name)

    def each(name: str) -> Code:
        return lambda stage: stage.each(name)

    for name in STANDARD:
        yield Rule("order", f"B rounds each operand, {name}, and then adds", each(name))
        if once:
            yield Rule("order", f"B adds the operands exactly and rounds once, {name}", together(name))


def _zero_points(first: Stage, different: Sequence[Rounded]) -> Iterator[Rule]:
    def before(stage: Stage) -> int:
        n, d, rule, z = stage.quotient
        return stage.fit(ROUNDINGS[rule](n + z * d, d))

    def clamped_first(stage: Stage) -> int:
        rounded = stage.unclamped - stage.zero_point
        return stage.fit(stage.fit(rounded) + stage.zero_point)

    if first.zero_point:
        yield Rule("zero_point", "B does not add the zero point", lambda s: s._replace(zero_point=0).code)
        yield Rule("zero_point", "B adds the zero point before the rounding", before)
        yield Rule("zero_point", "B clamps before it adds the zero point, and after", clamped_first)
    for offset in [one.b - one.a for one in different if first.format.min < one.b < first.format.max][:1]:
        z = first.zero_point + offset
        yield Rule("zero_point", f"zero point {z} in B, {first.zero_point} in A", _zero(z))


def _zero(z: int) -> Callable[[Stage], int]:
    return lambda stage: stage._replace(zero_point=z).code


def _ratios(first: Stage) -> Iterator[Rule]:
    """A shift or multiplier next to A's; with one a channel, all of them."""
    for step in (-2, -1, 1, 2):
        yield Rule("multiplier", f"B shifts by {step:+d} bits against A", _shifted(step))
    for step in (-1, 1):
        if first.multiplier > 1:
            yield Rule("multiplier", f"the multiplier is A's {step:+d} in B", _multiplied(step))


def _shifted(step: int) -> Callable[[Stage], int | None]:
    return lambda s: s._replace(shift=s.shift + step).code if s.shift + step >= 0 else None


def _multiplied(step: int) -> Callable[[Stage], int | None]:
    return lambda s: s._replace(multiplier=s.multiplier + step).code


def _accumulators(stages: Sequence[Stage]) -> Iterator[Rule]:
    """Widths that some of the scaled integers leave."""
    widest = max(_bits(stage.integer) for stage in stages)
    for bits in range(widest - 1, max(7, widest - 17), -1):
        yield Rule(
            "accumulator",
            f"the accumulator wraps at {bits} bits in B",
            lambda s, bits=bits: s._replace(integer=wrapped(s.integer, bits)).code,  # type: ignore[misc]
        )
        yield Rule(
            "accumulator",
            f"the accumulator saturates at {bits} bits in B",
            lambda s, bits=bits: s._replace(integer=saturated(s.integer, bits)).code,  # type: ignore[misc]
        )


def _bits(value: int) -> int:
    """Of a signed integer."""
    return (value if value >= 0 else ~value).bit_length() + 1


def saturated(value: int, bits: int) -> int:
    return min(max(value, -(1 << (bits - 1))), (1 << (bits - 1)) - 1)
