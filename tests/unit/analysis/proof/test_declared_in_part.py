"""What two programs declare differently makes all of the codes, a part or none; rules of rounding likewise."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from analysis.proof.divergence import Stage
from analysis.proof.explain.declared import explain_declared
from analysis.proof.explain.records import Cause
from analysis.proof.explain.rules import Rounded, explain_rounding
from analysis.proof.explain.tally import Sample
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.operations import Requantize
from tests.small.programs import with_constant
from tests.small.sentences import sentences
from tests.unit.analysis.proof.stage_cases import INT8
from tests.unit.analysis.proof.test_explain import with_format
from tests.unit.analysis.proof.test_explain_rules import PLANTED, sample

KEY, HIDDEN = "encoder.0.self_attention.key", "encoder.0.feed_forward.hidden"


def codes(program: Program) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    MachineStepper(Machine(program), sentences(4), values.__setitem__)
    return values


def names(program: Program) -> tuple[str, str]:
    """Constants with the multiplier and the shift of every channel."""
    made = operation_of(program, KEY)
    assert isinstance(made, Requantize)
    multiplier, shift = made.requantization.multiplier, made.requantization.shift
    assert isinstance(multiplier, str) and isinstance(shift, str)
    return multiplier, shift


@pytest.fixture(scope="module")
def other(tiny_int8: Program) -> Program:
    """Channel 0 with half its multiplier, channel 3 with a shift of one more."""
    multiplier, shift = names(tiny_int8)
    halved = int(tiny_int8.constants[multiplier][0]) // 2
    more = int(tiny_int8.constants[shift][3]) + 1
    return with_constant(with_constant(tiny_int8, multiplier, {0: halved}), shift, {3: more})


Change = Callable[[np.ndarray], None]


def declared(a: Program, b: Program, change: Change = lambda theirs: None, site: str = KEY) -> list[Cause]:
    """Causes at a site; all codes are sampled, those of B perhaps changed."""
    ours, theirs = codes(a), codes(b)[site].copy()
    change(theirs)
    call = Sample(np.argwhere(np.ones(theirs.shape)), ours, ours[site], theirs)
    return explain_declared(a, b, operation_of(a, site), site, [call])


def told(causes: list[Cause]) -> list[tuple[str, int, int]]:
    assert all(cause.declared and cause.exact == (cause.reproduced == cause.checked) for cause in causes)
    return [(cause.text, cause.reproduced, cause.checked) for cause in causes]


def words(tiny_int8: Program, other: Program) -> tuple[str, str]:
    texts = []
    for field, name, channel in zip(("multiplier", "shift"), names(tiny_int8), (0, 3), strict=True):
        x, y = int(tiny_int8.constants[name][channel]), int(other.constants[name][channel])
        text = f"requantization.{field}: 1 of 8 elements differ: [{channel}] is {y} in B, {x} in A"
        texts.append(text)
    return texts[0], texts[1]


def differing(a: Program, b: Program) -> np.ndarray:
    """Codes that differ in each channel."""
    return np.asarray((codes(a)[KEY] != codes(b)[KEY]).sum((0, 1)))


def test_two_changes_make_a_part_each_and_all_together(tiny_int8: Program, other: Program) -> None:
    total, unequal = codes(tiny_int8)[KEY].size, differing(tiny_int8, other)
    assert unequal[0] > 3 and unequal[3] > 3 and unequal.sum() == unequal[0] + unequal[3]
    assert told(declared(tiny_int8, other)) == [(", and ".join(words(tiny_int8, other)), total, total)]


def test_codes_that_neither_change_makes(tiny_int8: Program, other: Program) -> None:
    """One code of channel 5 is changed: together they make all but that, alone not the other's channel either."""

    def change(theirs: np.ndarray) -> None:
        theirs[0, 0, 5] += 1

    total, unequal = codes(tiny_int8)[KEY].size, differing(tiny_int8, other)
    multiplier, shift = words(tiny_int8, other)
    alone = [(multiplier, int(total - 1 - unequal[3]), total), (shift, int(total - 1 - unequal[0]), total)]
    expected = [(f"{multiplier}, and {shift}", total - 1, total), *sorted(alone, key=lambda one: -one[1])]
    assert told(declared(tiny_int8, other, change)) == expected


def test_one_change_that_makes_all_hides_none(tiny_int8: Program) -> None:
    name = names(tiny_int8)[1]
    more = with_constant(tiny_int8, name, {2: int(tiny_int8.constants[name][2]) + 1})
    total = codes(tiny_int8)[KEY].size
    (cause,) = declared(tiny_int8, more)
    assert cause.kind == "multiplier" and (cause.reproduced, cause.checked, cause.exact) == (total, total, True)


def test_a_change_that_makes_nothing_is_not_told(tiny_int8: Program) -> None:
    """B's codes differ where its change does not reach, and are A's where it does."""
    name = names(tiny_int8)[1]
    more = with_constant(tiny_int8, name, {2: int(tiny_int8.constants[name][2]) + 1})
    ours = codes(tiny_int8)[KEY]

    def change(theirs: np.ndarray) -> None:
        theirs[:] = ours
        theirs[0, 0, 5] += 1

    assert declared(tiny_int8, more, change) == []


def test_another_clamp(tiny_int8: Program) -> None:
    """The format: five bits clamp a part of the codes; with one code changed, that one is missed."""
    narrow, total = with_format(tiny_int8, HIDDEN, 5), codes(tiny_int8)[HIDDEN].size
    text = f"{HIDDEN}: uint5 in B, uint8 in A, another clamp"
    assert told(declared(tiny_int8, narrow, site=HIDDEN)) == [(text, total, total)]

    def change(theirs: np.ndarray) -> None:
        theirs[0, 0, 5] += 40

    # the format alone and all changes together are the same text, told once
    assert told(declared(tiny_int8, narrow, change, HIDDEN)) == [(text, total - 1, total)]


def test_a_format_alone_is_enough(tiny_int8: Program) -> None:
    """Beside it a multiplier is one more, which changes no code: it is not told, and not both together."""
    made = operation_of(tiny_int8, HIDDEN)
    assert isinstance(made, Requantize) and isinstance(made.requantization.multiplier, str)
    name = made.requantization.multiplier
    close = with_constant(tiny_int8, name, {1: int(tiny_int8.constants[name][1]) + 1})
    assert np.array_equal(codes(close)[HIDDEN], codes(tiny_int8)[HIDDEN])
    total = codes(tiny_int8)[HIDDEN].size
    expected = [(f"{HIDDEN}: uint5 in B, uint8 in A, another clamp", total, total)]
    assert told(declared(tiny_int8, with_format(close, HIDDEN, 5), site=HIDDEN)) == expected


# --- rules of one rounding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_in_part(name: str) -> None:
    """Of every rule: two equal codes are changed to what no rule makes."""
    planted, rounded = PLANTED[name], sample(PLANTED[name])
    equal = [i for i, one in enumerate(rounded) if one.a == one.b][-2:]
    for i in equal:
        rounded[i] = rounded[i]._replace(b=1000)
    causes = explain_rounding(rounded)
    assert causes and not any(cause.exact for cause in causes)
    assert (causes[0].reproduced, causes[0].checked) == (1498, 1500)
    said = planted.text.removeprefix("ties: ")  # not so called where an equal code that is no tie is another
    assert any(said in cause.text for cause in causes)


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_that_would_change_an_equal_code(name: str) -> None:
    """The last code that the rule makes different is A's in B."""
    rounded = sample(PLANTED[name])
    last = max(i for i, one in enumerate(rounded) if one.a != one.b)
    rounded[last] = rounded[last]._replace(b=rounded[last].a)
    causes = explain_rounding(rounded)
    assert causes and not any(cause.exact for cause in causes)
    assert (causes[0].reproduced, causes[0].checked) == (1499, 1500)


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_for_half_of_the_codes(name: str) -> None:
    """Every second differing code is A's with 300 added, which no rule makes."""
    rounded = sample(PLANTED[name])
    where = [i for i, one in enumerate(rounded) if one.a != one.b]
    for i in where[1::2]:
        rounded[i] = rounded[i]._replace(b=rounded[i].a + 300)
    causes = [cause for cause in explain_rounding(rounded) if PLANTED[name].text in cause.text]
    made = 1500 - len(where[1::2])
    assert not any(cause.exact for cause in causes)
    assert [(cause.reproduced, cause.checked) for cause in causes] == [(made, 1500)] * len(causes)


def test_codes_that_no_rule_makes() -> None:
    """A rule that makes no more than the equal codes is not told."""
    rng = random.Random(6)
    stages = [Stage(rng.randrange(-400, 400), 6, 6, "half_even", 3, INT8) for _ in range(200)]
    rounded = [Rounded(stage, stage.code, stage.code + (5000 if i % 4 == 0 else 0)) for i, stage in enumerate(stages)]
    assert explain_rounding(rounded) == []
