"""Heads that a target projects one by one: their site, range, scales and constants, and what a scheme may not ask."""

import re
from dataclasses import replace

import msgspec
import pytest
import torch

from hwsim.formats import Accumulator, Overflow
from hwsim.program.operations import MergeHeads, ProjectHeads, Requantize
from hwsim.program.targets import TARGETS
from reference.floating import FloatArithmetic
from reference.lower import lower
from reference.models.translation import source_mask
from reference.quantize.graph import Kind
from reference.quantize.plan import make_plan
from reference.quantize.scheme import Rule, preset, scheme_for
from reference.quantize.sites import Role, SiteSet
from reference.quantize.strict import Codes, StrictArithmetic
from reference.tokenizer import PAD
from reference.train import teacher_forced
from tests import oracle
from tests.small.models import sites_of, small_model
from tests.small.programs import seen_by
from tests.small.sentences import random_batch
from tests.unit.reference.quantize.plans import calibrated, nodes, plan_of

ATTENTIONS = ("encoder.0.self_attention", "decoder.0.self_attention", "decoder.0.cross_attention")
SITES = [f"{attention}.heads" for attention in ATTENTIONS]
OTHERS = [name for name in TARGETS if name not in ("ita", "ita-head")]


def test_both_revisions_of_ita_alone_projects_heads() -> None:
    assert {name: target.heads for name, target in TARGETS.items()} == dict.fromkeys(OTHERS, "merged") | {
        "ita": "projected",
        "ita-head": "projected",
    }


def test_ita_has_a_site_more_in_each_attention() -> None:
    """Of PULP, whose softmax and LayerNorm it shares, it has all sites, and the heads ahead of each output."""
    ita, pulp = list(sites_of(target="ita")), list(sites_of(target="pulp"))
    assert [name for name in ita if name not in SITES] == pulp
    assert [name for name in ita if name in SITES] == SITES
    for site in SITES:
        assert ita[ita.index(site) + 1] == site.replace(".heads", ".output")
    heads = sites_of(target="ita")[SITES[0]]
    assert (heads.set, heads.role, heads.group) == (SiteSet.DATAPATH, Role.CENTRED, "attention")


@pytest.mark.parametrize("target", OTHERS)
def test_other_targets_have_none(target: str) -> None:
    assert not [name for name in sites_of(2, 2, target=target) if name.endswith(".heads")]


def test_heads_of_layers_that_there_are() -> None:
    found = [name for name in sites_of(2, 2, target="ita") if name.endswith(".heads")]
    assert len(found) == 2 + 2 * 2


# --- in float ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_heads_in_float_are_shares_of_the_output() -> None:
    """Each is context[h] @ its columns, head 0 has the bias; the shares add up to the output."""
    model, seen = small_model(seed=3), dict[str, torch.Tensor]()
    model.encoder[0].self_attention.output.bias.uniform_(-1, 1)
    ids = torch.tensor([[5, 9, 7]])
    model.encode(FloatArithmetic(seen.__setitem__), ids, source_mask(ids, PAD))
    heads, layer = seen[SITES[0]], model.encoder[0].self_attention.output
    context, output = seen[f"{ATTENTIONS[0]}.context"], seen[f"{ATTENTIONS[0]}.output"]
    assert heads.shape == (1, 2, 3, 8)
    torch.testing.assert_close(heads[0, 0], context[0, 0] @ layer.weight[:, :4].T + layer.bias)
    torch.testing.assert_close(heads[0, 1], context[0, 1] @ layer.weight[:, 4:].T)
    torch.testing.assert_close(heads.sum(1), output)


def test_calibration_sees_heads_without_padding() -> None:
    """The range of the heads' site is what they take at real positions."""
    model, batch, seen = small_model(seed=3), random_batch(20), dict[str, torch.Tensor]()
    with torch.no_grad():
        teacher_forced(model, FloatArithmetic(seen.__setitem__), batch)
    real = batch.source != PAD
    taken = torch.cat([seen[SITES[0]][i, :, real[i]].flatten() for i in range(len(real))])
    assert seen_by(model, batch)[SITES[0]].extremes == (taken.min().item(), taken.max().item())


# --- plans and programs -----------------------------------------------------------------------------------------------


def test_ranges_never_shrink() -> None:
    """Of the codes of the heads and of the weight: snapping goes up."""
    plan, (_, seen) = plan_of("ita"), calibrated()
    for site, node in zip(SITES, nodes(plan, Kind.PROJECT_HEADS), strict=True):
        low, high = seen[site].average
        assert plan.quantizers[site].scale >= max(high / 127, low / -128) * (1 - 1e-12)
        assert plan.weights[f"{node.site}.weight"].scale.item() >= node.module.weight.max().item() / 127 * (1 - 1e-12)


def test_multipliers_are_one_a_head_and_of_eight_bits() -> None:
    plan = plan_of("ita")
    assert list(plan.heads) == [f"{attention}.output" for attention in ATTENTIONS]
    assert not set(plan.heads) & set(plan.linear)
    for constants in plan.heads.values():
        assert constants.multipliers.shape == constants.shifts.shape == (2,)
        for multiplier in (*constants.multipliers.tolist(), constants.output.multiplier):
            assert 128 <= multiplier <= 255
    assert plan_of("pulp").heads == {}


def test_a_program_of_ita_has_no_merged_heads_and_others_have_no_projected_ones() -> None:
    (model, _), made = calibrated(), {}
    for target in ("ita", "pulp"):
        program = lower(model, plan_of(target), name="x")
        made[target] = [type(op) for _, op in program.operations()]
    assert (made["ita"].count(ProjectHeads), made["ita"].count(MergeHeads)) == (3, 0)
    assert (made["pulp"].count(ProjectHeads), made["pulp"].count(MergeHeads)) == (0, 3)


def test_tensors_and_constants_of_an_attention() -> None:
    program = lower(calibrated()[0], plan_of("ita"), name="x")
    stem = ATTENTIONS[0]
    operations = program.functions["encode"].operations
    index = next(i for i, op in enumerate(operations) if isinstance(op, ProjectHeads))
    op, last = operations[index : index + 2]
    assert isinstance(op, ProjectHeads) and isinstance(last, Requantize)
    names = (op.input, op.heads, op.output, op.weight, op.bias, last.input, last.output)
    parts = ("context", "heads", "output.accumulator", "output.weight", "output.bias", "output.accumulator", "output")
    assert names == tuple(f"{stem}.{part}" for part in parts)
    assert program.tensors[op.heads].dims == ["batch", 2, "source", 12]
    assert program.tensors[op.output].dims == ["batch", "source", 12]
    assert program.tensors[op.output].format.bits == op.accumulator.bits == 26
    assert program.tensors[op.heads].scale == plan_of("ita").quantizers[op.heads].scale


# --- strict fake-quant ------------------------------------------------------------------------------------------------


@torch.no_grad()
def strict_of(ratios: tuple[list[int], list[int]], accumulator: Accumulator) -> tuple[StrictArithmetic, dict]:
    """An attention's output of random codes of its context: each head by a ratio of its own."""
    model, seen = calibrated()
    rules = [Rule(pattern="*_attention.output", bits=6)]  # so that codes of heads are none of the output
    plan = make_plan(model, scheme_for("ita", name="x", accumulator=accumulator, rules=rules), seen)
    site, (multipliers, shifts) = f"{ATTENTIONS[0]}.output", map(torch.tensor, ratios)
    plan.heads[site] = replace(plan.heads[site], multipliers=multipliers, shifts=shifts)
    codes: dict[str, torch.Tensor] = {}
    return StrictArithmetic(model, plan, codes.__setitem__), codes


@pytest.mark.parametrize(
    "accumulator",
    [
        Accumulator(bits=26),
        Accumulator(bits=15, overflow=Overflow.SATURATE),
        Accumulator(bits=15, overflow=Overflow.WRAP),
    ],
    ids=lambda one: one.overflow.value,
)
@torch.no_grad()
def test_strict_heads_equal_the_oracle(accumulator: Accumulator) -> None:
    strict, seen = strict_of(([201, 3], [14, 8]), accumulator)
    layer, plan = calibrated()[0].encoder[0].self_attention.output, strict.plan
    layer = torch.nn.Linear(layer.in_features, layer.out_features)
    generator = torch.Generator().manual_seed(1)
    context = torch.randint(-128, 128, (2, 2, 3, 5), generator=generator).float()
    made = strict.project_heads(ATTENTIONS[0], Codes(context, f"{ATTENTIONS[0]}.context"), layer)
    site = f"{ATTENTIONS[0]}.output"
    weight = strict.parameter(f"{site}.weight", layer.weight).int().tolist()
    bias = torch.round(layer.bias.double() / plan.heads[site].bias_scale).int().tolist()
    ratios = [oracle.Ratio("narrow_after", 201, 14), oracle.Ratio("narrow_after", 3, 8)]
    proven = accumulator.overflow is Overflow.PROVEN
    rule = None if proven else (accumulator.bits, accumulator.overflow.value, "mac", 1)
    expected = [oracle.project_heads(one.int().tolist(), weight, bias, ratios, -128, 127, rule=rule) for one in context]
    assert seen[SITES[0]].int().tolist() == [one.codes for one in expected]
    assert strict.overflows == sum(one.overflows for one in expected)
    assert (strict.overflows > 0) != proven
    last = oracle.Ratio("narrow_after", *plan.heads[site].output)
    assert made.codes.int().tolist() == [
        oracle.requantize_by(one.total, [last], 0, -32, 31)[0] for one in expected
    ]  # fmt: skip


def test_gradients_reach_context_weight_and_bias() -> None:
    """Of the bias through head 0 alone: a column's gradient is the scale from bias to output code; none clamps."""
    strict, _ = strict_of(([128, 128], [20, 20]), Accumulator(bits=26))
    layer, context = torch.nn.Linear(10, 12), torch.ones(1, 2, 1, 5, requires_grad=True)
    made = strict.project_heads(ATTENTIONS[0], Codes(context, f"{ATTENTIONS[0]}.context"), layer)
    made.codes.sum().backward()
    constants = strict.plan.heads[f"{ATTENTIONS[0]}.output"]
    slope = 2.0**-13 * constants.output.ratio / constants.bias_scale.item()
    torch.testing.assert_close(layer.bias.grad, torch.full((12,), slope))
    assert context.grad is not None and layer.weight.grad is not None
    assert bool((layer.weight.grad != 0).all()) and bool((context.grad != 0).any())


# --- schemes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            Rule(pattern="*.self_attention.output.weight", granularity="per_channel"),
            "site encoder.0.self_attention.output.weight: a head has one multiplier under target ita; use per_tensor",
        ),
        (
            Rule(pattern=SITES[0], symmetric=False),
            f"site {SITES[0]}: a centred site has zero point 0; use symmetric = true",
        ),
        (Rule(pattern=SITES[0], signed=False), f"site {SITES[0]}: a centred site is signed"),
    ],
)
def test_what_heads_cannot_have_is_refused(rule: Rule, message: str) -> None:
    scheme = msgspec.structs.replace(preset("native", "ita"), rules=[rule])
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scheme.resolve(sites_of(target="ita"))


def test_what_heads_may_have() -> None:
    """Other widths; and of another weight, or under another target, a scale a channel."""
    rules = [Rule(pattern="*.heads", bits=6), Rule(pattern="*.output.weight", granularity="per_tensor")]
    rules.append(Rule(pattern="*.feed_forward.output.weight", granularity="per_channel"))
    model, seen = calibrated()
    plan = make_plan(model, msgspec.structs.replace(preset("native", "ita"), rules=rules), seen)
    assert {plan.settings[site].bits for site in SITES} == {6}
    per_channel = Rule(pattern="*_attention.output.weight", granularity="per_channel")
    scheme = msgspec.structs.replace(preset("native", "gemmini"), rules=[per_channel])
    assert scheme.resolve(sites_of(target="gemmini"))[f"{ATTENTIONS[0]}.output.weight"].granularity == "per_channel"


def test_one_multiplier_a_head_in_a_file() -> None:
    """Unequal heads are constants of the program, by name; equal ones are numbers."""
    program = lower(calibrated()[0], plan_of("ita"), name="x")
    op = next(op for _, op in program.operations() if isinstance(op, ProjectHeads))
    assert isinstance(op.requantization.multiplier, int)
    plan = plan_of("ita")
    unequal = make_plan(calibrated()[0], plan.scheme, calibrated()[1])
    unequal.heads[f"{ATTENTIONS[0]}.output"].multipliers[1] -= 1
    made = lower(calibrated()[0], unequal, name="x")
    name = f"{ATTENTIONS[0]}.heads.multiplier"
    assert made.constants[name].tolist() == [op.requantization.multiplier, op.requantization.multiplier - 1]
