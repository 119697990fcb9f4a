"""What cannot be planned or calibrated is refused by its site, and row, with what to do; and doing that helps."""

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest
import torch

from analysis.proof.equality import prove_equal
from hwsim.formats import Accumulator
from hwsim.machine import Machine
from hwsim.program.targets import TARGETS
from hwsim.program.validate import validate
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import make_plan
from reference.quantize.scheme import NATIVE, Rule, Scheme, preset, scheme_for
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import BOS
from tests.small.models import small_model
from tests.small.programs import planned, seen_by
from tests.small.pruned import pruned
from tests.small.sentences import sentences
from tests.unit.reference.quantize.plans import ONE, TWO, calibrated

NARROW = Scheme(name="narrow", weight_bits=4, activation_bits=4, residual_bits=8, accumulator=Accumulator(bits=12))
"""A bias has little room in its accumulators; those of attention are shorter sums."""


class Case(NamedTuple):
    """How a model is spoiled, under which scheme, and what the refusal must say: where, and what to do."""

    spoil: Callable[[Transformer], object]
    scheme: Scheme
    where: str
    advice: str


def _small(model: Transformer, rows: slice | int) -> None:
    """Rows that are small beside the bias of row 3, but not lost beside it."""
    layer = model.encoder[0].feed_forward.contract
    layer.weight[rows] *= 0.2
    layer.bias[3] = 10.0


def _beside_a_dead_unit(model: Transformer, rows: slice | int, bias: float) -> None:
    """Rows of a ReLU that are small beside the bias of row 3; row 5 never wakes."""
    layer = model.encoder[0].feed_forward.expand
    layer.weight[rows] *= 0.2
    layer.bias[3] = 10.0
    layer.bias[5] = bias


def _beside_a_lost_row(model: Transformer, rows: slice | int, weight: float) -> None:
    """Rows that are small beside the bias of row 3; row 5 is so small that it is lost at no cost."""
    layer = model.encoder[0].feed_forward.contract
    _small(model, rows)
    layer.weight[5] = weight
    layer.bias[5] = 5.0


def _loud(model: Transformer, factor: float) -> None:
    attention = model.encoder[0].self_attention
    for layer in (attention.query, attention.key):
        layer.weight.mul_(factor)


def _great(model: Transformer, factor: float) -> None:
    model.encoder[0].self_attention.output.weight.mul_(factor)


def _coarse(model: Transformer) -> None:
    """A beta beside gammas that are small, but not lost beside it."""
    norm = model.encoder[0].attention_residual.norm
    norm.weight.mul_(0.02)
    norm.bias[3] = 1000.0


def _faint(model: Transformer, factor: float) -> None:
    """Rows that are far smaller than a bias, and not lost beside it in 16 bits."""
    layer = model.encoder[0].feed_forward.contract
    layer.weight.mul_(factor)
    layer.bias[3] = 10.0


def _great_table(model: Transformer) -> None:
    model.target_embedding.weight.mul_(1e7)


def _infinite(model: Transformer) -> None:
    model.source_embedding.weight[BOS, 1] = float("inf")  # which no source has


def _rule(scheme: Scheme, **fields: object) -> Scheme:
    return msgspec.structs.replace(scheme, rules=[*scheme.rules, Rule(**fields)])  # type: ignore[arg-type]


SCORES = "encoder.0.self_attention.scores"
NORM = "encoder.0.self_attention.layernorm"
CONTRACT = "encoder.0.feed_forward.output.weight"
EXPAND = "encoder.0.feed_forward.hidden.weight"
CASES = {
    "a bias beside a small row and a dead unit": Case(
        lambda m: _beside_a_dead_unit(m, 3, -1e9), NARROW, f"site {EXPAND}: the bias of row 3 is ", "granularity"
    ),
    "a bias beside small rows and a dead unit": Case(
        lambda m: _beside_a_dead_unit(m, slice(None), -1e9),
        NARROW,
        f"site {EXPAND}: the bias of row 3 is ",
        "accumulators",
    ),
    "a bias beside small rows and a lost one": Case(
        lambda m: _beside_a_lost_row(m, slice(None), 1e-15),
        NARROW,
        f"site {CONTRACT}: the bias of row 3 is ",
        "accumulators",
    ),
    "a bias beside a small row": Case(
        lambda m: _small(m, 3), NARROW, f"site {CONTRACT}: the bias of row 3 is ", "granularity"
    ),
    "a bias beside small rows": Case(
        lambda m: _small(m, slice(None)), NARROW, f"site {CONTRACT}: the bias of row 3 is ", "accumulators"
    ),
    "scores of I-BERT": Case(lambda m: _loud(m, 5.0), preset(NATIVE, "ibert"), f"site {SCORES}: ", "bits"),
    "great scores of I-BERT": Case(lambda m: _loud(m, 900.0), preset(NATIVE, "ibert"), f"site {SCORES}: ", "range"),
    "scores of PULP": Case(lambda m: _loud(m, 5.0), preset(NATIVE, "pulp"), f"site {SCORES}: ", "bits"),
    "great scores of PULP": Case(lambda m: _loud(m, 900.0), preset(NATIVE, "pulp"), f"site {SCORES}: ", "range"),
    "a great operand": Case(lambda m: _great(m, 3e5), Scheme(name="a"), "self_attention.residual: one input", "bits"),
    "a far greater operand": Case(lambda m: _great(m, 3e7), Scheme(name="a"), "residual: one input", "range"),
    "a greater operand than weights may make": Case(
        lambda m: _great(m, 1e12), Scheme(name="a"), "residual: one input", "divide"
    ),
    "a beta beside gammas": Case(
        _coarse,
        _rule(
            _rule(Scheme(name="a"), pattern=f"{NORM}.quotient", bits=16), pattern=f"{NORM}.output", bits=16, range=0.05
        ),
        f"site {NORM}.gamma: the bias of row 3 is ",
        f"give {NORM}.output bits = ",
    ),
    "a beta far beyond its output": Case(
        _coarse,
        _rule(
            _rule(Scheme(name="a"), pattern=f"{NORM}.quotient", bits=16), pattern=f"{NORM}.output", bits=3, range=1e-6
        ),
        f"site {NORM}.gamma: the bias of row 3 is ",
        f"give {NORM}.output range = ",
    ),
    **{
        f"a great operand of {target}": Case(
            lambda m, factor=factor: _great(m, factor),  # type: ignore[misc]
            preset(NATIVE, target),
            "self_attention.residual: the scale of encoder.0.self_attention.output",
            advice,
        )
        for target, factor, advice in (
            ("tflm", 1e12, "range"),
            ("tosa", 1e16, "divide"),
            ("pulp", 1e12, "range"),
            ("ita", 1e12, "divide"),
        )
    },
    "a bias of Gemmini": Case(
        lambda m: _faint(m, 0.03),
        _rule(
            _rule(preset(NATIVE, "gemmini"), pattern="encoder.0.feed_forward.hidden", bits=16),
            pattern="encoder.0.feed_forward.output",
            bits=16,
        ),
        f"site {CONTRACT}: the bias of row 3 is ",
        "give encoder.0.feed_forward.output bits = ",
    ),
    "a bias of ITA": Case(
        lambda m: _faint(m, 0.03),
        _rule(
            _rule(preset(NATIVE, "ita"), pattern="encoder.0.feed_forward.hidden", bits=16),
            pattern="encoder.0.feed_forward.output",
            bits=16,
        ),
        f"site {CONTRACT}: the bias of row 3 is ",
        "`bias_bits` under `beyond`",
    ),
    "scores beyond binary32": Case(
        lambda m: _loud(m, 4.4e18),
        _rule(preset(NATIVE, "onnxruntime"), pattern=SCORES, bits=2, symmetric=True),
        f"site {SCORES}: a score scale of ",
        "range = 3.3e-01",
    ),
    "a wired scale with a range": Case(
        lambda m: None,
        _rule(preset(NATIVE, "ita"), pattern=SCORES, range=0.5),
        f"site {SCORES}: target ita wires",
        "remove the rule",
    ),
    "scores of ITAMax and multipliers of one bit": Case(
        lambda m: _loud(m, 20.0),
        scheme_for("deeploy", name="coarse", multiplier_bits=1, beyond=["score_scale"]),
        f"site {SCORES}: its scale ",
        "multiplier_bits",
    ),
    "sums beyond a product of PULP": Case(
        lambda m: None,
        _rule(scheme_for("pulp", name="wide", weight_bits=16), pattern="encoder.0.*.hidden", bits=16),
        "site encoder.0.feed_forward.output: integers to ",
        "fewer bits",
    ),
    "narrow accumulators": Case(
        lambda m: None,
        Scheme(name="short", accumulator=Accumulator(bits=16)),
        "partial sums reach",
        "it needs",
    ),
}
REMEDIES: dict[str, Callable[[Scheme, re.Match[str]], Scheme]] = {
    r'give (\S+) granularity = "per_tensor"': lambda s, m: _rule(s, pattern=m[1], granularity="per_tensor"),
    r"give (\S+) bits = (\d+)$": lambda s, m: _rule(s, pattern=m[1], bits=int(m[2])),
    r"give (\S+) range = ([^\s,]+)": lambda s, m: _rule(s, pattern=m[1], range=float(m[2])),
    r"(?:accumulators of|it needs) (\d+) bits( and name `bias_bits` under `beyond`)?": lambda s, m: (
        msgspec.structs.replace(
            s, accumulator=Accumulator(bits=int(m[1])), beyond=[*s.beyond, *(["bias_bits"] if m[2] else [])]
        )
    ),
    r"use more multiplier_bits": lambda s, m: msgspec.structs.replace(s, multiplier_bits=16),
    r"remove the rule": lambda s, m: msgspec.structs.replace(s, rules=[]),
    r"use fewer bits here or at its input": lambda s, m: _rule(s, pattern="*.hidden", bits=8),
}
"""What a refusal says to do, done to the scheme."""


MODEL = re.compile(r"divide the weights and the bias that make (encoder\.0\.self_attention)\.output by (\S+),")


def refusal(model: Transformer, scheme: Scheme) -> str | None:
    """What a planner, lowering or validation says against a model; None if nothing."""
    try:
        validate(lower(model, planned(model, scheme), name="x"))
    except ValueError as error:
        return str(error)
    return None


def followed(scheme: Scheme, text: str) -> Scheme:
    """The scheme, changed as a refusal says."""
    ((remedy, found),) = [(do, match) for what, do in REMEDIES.items() if (match := re.search(what, text))]
    return remedy(scheme, found)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_refusal_says_to_do_helps(case: Case) -> None:
    """Each step names a site; a few are enough where several sites are wrong."""
    model, scheme = pruned(small_model(ONE), case.spoil), case.scheme
    text = refusal(model, scheme)
    assert text is not None
    assert case.where in text
    assert case.advice in text
    for _ in range(8):
        if found := MODEL.search(text):
            pruned(model, lambda m, by=float(found[2]): _great(m, 1 / by))  # type: ignore[misc]
        else:
            scheme = followed(scheme, text)
        text = refusal(model, scheme)
        if text is None:
            break
    assert text is None
    plan = planned(model, scheme)
    machine = Machine(lower(model, plan, name="x"))
    assert prove_equal(model, StrictArithmetic(model, plan), machine, sentences(1)).equal


PLANNED: dict[str, tuple[Callable[[Transformer], object], Scheme]] = {
    "a second table whose rows are far coarser than the positions": (_great_table, Scheme(name="a")),
    "a small range of an embedding": (
        lambda m: None,
        _rule(Scheme(name="a"), pattern="encoder.embedding", range=1e-7),
    ),
    "a small range of an embedding that shares its table": (
        lambda m: None,
        _rule(Scheme(name="a"), pattern="decoder.embedding", range=1e-7),
    ),
}
"""What multipliers encode once a neighbour's scale is no finer than they do: (12f)."""


@pytest.mark.parametrize(("spoil", "scheme"), PLANNED.values(), ids=PLANNED)
def test_a_scale_that_is_too_fine_is_not_refused(spoil: Callable[[Transformer], object], scheme: Scheme) -> None:
    model = pruned(small_model(ONE, tied="table" not in spoil.__name__), spoil)
    plan = planned(model, scheme)
    machine = Machine(lower(model, plan, name="x"))
    assert prove_equal(model, StrictArithmetic(model, plan), machine, sentences(1)).equal


@pytest.mark.parametrize("rows", [3, slice(None)], ids=["per_tensor", "accumulators"])
def test_a_unit_that_never_wakes_does_not_change_the_advice_for_another(rows: slice | int) -> None:
    texts = {
        refusal(pruned(small_model(ONE), lambda m, bias=bias: _beside_a_dead_unit(m, rows, bias)), NARROW)  # type: ignore[misc]
        for bias in (-20.0, -1e3, -1e9, -1e30)
    }
    assert len(texts) == 1
    assert "the bias of row 3" in str(texts)


def test_a_row_that_is_lost_at_no_cost_does_not_change_the_advice_for_another() -> None:
    texts = {
        refusal(pruned(small_model(ONE), lambda m, weight=weight: _beside_a_lost_row(m, slice(None), weight)), NARROW)  # type: ignore[misc]
        for weight in (1e-11, 1e-15, 1e-20)
    }
    assert len(texts) == 1
    assert "the bias of row 3" in str(texts)


def test_a_row_that_is_not_finite_is_named_and_may_be_zero() -> None:
    model = pruned(small_model(ONE, tied=False), _infinite)
    text = refusal(model, preset("int8"))
    assert text is not None
    assert text.startswith("site encoder.embedding.weight: row 2 holds what is not finite; set it to 0")
    with torch.no_grad():
        model.source_embedding.weight[BOS] = 0
    assert refusal(model, preset("int8")) is None


def test_a_bias_that_grew_after_the_plan_is_named_and_another_plan_has_room() -> None:
    model = small_model(ONE)
    plan = planned(model, preset("int8"))
    with torch.no_grad():
        model.encoder[0].self_attention.query.bias[4] = 1e9
    with pytest.raises(
        ValueError, match=r"encoder\.0\.self_attention\.query\.bias: row 4 does not fit .*; plan the model"
    ):
        lower(model, plan, name="x")
    assert refusal(model, preset("int8")) is None


def test_a_site_that_was_not_seen_is_named() -> None:
    model = small_model(TWO)
    ranges = seen_by(model)
    del ranges["decoder.1.cross_attention.context"]
    with pytest.raises(
        ValueError, match=r"site decoder\.1\.cross_attention\.context was not seen in .*; calibrate this"
    ):
        make_plan(model, preset("int8"), ranges)


def test_a_site_that_was_not_seen_is_named_under_every_target() -> None:
    model, seen = calibrated()
    for target in TARGETS:
        without = {name: value for name, value in seen.items() if name != "decoder.0.cross_attention.context"}
        with pytest.raises(ValueError, match=r"site decoder\.0\.cross_attention\.context was not seen in calibration"):
            make_plan(model, preset("native", target), without)


def test_calibration_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="calibration text is empty"):
        calibrate(small_model(TWO), [])


def test_calibration_names_a_site_that_is_not_finite() -> None:
    model = small_model(TWO)
    with torch.no_grad():
        model.encoder[1].feed_forward.expand.weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"site encoder\.1\.feed_forward\.hidden takes the value"):
        seen_by(model)
