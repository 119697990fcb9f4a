"""What strict fake-quant keeps between calls is never stale, and who looks does not change what is computed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reference.models.translation import Transformer
from reference.quantize.plan import Plan
from reference.quantize.scheme import preset
from reference.quantize.strict import StrictArithmetic
from reference.train import teacher_forced
from tests.small.models import small_model
from tests.small.programs import planned
from tests.small.sentences import random_batch
from tests.unit.reference.quantize.plans import ONE, VOCABULARY

torch.set_num_threads(1)
BATCH = random_batch(VOCABULARY)
UNSEEN = {
    f"{where}.key.bias"
    for where in ("encoder.0.self_attention", "decoder.0.self_attention", "decoder.0.cross_attention")
}
"""A softmax does not see what is added to all of its scores: such a gradient may be 0."""


def logits(model: Transformer, strict: StrictArithmetic) -> Tensor:
    return teacher_forced(model, strict, BATCH).codes


@pytest.fixture
def model() -> Transformer:
    return small_model(ONE)


@pytest.fixture
def plan(model: Transformer) -> Plan:
    return planned(model, preset("int8"))


def halved(parameter: Tensor) -> None:
    parameter.mul_(0.5)


def negated(model: Transformer) -> nn.Parameter:
    """Another parameter, which was written to as often as the old one."""
    old = model.decoder[0].self_attention.query.weight
    new = nn.Parameter(-old)
    while new._version < old._version:
        new.mul_(1.0)
    return new


CHANGES: dict[str, Callable[[Transformer], None]] = {
    "weight": lambda model: halved(model.encoder[0].feed_forward.expand.weight),
    "bias": lambda model: halved(model.decoder[0].feed_forward.contract.bias.add_(0.3)),
    "gamma": lambda model: halved(model.encoder[0].feed_forward_residual.norm.weight),
    "beta": lambda model: halved(model.decoder[0].feed_forward_residual.norm.bias.add_(0.2)),
    "embedding": lambda model: halved(model.source_embedding.weight),
    "positions": lambda model: halved(model.positions),
    "another": lambda model: setattr(model.decoder[0].self_attention.query, "weight", negated(model)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_parameter_that_changed_is_quantized_again(what: str, model: Transformer, plan: Plan) -> None:
    kept = StrictArithmetic(model, plan)
    with torch.no_grad():
        before = logits(model, kept)
        assert torch.equal(logits(model, kept), before)
        CHANGES[what](model)
        now = logits(model, kept)
        assert torch.equal(now, logits(model, StrictArithmetic(model, plan)))
    assert not torch.equal(now, before)


def test_a_parameter_is_quantized_once_while_no_gradient_is_wanted(
    model: Transformer, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict, made = StrictArithmetic(model, plan), []
    parameter = strict.parameter
    monkeypatch.setattr(strict, "parameter", lambda site, value: made.append(site) or parameter(site, value))
    with torch.no_grad():
        logits(model, strict)
        first = len(made)
        logits(model, strict)
    assert (len(made) - first, first > 20) == (0, True)


def test_gradients_reach_every_parameter_after_a_call_without(model: Transformer, plan: Plan) -> None:
    strict = StrictArithmetic(model, plan)
    with torch.no_grad():
        kept = logits(model, strict)
    for _ in range(2):  # a second time too: no graph of the first is kept
        model.zero_grad(set_to_none=True)
        trained = logits(model, strict)
        assert torch.equal(trained.detach(), kept)
        trained.square().mean().backward()
        reached = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        assert {name for name, _ in model.named_parameters()} - reached <= UNSEEN


def test_inference_mode_and_training_share_memory(model: Transformer, plan: Plan) -> None:
    strict = StrictArithmetic(model, plan)
    with torch.inference_mode():
        kept = logits(model, strict)
    trained = logits(model, strict)
    trained.sum().backward()
    with torch.no_grad():
        assert torch.equal(logits(model, strict), kept)
    assert torch.equal(trained.detach(), kept)


def test_who_observes_changes_nothing_and_may_keep_what_it_saw(model: Transformer, plan: Plan) -> None:
    seen: dict[str, Tensor] = {}
    copies: dict[str, Tensor] = {}

    def observe(site: str, codes: Tensor) -> None:
        seen[site], copies[site] = codes, codes.clone()

    with torch.no_grad():
        alone = logits(model, StrictArithmetic(model, plan))
        assert torch.equal(logits(model, StrictArithmetic(model, plan, observe)), alone)
    assert {site.rsplit(".", 1)[-1] for site in seen} >= {"numerator", "denominator", "quotient", "shifted", "output"}
    assert all(torch.equal(seen[site], copies[site]) for site in seen)
