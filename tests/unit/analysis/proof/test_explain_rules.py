"""Rules are found by their codes alone, ranked, and never claimed without them; schemes, tables, JSON and figure."""

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import msgspec
import pytest
from rich.console import Console

from analysis.plots import png
from analysis.proof.divergence import Stage
from analysis.proof.divergence.stage import ROUNDINGS, wrapped
from analysis.proof.explain import Cause, Explanation, compare_schemes, explain, render
from analysis.proof.explain.plot import figure
from analysis.proof.explain.records import DEFINITIONS
from analysis.proof.explain.rules import Rounded, explain_rounding, observe, rank
from analysis.proof.explain.schemes import nearest
from hwsim.formats import IntFormat
from hwsim.program import Program
from hwsim.program.catalogue import CATALOGUE
from reference.quantize.scheme import preset, scheme_for
from tests.small.programs import tiny_program
from tests.unit.analysis.proof.test_explain import ROWS, swapped

INT8 = IntFormat(bits=8)


@dataclass(frozen=True)
class Planted:
    """A rule of B, and what it must be called."""

    make: Callable[[Stage], int]
    kind: str
    text: str
    zero_point: int = 3
    scaling: str = "half_even"
    terms: bool = False


def other(name: str) -> Callable[[Stage], int]:
    return lambda s: s._replace(scaling=name).code


def each(stage: Stage) -> int:
    return stage.fit(sum(round(term) for term in stage.terms) + stage.zero_point)


PLANTED = {
    "ties up": Planted(other("half_up"), "ties", "ties: B rounds half_up, A half_even"),
    "ties away": Planted(other("half_away"), "ties", "ties: B rounds half_away, A half_even"),
    "ties down": Planted(other("half_down"), "ties", "ties: B rounds half_down, A half_even"),
    "floor": Planted(other("floor"), "rounding", "B rounds floor, A half_even"),
    "toward zero": Planted(other("toward_zero"), "rounding", "B rounds toward_zero, A half_even"),
    "wrap": Planted(lambda s: wrapped(s.unclamped, 8), "saturation", "saturation missing: B keeps the low 8 bits"),
    "no clamp": Planted(lambda s: s.unclamped, "saturation", "saturation missing: B does not clamp to int8"),
    "narrow": Planted(lambda s: max(s.code, -127), "saturation", "narrow, to -127 instead of -128"),
    "no zero point": Planted(lambda s: s._replace(zero_point=0).code, "zero_point", "does not add the zero point"),
    "zero point": Planted(lambda s: s._replace(zero_point=5).code, "zero_point", "zero point 5 in B, 3 in A"),
    "zero point before": Planted(
        lambda s: s.fit(ROUNDINGS["half_even"](*(s.value).as_integer_ratio())),
        "ties",
        "ties: B rounds half_odd",  # an odd zero point moves ties to the other neighbour: the same codes
    ),
    "shift": Planted(lambda s: s._replace(shift=s.shift + 1).code, "multiplier", "B shifts by +1 bits"),
    "multiplier": Planted(lambda s: s._replace(multiplier=s.multiplier + 1).code, "multiplier", "A's +1 in B"),
    "accumulator": Planted(
        lambda s: s._replace(integer=wrapped(s.integer, 11)).code, "accumulator", "wraps at 11 bits in B"
    ),
    "saturated": Planted(
        lambda s: s._replace(integer=min(max(s.integer, -1024), 1023)).code, "accumulator", "saturates at 11 bits"
    ),
    "operands": Planted(each, "order", "rounds each operand, half_even, and then adds", terms=True),
}


def sample(planted: Planted) -> list[Rounded]:
    rng = random.Random(4)
    rounded = []
    for _ in range(1500):
        x = rng.randrange(-1600, 1600)
        a = rng.randrange(-1600, 1600)
        terms = (Fraction(a * 6, 64), Fraction((x - a) * 6, 64)) if planted.terms else ()
        stage = Stage(x, 6, 6, planted.scaling, planted.zero_point, INT8, terms=terms)
        rounded.append(Rounded(stage, stage.code, planted.make(stage)))
    return rounded


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_rule_is_named_first(name: str) -> None:
    planted = PLANTED[name]
    causes = explain_rounding(sample(planted))
    assert causes[0].exact and causes[0].kind == planted.kind and planted.text in causes[0].text
    assert all(cause.exact for cause in causes)


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        ("q31_double", "half_up", "B rounds the exact product once, half_up; A scales by q31_double"),
        ("half_up", "q31_double", "B scales by q31_double, A by half_up"),
        ("half_even", "float32", "B scales by float32, A by half_even"),
        ("float32", "half_even", "B rounds the exact product once, half_even; A scales by float32"),
    ],
)
def test_schemes_are_told_apart(ours: str, theirs: str, text: str) -> None:
    """Double against single rounding, binary32 against the exact product."""
    rng = random.Random(5)
    wide, rounded = IntFormat(bits=32), []
    for _ in range(6000):
        x = rng.randrange(-(1 << 30), 1 << 30)
        m, e = ((1 << 30) + 12345, 38) if "q31" in ours + theirs else (11184811, 28)
        stage = Stage(x, m, e, ours, 0, wide)
        rounded.append(Rounded(stage, stage.code, stage._replace(scaling=theirs).code))
    assert any(one.a != one.b for one in rounded)
    assert text in [cause.text for cause in explain_rounding(rounded) if cause.exact]


def test_a_rule_that_misses_one_code_is_not_exact() -> None:
    rounded = sample(PLANTED["ties up"])
    where = next(i for i, one in enumerate(rounded) if one.a == one.b)
    rounded[where] = rounded[where]._replace(b=rounded[where].b + 1)
    causes = explain_rounding(rounded)
    assert causes and not any(cause.exact for cause in causes)
    assert causes[0].reproduced == causes[0].checked - 1 and "half_up" in causes[0].text


def test_nothing_is_said_of_codes_that_are_not_rounded() -> None:
    assert explain_rounding([Rounded(None, 1, 2)]) == []
    assert observe([Rounded(None, 1, 2)]) == ["differing codes that A does not round, as of masked keys: 1 of 1"]
    assert explain_rounding([Rounded(Stage(8, 1, 3, "floor", 0, INT8), 1, 1)]) == []


def test_exact_causes_hide_the_others() -> None:
    causes = [Cause(kind="k", text=str(n), checked=4, reproduced=n) for n in (1, 4, 3, 4, 2, 0)]
    assert [cause.reproduced for cause in rank(causes)] == [4]
    assert [cause.reproduced for cause in rank([cause for cause in causes if not cause.exact])] == [3, 2, 1]
    assert not Cause(kind="k", text="nothing was checked", checked=0, reproduced=0).exact


# --- two targets, and what is shown -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tflm() -> Program:
    return tiny_program(scheme_for("tflm", name="tflm"))


@pytest.fixture(scope="module")
def targets(tflm: Program) -> Explanation:
    tosa = tiny_program(scheme_for("tosa", name="tosa"))
    return explain(tflm, tosa, ROWS, names=("tflm", "tosa"))


def test_two_targets_differ_by_their_schemes(targets: Explanation) -> None:
    found = targets
    causes = {site.site: site.cause for site in found.origins}
    assert causes["encoder.0.self_attention.key"] == "requantization q31_single in B, q31_double in A"
    assert causes["encoder.0.self_attention.layernorm.output"] == (
        "another operation: layernorm in B, tflite_layernorm in A"
    )
    assert "unexplained" not in causes.values()
    assert not any(site.site.endswith("accumulator") for site in found.origins)


def test_other_structures_are_compared_where_they_can_be() -> None:
    """One has a shift before its scores and parts of a softmax, the other has not; their operands mean other things."""
    ours, theirs = tiny_program(preset("int8")), tiny_program(scheme_for("pulp", name="pulp"))
    for a, b in ((ours, theirs), (theirs, ours)):
        found = explain(a, b, ROWS, steps=2)
        assert not found.equal and found.calls == 3
        reported = {site.site for site in found.sites}
        assert "encoder.0.self_attention.scores" in reported and reported.isdisjoint(found.not_compared)
    missing = explain(ours, theirs, ROWS, steps=0).not_compared
    assert missing["encoder.0.self_attention.scores.shifted"] == "encode: B does not make it"


def test_the_json_holds_all_with_definitions(targets: Explanation) -> None:
    found, text = targets, targets.json()
    assert msgspec.json.decode(text, type=Explanation) == found
    record = json.loads(text)
    assert record["definitions"] == DEFINITIONS and record["a"] == "tflm" and record["equal"] is False
    for site in found.sites:
        histogram = site.histogram
        assert sum(histogram.codes.values()) + histogram.below + histogram.above == site.compared
        assert site.compared - histogram.codes.get(0, 0) == site.different
        on_equal = site.histogram_on_equal_inputs
        unequal = sum(n for lsb, n in on_equal.codes.items() if lsb) + on_equal.below + on_equal.above
        assert unequal == site.different_on_equal_inputs


def shown(found: Explanation, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(*render(found), sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_says_where_and_why(targets: Explanation, width: int) -> None:
    found = targets
    text = shown(found, width)
    words = " ".join(text.split())
    first = found.first
    assert first is not None and "…" not in text
    for part in (
        "A = tflm, B = tosa",
        f"index {list(first.index)}",
        f"accumulator {first.accumulator:,}",
        "a tie",
        "requantization q31_single in B, q31_double in A",
        "Sites that differ because an input does",
    ):
        assert part in words
    assert max(map(len, text.splitlines())) <= width


def test_the_terminal_says_that_nothing_differs(tflm: Program) -> None:
    found = explain(tflm, tflm, ROWS, steps=1)
    made = found.sites_made
    assert f"no difference: {made} of {made} sites compared, {found.compared:,} codes" in shown(found)
    assert figure(found).axes[0].get_ylabel() == "codes that differ (share)"


def test_the_figure(targets: Explanation) -> None:
    found = targets
    assert png(figure(found)).startswith(b"\x89PNG")
    axes = figure(found).axes
    assert len(axes) == 5 and "differs on equal inputs" in str(axes[0].get_legend().get_texts()[0])
    assert all(one.get_xlabel() == "B − A (LSB)" for one in axes[1:])
    with pytest.raises(ValueError, match="no site was compared"):
        figure(msgspec.structs.replace(found, sites=[]))


def test_one_origin_has_one_panel() -> None:
    int8 = tiny_program(preset("int8"))
    found = explain(int8, swapped(int8, 3, 4), ROWS, steps=0)
    assert len(figure(found).axes) == 2


# --- two schemes on the same accumulators -----------------------------------------------------------------------------


def test_two_schemes_on_the_same_accumulators(tflm: Program) -> None:
    found = compare_schemes(tflm, "*.scores", "q31_double", "q31_single", ROWS)
    assert [site.site for site in found.sites] == [
        f"{block}.scores"
        for block in ("encoder.0.self_attention", "decoder.0.self_attention", "decoder.0.cross_attention")
    ]
    assert not found.equal and found.exit_code == 1
    for site in found.sites:
        assert site.one.ratio_error == site.other.ratio_error == 0.0 and site.max_lsb <= 1
        assert site.histogram.codes.get(0, 0) == site.codes - site.different
        assert site.one.ties >= site.different  # double rounding errs at its own ties
    assert json.loads(found.json())["one"] == "q31_double"
    console = Console(width=100, file=io.StringIO())
    console.print(found.table())
    assert compare_schemes(tflm, "*.scores", "q31_double", "q31_double", ROWS).exit_code == 0


def test_schemes_with_fewer_bits_err_by_their_ratio(tflm: Program) -> None:
    (site,) = compare_schemes(tflm, "encoder.0.self_attention.query", "half_up", "narrow_after", ROWS, steps=0).sites
    assert site.one.ratio_error == 0.0 < site.other.ratio_error < 2**-8 and site.different > 0


def test_the_nearest_ratio() -> None:
    assert nearest(Fraction(1, 8), CATALOGUE["shift"].limits) == (1, 3)
    assert nearest(Fraction(1, 8), CATALOGUE["q31_double"].limits) == (1 << 30, 33)
    assert nearest(Fraction(3, 7), CATALOGUE["narrow_after"].limits) == (219, 9)
    with pytest.raises(ValueError, match=r"the ratio 1000; its multipliers are 1 to 1"):
        nearest(Fraction(1000), CATALOGUE["shift"].limits)


def test_bad_schemes_and_patterns(tflm: Program) -> None:
    with pytest.raises(ValueError, match=r"unknown scheme 'nearest'; known: q31_double, .*half_even"):
        compare_schemes(tflm, "*.scores", "nearest", "q15", ROWS)
    with pytest.raises(ValueError, match=r"'\*scoers' matches no requantized site; similar: .*scores"):
        compare_schemes(tflm, "*scoers", "q15", "q15", ROWS)
    with pytest.raises(ValueError, match="not made in 0 decode steps"):
        compare_schemes(tflm, "decoder.0.self_attention.scores", "q15", "q15", ROWS, steps=0)
    with pytest.raises(ValueError, match="no sentence"):
        compare_schemes(tflm, "*", "q15", "q15", [])
