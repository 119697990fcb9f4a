"""Float model and strict fake-quant as steppers that `reference.decoding` can drive."""

from collections.abc import Callable, Sequence
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference.decoding import IntArray
from reference.floating import FloatArithmetic
from reference.models.arithmetic import Arithmetic, KeyValue, Mask, V
from reference.models.translation import Transformer, source_mask
from reference.padding import Visibility
from reference.quantize.strict import Codes, StrictArithmetic
from reference.tokenizer import PAD
from reference.train import pad


class TorchStepper(Generic[V]):
    """A torch arithmetic, float or strict, decoding one position at a time."""

    def __init__(
        self,
        model: Transformer,
        ops: Arithmetic[V],
        logit_scale: float,
        wrap: Callable[[Tensor, str], V],
        unwrap: Callable[[V], Tensor],
        sources: Sequence[list[int]],
    ) -> None:
        self.model, self.ops, self.logit_scale = model, ops, logit_scale
        self._wrap, self._unwrap = wrap, unwrap
        ids = pad(list(sources))
        self.mask = source_mask(ids, PAD)
        self.position = 0
        with torch.inference_mode():
            self.source = model.encode(ops, ids, self.mask)
        empty = torch.zeros(len(sources), model.config.n_heads, 0, model.config.d_head)
        self.past = [
            KeyValue(*(wrap(empty, f"decoder.{i}.self_attention.{part}") for part in ("key", "value")))
            for i in range(model.config.decoder_layers)
        ]

    def visibility(self) -> Visibility:
        """Which elements of the last call's sites are real."""
        source = self.mask.allowed[:, 0, 0]
        return Visibility(source=source, target=torch.ones(len(source), 1, dtype=torch.bool))

    def _gather(self, pair: KeyValue[V], rows: Tensor, site: str) -> KeyValue[V]:
        return KeyValue(
            self._wrap(self._unwrap(pair.keys)[rows], f"{site}.key"),
            self._wrap(self._unwrap(pair.values)[rows], f"{site}.value"),
        )

    @torch.inference_mode()
    def step(self, tokens: IntArray, parents: IntArray) -> NDArray[Any]:
        rows = torch.as_tensor(parents)
        if not (len(parents) == len(self.mask.allowed) and (parents == np.arange(len(parents))).all()):
            self.mask = Mask(self.mask.name, self.mask.allowed[rows])
            self.source = [self._gather(p, rows, f"decoder.{i}.cross_attention") for i, p in enumerate(self.source)]
            self.past = [self._gather(p, rows, f"decoder.{i}.self_attention") for i, p in enumerate(self.past)]
        logits, self.past = self.model.decode(
            self.ops,
            torch.as_tensor(tokens)[:, None],
            self.source,
            self.past,
            self.mask,
            first_position=torch.tensor(self.position),
            target_mask=None,
        )
        self.position += 1
        return np.asarray(self._unwrap(logits)[:, 0].numpy())


def float_stepper(model: Transformer, sources: Sequence[list[int]]) -> TorchStepper[Tensor]:
    """The float model."""
    return TorchStepper(model, FloatArithmetic(), 1.0, lambda x, site: x, lambda x: x, sources)


def strict_stepper(model: Transformer, strict: StrictArithmetic, sources: Sequence[list[int]]) -> TorchStepper[Codes]:
    """The strict fake-quant model; `strict.observe` sees every site."""
    return TorchStepper(model, strict, strict.plan.logit_scale, Codes, lambda x: x.codes, sources)
