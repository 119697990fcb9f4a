"""Hypotheses that move between rows take their past, their source and their mask with them, in all three steppers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from analysis.translation.steppers import MachineStepper
from analysis.translation.torch_steppers import TorchStepper, float_stepper, strict_stepper
from hwsim.machine import Machine
from reference.lower import lower
from reference.models.translation import Transformer
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import preset
from reference.quantize.strict import StrictArithmetic
from reference.tokenizer import BOS
from reference.train import make_batch
from tests.small.models import TINY
from tests.small.sentences import sentences

ROWS = sentences(4)
Stepper = TorchStepper | MachineStepper  # type: ignore[type-arg]
Make = Callable[[list[list[int]]], Stepper]
KINDS = ("float", "strict", "machine")


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(3)
    return Transformer(TINY).eval()


@pytest.fixture(scope="module")
def plan(model: Transformer) -> Plan:
    return make_plan(model, preset("int8"), calibrate(model, [make_batch([(row, row) for row in ROWS])]))


@pytest.fixture(scope="module")
def makers(model: Transformer, plan: Plan) -> dict[str, Make]:
    machine = Machine(lower(model, plan, name="steps"))
    return {
        "float": lambda rows: float_stepper(model, rows),
        "strict": lambda rows: strict_stepper(model, StrictArithmetic(model, plan), rows),
        "machine": lambda rows: MachineStepper(machine, rows),
    }


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, np.int64)


def logits(stepper: Stepper, *steps: tuple[tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    """Of the last of some steps: tokens, and the row that each continues."""
    for ids, parents in steps:
        found = stepper.step(tokens(*ids), tokens(*parents))
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_take_everything_with_them(makers: dict[str, Make], kind: str) -> None:
    """Rows 0, 1, 2 with the histories 5, 6, 7; then rows 2, 0, 0 go on with 8, 9, 10."""
    make = makers[kind]
    moved = logits(make(ROWS[:3]), ((BOS,) * 3, (0, 1, 2)), ((5, 6, 7), (0, 1, 2)), ((8, 9, 10), (2, 0, 0)))
    fresh = [
        logits(make([ROWS[row]]), ((BOS,), (0,)), ((past,), (0,)), ((token,), (0,)))[0]
        for row, past, token in ((2, 7, 8), (0, 5, 9), (0, 5, 10))
    ]
    close = {"rtol": 1e-4, "atol": 1e-5} if kind == "float" else {"rtol": 0, "atol": 0}
    for row in range(3):
        assert np.allclose(moved[row], fresh[row], **close)
    assert not np.allclose(moved[1], moved[2], rtol=1e-3) and not np.allclose(moved[0], moved[1], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_end(makers: dict[str, Make], kind: str) -> None:
    """Fewer rows than before: the first is gone."""
    make = makers[kind]
    fewer = logits(make(ROWS[:3]), ((BOS,) * 3, (0, 1, 2)), ((6, 7), (1, 2)))
    alone = logits(make(ROWS[1:3]), ((BOS,) * 2, (0, 1)), ((6, 7), (0, 1)))
    assert fewer.shape == (2, TINY.vocabulary_size)
    assert np.allclose(fewer, alone, rtol=1e-4 if kind == "float" else 0, atol=1e-5 if kind == "float" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_at_its_position(makers: dict[str, Make], kind: str) -> None:
    """The same token twice is not the same; the count starts at 0."""
    stepper = makers[kind](ROWS[:1])
    assert stepper.position == 0
    first, second = (logits(stepper, ((5,), (0,))) for _ in range(2))
    assert stepper.position == 2 and not np.allclose(first, second, rtol=1e-4)


def test_logits_have_their_scale(model: Transformer, plan: Plan, makers: dict[str, Make]) -> None:
    """Logits of the float model are real values; the others' are codes of one scale, and close to them."""
    start = ((BOS,) * 2, (0, 1))
    steppers = {kind: makers[kind](ROWS[:2]) for kind in KINDS}
    real = {kind: stepper.logit_scale * logits(stepper, start) for kind, stepper in steppers.items()}
    assert steppers["float"].logit_scale == 1.0 and steppers["machine"].logit_scale == plan.logit_scale
    assert np.array_equal(real["strict"], real["machine"])
    assert np.abs(real["float"] - real["strict"]).max() < 0.2 * np.abs(real["float"]).max()


def test_padding_of_the_source_is_not_real_and_each_target_is(makers: dict[str, Make]) -> None:
    stepper = makers["float"](ROWS[:2])
    assert isinstance(stepper, TorchStepper)
    lengths = [len(row) for row in ROWS[:2]]
    visible = stepper.visibility()
    assert visible.source.sum(1).tolist() == lengths and lengths[0] < lengths[1]
    assert visible.target.tolist() == [[True], [True]] and visible.causal is None
    stepper.step(tokens(BOS, BOS), tokens(1, 1))
    assert stepper.visibility().source.sum(1).tolist() == [lengths[1]] * 2


def test_an_observer_sees_inputs_before_what_is_made(plan: Plan, model: Transformer) -> None:
    names: list[str] = []
    stepper = MachineStepper(Machine(lower(model, plan, name="seen")), ROWS[:1], lambda name, array: names.append(name))
    assert names[:3] == ["source_ids", "encode.position", "source_mask"] and "encoder.embedding" in names[3:]
    names.clear()
    stepper.step(tokens(BOS), tokens(0))
    assert names.index("target_ids") < names.index("decode_step.position") < names.index("decoder.embedding")
