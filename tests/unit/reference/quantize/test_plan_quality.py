"""What plans are good for: signal to noise by width and by target, and training."""

import msgspec
import pytest
import torch
from torch import Tensor

from hwsim.program.targets import TARGETS
from reference.quantize.scheme import Rule, preset
from reference.quantize.strict import StrictArithmetic
from reference.train import loss_per_token, teacher_forced
from tests.small.models import small_model
from tests.small.programs import planned
from tests.small.sentences import random_batch
from tests.unit.reference.quantize.plans import ONE, TWO, VOCABULARY, signal_to_noise


def test_signal_to_noise_follows_the_widths() -> None:
    at8, at6, at4 = (signal_to_noise(small_model(TWO), preset(name)) for name in ("int8", "int6", "int4"))
    assert at8 > 25.0
    assert at6 > 16.0
    assert at8 > at6 + 6.0 > at4 + 12.0


COARSE = {"ita": 10.5, "ita-head": 10.5, "pulp": 10.5, "deeploy": 10.5, "gemmini": 6.5}
"""Decibels of targets whose LayerNorm is coarse. PULP's takes mean and deviation in whole codes, of sums that span half
their range so that there are some codes to a deviation: a small random model, which has no outliers, loses what lies
beyond. Gemmini's rounds x - mean to whole deviations.
"""
FINE = {"ita": 24.5, "ita-head": 24.5, "pulp": 30.0, "deeploy": 24.5, "gemmini": 31.0}
"""With another LayerNorm and the whole range of a sum. ITAMax rounds exponents of 2, which PULP's own softmax does not.
"""


@pytest.mark.parametrize("target", TARGETS)
def test_signal_to_noise_of_a_target(target: str) -> None:
    """Every target computes the model: its native configuration is above noise, far above unless its code is coarse."""
    assert signal_to_noise(small_model(ONE), preset("native", target)) > COARSE.get(target, 32.0)


@pytest.mark.parametrize("target", FINE)
def test_it_is_the_layernorm_that_is_coarse(target: str) -> None:
    rules = [
        Rule(pattern="*.layernorm.output", layernorm="fullyqt"),
        Rule(pattern="*.residual", range=1.0),
    ]
    scheme = msgspec.structs.replace(preset("native", target), rules=rules)
    assert signal_to_noise(small_model(ONE), scheme) > FINE[target]


def train(steps: int) -> tuple[list[float], dict[str, Tensor]]:
    """Losses, and the first step's gradients, of a tiny model trained in int4 on a random batch."""
    model, batch = small_model(TWO, encoder_layers=1, decoder_layers=1).train(), random_batch(VOCABULARY)
    plan = planned(model, preset("int4"))
    strict = StrictArithmetic(model, plan)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses, gradients = [], {}
    for step in range(steps):
        logits = teacher_forced(model, strict, batch).codes * plan.logit_scale
        loss = loss_per_token(logits, batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step == 0:
            gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients


def test_training_in_int4_learns() -> None:
    losses, _ = train(30)
    assert losses[-1] < 0.7 * losses[0]


def test_gradients_reach_every_parameter() -> None:
    _, gradients = train(1)
    model = small_model(TWO, encoder_layers=1, decoder_layers=1)
    assert gradients.keys() == {name for name, _ in model.named_parameters()}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    # A bias of keys shifts all scores of a row alike, which softmax does not notice.
    felt = {name for name, gradient in gradients.items() if bool(gradient.abs().max() > 0)}
    assert {name for name in gradients if not name.endswith("key.bias")} <= felt
