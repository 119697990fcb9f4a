"""Float model, strict fake-quant and integer machine as steppers that `reference.decoding` can drive."""

from collections.abc import Callable, Sequence
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwsim.machine import Machine
from reference.floating import FloatArithmetic
from reference.models.arithmetic import Arithmetic, KeyValue, Mask, V
from reference.models.translation import Transformer, source_mask
from reference.padding import Visibility
from reference.quantize.strict import Codes, StrictArithmetic
from reference.tokenizer import PAD
from reference.train import pad

IntArray = NDArray[np.int64]


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


class MachineStepper:
    """The integer machine, caches and all; `observe` sees the inputs of each call, then every tensor it makes.

    Unobserved, the caches stay in the machine; to be seen, they come and go with every step.
    """

    def __init__(
        self, machine: Machine, sources: Sequence[list[int]], observe: Callable[[str, NDArray[Any]], None] | None = None
    ) -> None:
        self.machine, self.observe = machine, observe
        manifest = machine.program.manifest
        self.logit_scale = manifest.logit_scale
        ids = pad(list(sources)).numpy()
        mask = {"source_mask": ids != manifest.pad_id}
        self.position = 0
        inputs = {"source_ids": ids, "encode.position": np.array(0), **mask}
        self._session = machine.session("encode", "decode_step", inputs) if observe is None else None
        if self._session is None:
            self.constant = mask | self._run("encode", inputs)
            self.past = {state.past: self._empty(state.past, len(sources)) for state in manifest.states}

    def _run(self, function: str, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if self.observe is not None:
            for name, array in inputs.items():
                self.observe(name, array)
        return self.machine.run(function, inputs, self.observe)

    def _empty(self, name: str, rows: int) -> NDArray[np.int32]:
        _, heads, _, d_head = self.machine.program.tensors[name].dims
        return np.zeros((rows, int(heads), 0, int(d_head)), np.int32)

    def step(self, tokens: IntArray, parents: IntArray) -> NDArray[Any]:
        inputs = {"target_ids": tokens[:, None], "decode_step.position": np.array(self.position)}
        self.position += 1
        if self._session is not None:
            (logits,) = self._session.step(inputs, parents).values()
            return np.asarray(logits[:, 0])
        rows = len(self.constant["source_mask"])
        if not (len(parents) == rows and (parents == np.arange(rows)).all()):
            self.constant = {name: np.ascontiguousarray(x[parents]) for name, x in self.constant.items()}
            self.past = {name: np.ascontiguousarray(x[parents]) for name, x in self.past.items()}
        outputs = self._run("decode_step", inputs | self.constant | self.past)
        states = self.machine.program.manifest.states
        self.past = {state.past: outputs[state.present] for state in states}
        name = next(name for name in outputs if name not in {state.present for state in states})
        return np.asarray(outputs[name][:, 0])
