"""From a planned model to a program: its nodes in order, and the manifest around them."""

import msgspec
import torch

from hwsim import program as ir
from hwsim.formats import IntFormat
from reference.lower.lowering import Lowering
from reference.lower.nodes import NODES
from reference.models.translation import Transformer
from reference.quantize.plan import Plan
from reference.tokenizer import BOS, EOS, PAD, Tokenizer

MASK = IntFormat(bits=2, signed=False)
IDS = IntFormat(bits=32, signed=False)


@torch.no_grad()
def lower(
    model: Transformer, plan: Plan, *, name: str, tokenizer: Tokenizer | None = None, origin: str = ""
) -> ir.Program:
    """Lower a planned model. `hwsim.program.validate` proves the result; `Program.save` writes it."""
    return _program(Lowering(model, plan), name, tokenizer.hash if tokenizer else "", origin)


def _program(lowering: Lowering, name: str, tokenizer_hash: str, origin: str) -> ir.Program:
    graph, positions = lowering.plan.graph, lowering.model.config.max_positions
    lowering.tensor("source_ids", IDS, ("batch", "source"))
    lowering.tensor("source_mask", MASK, ("batch", "source"))
    lowering.tensor("target_ids", IDS, ("batch", "target"))
    for function in lowering.operations:
        lowering.tensor(f"{function}.position", IDS, ())
    past = [symbol for pair in graph.past for symbol in pair]
    present = [symbol for pair in graph.present for symbol in pair]
    cross = [symbol for pair in graph.cross for symbol in pair]
    for symbol in past:
        lowering.activation(symbol)
    for node in graph.nodes:
        NODES[node.kind](lowering, node)
    inputs = {
        "encode": ["source_ids", "source_mask", "encode.position"],
        "decode_step": ["target_ids", "decode_step.position", "source_mask", *(s.name for s in cross + past)],
    }
    outputs = {
        "encode": [symbol.name for symbol in cross],
        "decode_step": [graph.logits.name, *(s.name for s in present)],
    }
    manifest = ir.Manifest(
        name=name,
        scheme=lowering.plan.scheme.name,
        target=lowering.plan.target.name,
        tokenizer_sha256=tokenizer_hash,
        pad_id=PAD,
        bos_id=BOS,
        eos_id=EOS,
        max_positions=positions,
        logit_scale=lowering.plan.logit_scale,
        beyond=lowering.plan.scheme.beyond or msgspec.UNSET,
        origin=origin,
        dimensions=[
            ir.Dimension(name="batch", maximum=1 << 16),
            ir.Dimension(name="source", maximum=positions),
            ir.Dimension(name="target", maximum=1),
            ir.Dimension(name="past", maximum=max(1, positions - 1)),
            ir.Dimension(name="keys", maximum=positions, terms=["past", "target"]),
        ],
        tensors=list(lowering.tensors.values()),
        constants=list(lowering.info.values()),
        functions=[
            ir.Function(name=f, inputs=inputs[f], outputs=outputs[f], operations=operations)
            for f, operations in lowering.operations.items()
        ],
        states=[
            ir.State(function="decode_step", past=old.name, present=new.name)
            for old, new in zip(past, present, strict=True)
        ],
    )
    return ir.Program(manifest, lowering.arrays)
