"""Proves that the integer machine equals strict fake-quant: every code of every site, in lockstep over real text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.proof.divergence import before_rounding, tie_distance
from analysis.proof.passing import Passing
from analysis.translation.steppers import MachineStepper
from analysis.translation.torch_steppers import strict_stepper
from hwsim.accelerator.zeros import ZeroCounter
from hwsim.formats import Counter
from hwsim.machine import Machine
from reference.decoding import Stepper, beam, greedy, length_limit
from reference.models.translation import Transformer
from reference.quantize.strict import StrictArithmetic


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first code that differs, in execution order.

    Attributes
    ----------
    sentence
        Its number, from 1: in the batch of `prove_equal`, in the text of `analysis.run.prove_text`.
    index
        Element of the site in the call; the first number is the row of the batch, which moves as sentences end.
    accumulator
        The integer that the machine scaled and rounded, if the site is rounded.
    before_rounding
        The code that the machine had before rounding and clamp.
    tie_distance
        How far that is from the nearest tie, in LSB.
    """

    site: str
    call: str
    sentence: int
    index: tuple[int, ...]
    machine: int
    reference: int
    accumulator: int | None
    before_rounding: float | None
    tie_distance: float | None = None

    def __str__(self) -> str:
        text = (
            f"sentence {self.sentence}, {self.call}, site {self.site}, index {self.index}: "
            f"machine {self.machine}, fake-quant {self.reference}"
        )
        if self.before_rounding is not None:
            text += f", {self.before_rounding:.6f} before rounding"
        if self.tie_distance is not None:
            text += f", {self.tie_distance:.6f} from a tie"
        return text


@dataclass(kw_only=True)
class Equality:
    """Outcome of a comparison.

    Attributes
    ----------
    codes_compared, codes_different
        Codes of activation sites at real positions, each once per execution.
    tokens_different
        Positions at which fake-quant, fed the machine's tokens so far, would have chosen another next token: rows of a
        step whose greatest logit is elsewhere. In beam search every live hypothesis is a row.
    overflows, overflows_fake_quant
        Accumulator overflows in the machine and in fake-quant, padded positions of the batch included.
    by_site
        Codes compared and codes different of each site.
    integer, fake_quant
        Translations of the sentences, ids.
    """

    codes_compared: int = 0
    codes_different: int = 0
    tokens_different: int = 0
    overflows: int = 0
    overflows_fake_quant: int = 0
    first: Divergence | None = None
    by_site: dict[str, tuple[int, int]] = field(default_factory=dict)
    integer: list[list[int]] = field(default_factory=list)
    fake_quant: list[list[int]] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Nothing differs, and something was compared."""
        same = self.codes_different == 0 and self.tokens_different == 0
        return same and self.overflows == self.overflows_fake_quant and self.codes_compared > 0

    def merge(self, other: "Equality") -> None:
        """Take in the outcome of another batch; translations are left to the caller, who knows their order."""
        for site, (compared, different) in other.by_site.items():
            self.add(site, compared, different)
        self.tokens_different += other.tokens_different
        self.overflows += other.overflows
        self.overflows_fake_quant += other.overflows_fake_quant
        self.first = self.first or other.first

    def add(self, site: str, compared: int, different: int) -> None:
        self.codes_compared += compared
        self.codes_different += different
        before = self.by_site.get(site, (0, 0))
        self.by_site[site] = (before[0] + compared, before[1] + different)


class Lockstep:
    """One stepper that is two: each step runs strict fake-quant, then the machine, and compares what they saw.

    The tokens of the machine drive both.
    """

    def __init__(
        self,
        model: Transformer,
        strict: StrictArithmetic,
        machine: Machine,
        sources: Sequence[list[int]],
        zeros: ZeroCounter | None = None,
    ) -> None:
        self.result = Equality()
        self._zeros = zeros
        self._program = machine.program
        self._seen: dict[str, Tensor] = {}
        self._passing = Passing(machine.program)
        self._sentences = np.arange(1, len(sources) + 1)  # of each row
        strict.observe = self._seen.__setitem__
        self._strict = strict_stepper(model, strict, sources)
        self._begin("encode", "encode")
        self._integer = MachineStepper(machine, sources, self._see)
        self.logit_scale = self._integer.logit_scale
        self._end("encode")

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[Any]:
        self._sentences = self._sentences[parents]
        reference = self._strict.step(tokens, parents)
        self._begin("decode_step", f"decode step {self._integer.position}")
        logits = self._integer.step(tokens, parents)
        self._end("decode_step")
        self.result.tokens_different += int((reference.argmax(-1) != logits.argmax(-1)).sum())
        return logits

    def _begin(self, function: str, call: str) -> None:
        """Fake-quant has made a call; the machine will make it now."""
        self._call, self._visible = call, self._strict.visibility()
        self._passing.begin(function)
        self._count = None if self._zeros is None else self._zeros.begin(self._passing.values)

    def _see(self, name: str, array: NDArray[Any]) -> None:
        """Compare what an operation of the machine has made, while its operands are there."""
        made = self._passing.take(name, array)
        for site in made:
            if site in self._seen:
                self._compare(site, self._seen.pop(site))
            if self._count is not None:
                self._count(site)
        if made:
            self._passing.drop(name)

    def _compare(self, site: str, codes: Tensor) -> None:
        mask = self._visible.mask(site, tuple(codes.shape)).expand(codes.shape).numpy()
        unequal = (self._passing.values[site] != codes.numpy()) & mask
        different = int(unequal.sum())
        if different and self.result.first is None:
            self.result.first = self._locate(site, unequal, codes)
        self.result.add(site, int(mask.sum()), different)

    def _end(self, function: str) -> None:
        self._passing.values.clear()
        for site in self._seen:  # an input of that name is no result
            raise ValueError(f"{function} of the program does not make site {site}")

    def _locate(self, site: str, unequal: NDArray[np.bool_], codes: Tensor) -> Divergence:
        index = tuple(int(i) for i in np.argwhere(unequal)[0])
        values = self._passing.values
        accumulator, real = before_rounding(self._program, site, index, values)
        return Divergence(
            site=site,
            call=self._call,
            sentence=int(self._sentences[index[0]]),
            index=index,
            machine=int(values[site][index]),
            reference=int(codes[index]),
            accumulator=accumulator,
            before_rounding=None if real is None else float(real),
            tie_distance=None if real is None else float(tie_distance(real)),
        )


@torch.inference_mode()
def prove_equal(
    model: Transformer,
    strict: StrictArithmetic,
    machine: Machine,
    sources: Sequence[list[int]],
    *,
    beam_width: int = 1,
    zeros: ZeroCounter | None = None,
) -> Equality:
    """Translate a batch with machine and fake-quant in lockstep, comparing all codes.

    Parameters
    ----------
    sources
        Ids of each sentence, ended by EOS.
    beam_width
        1 is greedy; more is beam search with length penalty 0.6 over the machine's logits.
    zeros
        Counts the zero operands of the machine's products.

    Raises
    ------
    ValueError
        If there is no sentence, the program does not make a site, or its logit_scale is not that of fake-quant, with
        which equal logits would not be equal translations.
    RuntimeError
        If a site was never compared.
    """
    if not sources:
        raise ValueError("no sentence to compare; at least one is needed")
    ours, theirs = machine.program.manifest.logit_scale, strict.plan.logit_scale
    if ours != theirs:
        raise ValueError(f"logit_scale is {ours} in the program and {theirs} in fake-quant; they must be equal")
    limits = [length_limit(len(source), model.config.max_positions) for source in sources]

    def search(stepper: Stepper) -> list[list[int]]:
        return greedy(stepper, limits) if beam_width == 1 else beam(stepper, limits, width=beam_width)

    before = machine.totals[Counter.OVERFLOW], strict.overflows
    try:
        lockstep = Lockstep(model, strict, machine, sources, zeros)
        result = lockstep.result
        result.integer = search(lockstep)
    finally:
        strict.observe = None
    result.overflows = machine.totals[Counter.OVERFLOW] - before[0]
    result.overflows_fake_quant = strict.overflows - before[1]
    unseen = strict.plan.quantizers.keys() - result.by_site.keys()
    if unseen:  # a comparison of nothing would pass
        raise RuntimeError(f"sites never compared: {', '.join(sorted(unseen))}")
    if result.codes_different or result.tokens_different:
        result.fake_quant = search(strict_stepper(model, strict, sources))
    else:  # equal logits at every step and one logit_scale: the search would be the same
        result.fake_quant = [list(ids) for ids in result.integer]
    return result
