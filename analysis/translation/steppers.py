"""The integer machine as a stepper that `reference.decoding` can drive; it needs no torch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.machine import Machine
from reference.decoding import IntArray
from reference.tokenizer import PAD


def padded(rows: Sequence[list[int]]) -> IntArray:
    """Ids of unequal length as one (rows, longest) array, filled up with PAD."""
    ids = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for row, into in zip(rows, ids, strict=True):
        into[: len(row)] = row
    return ids


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
        ids = padded(sources)
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
