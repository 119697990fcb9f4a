"""Proves that the integer machine equals strict fake-quant: every code of every site, in lockstep over real text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.steppers import MachineStepper, strict_stepper
from hwsim.formats import Counter
from hwsim.machine import Machine
from hwsim.program import Requantize
from reference.decoding import beam, greedy, length_limit
from reference.model import Transformer
from reference.padding import Visibility
from reference.quantize.strict import StrictArithmetic


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first code that differs, in execution order."""

    site: str
    call: str
    index: tuple[int, ...]
    machine: int
    reference: int
    accumulator: int | None
    before_rounding: float | None

    def __str__(self) -> str:
        value = "" if self.before_rounding is None else f", {self.before_rounding:.6f} before rounding"
        return (
            f"{self.call}, site {self.site}, index {self.index}: machine {self.machine}, "
            f"fake-quant {self.reference}{value}"
        )


@dataclass(kw_only=True)
class Equality:
    """Outcome of a comparison. Codes count once per execution, at real positions of activation sites."""

    codes_compared: int = 0
    codes_different: int = 0
    tokens_different: int = 0
    overflows: int = 0
    first: Divergence | None = None
    by_site: dict[str, tuple[int, int]] = field(default_factory=dict)
    integer: list[list[int]] = field(default_factory=list)
    fake_quant: list[list[int]] = field(default_factory=list)

    def merge(self, other: "Equality") -> None:
        """Take in the outcome of another batch; translations are left to the caller, who knows their order."""
        for site, (compared, different) in other.by_site.items():
            self.add(site, compared, different)
        self.tokens_different += other.tokens_different
        self.overflows += other.overflows
        self.first = self.first or other.first

    def add(self, site: str, compared: int, different: int) -> None:
        self.codes_compared += compared
        self.codes_different += different
        before = self.by_site.get(site, (0, 0))
        self.by_site[site] = (before[0] + compared, before[1] + different)


class Lockstep:
    """One stepper that is two: each step runs strict fake-quant, then the machine, and compares what they saw.

    The tokens of the machine drive both; the tokens that fake-quant would have chosen are kept beside.
    """

    def __init__(
        self, model: Transformer, strict: StrictArithmetic, machine: Machine, sources: Sequence[list[int]]
    ) -> None:
        self.result = Equality()
        self._seen: dict[str, Tensor] = {}
        self._made: dict[str, NDArray[Any]] = {}
        self._machine, self._call = machine, "encode"
        strict.observe = self._seen.__setitem__
        self._strict = strict_stepper(model, strict, sources)
        self._integer = MachineStepper(machine, sources, self._made.__setitem__)
        self.logit_scale = self._integer.logit_scale
        self._compare(self._strict.visibility())

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[Any]:
        self._call = f"decode step {self._integer.position}"
        reference = self._strict.step(tokens, parents)
        logits = self._integer.step(tokens, parents)
        self._compare(self._strict.visibility())
        self.result.tokens_different += int((reference.argmax(-1) != logits.argmax(-1)).sum())
        return logits

    def _compare(self, visible: Visibility) -> None:
        for site, codes in self._seen.items():
            ours = self._made[site]
            mask = visible.mask(site, tuple(codes.shape)).expand(codes.shape).numpy()
            unequal = (ours != codes.numpy()) & mask
            different = int(unequal.sum())
            if different and self.result.first is None:
                self.result.first = self._locate(site, unequal, codes)
            self.result.add(site, int(mask.sum()), different)
        self._seen.clear()
        self._made.clear()

    def _locate(self, site: str, unequal: NDArray[np.bool_], codes: Tensor) -> Divergence:
        index = tuple(int(i) for i in np.argwhere(unequal)[0])
        accumulator, real = self._before_rounding(site, index)
        return Divergence(
            site=site,
            call=self._call,
            index=index,
            machine=int(self._made[site][index]),
            reference=int(codes[index]),
            accumulator=accumulator,
            before_rounding=real,
        )

    def _before_rounding(self, site: str, index: tuple[int, ...]) -> tuple[int | None, float | None]:
        """Accumulator and real code value where a requantization made the site; (None, None) elsewhere."""
        program = self._machine.program
        for _, operation in program.operations():
            if isinstance(operation, Requantize) and operation.output == site:
                accumulator = int(self._made[operation.input][index])
                fields = (operation.requantization.multiplier, operation.requantization.shift)
                m, e = (int(program.constants[f][index[-1]]) if isinstance(f, str) else f for f in fields)
                return accumulator, accumulator * m / 2**e + program.tensors[site].zero_point
        return None, None


@torch.inference_mode()
def prove_equal(
    model: Transformer,
    strict: StrictArithmetic,
    machine: Machine,
    sources: Sequence[list[int]],
    *,
    beam_width: int = 1,
) -> Equality:
    """Translate a batch with machine and fake-quant in lockstep, comparing all codes.

    Parameters
    ----------
    sources
        Ids of each sentence, ended by EOS.
    beam_width
        1 is greedy; more is beam search with length penalty 0.6 over the machine's logits.
    """
    overflows = machine.totals[Counter.OVERFLOW]
    lockstep = Lockstep(model, strict, machine, sources)
    limits = [length_limit(len(source), model.config.max_positions) for source in sources]
    search = greedy if beam_width == 1 else (lambda s, n: beam(s, n, width=beam_width))
    result = lockstep.result
    result.integer = result.fake_quant = search(lockstep, limits)
    result.overflows = machine.totals[Counter.OVERFLOW] - overflows
    strict.observe = None
    unseen = strict.plan.quantizers.keys() - result.by_site.keys()
    if unseen:  # a comparison of nothing would pass
        raise RuntimeError(f"sites never compared: {', '.join(sorted(unseen))}")
    if result.codes_different or result.tokens_different:  # equal logits at every step are equal translations
        result.fake_quant = search(strict_stepper(model, strict, sources), limits)
    return result
