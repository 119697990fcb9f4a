"""Equality over a whole text."""

from dataclasses import replace

from analysis.proof.equality import Equality, prove_equal
from analysis.translation.translate import Advance, Translations, batches, decoded, nothing
from analysis.workload import Configuration, Model
from hwsim.accelerator.zeros import ZeroCounter
from hwsim.formats import Overflow

Proof = tuple[Equality, Translations, Translations]
"""Equality, and the translations by the machine and by fake-quant."""


def prove_text(
    model: Model,
    configuration: Configuration,
    rows: list[list[int]],
    *,
    beam_width: int = 1,
    alone: bool = False,
    zeros: ZeroCounter | None = None,
    advance: Advance = nothing,
) -> Proof:
    """Equality over a whole text, and its translations by the machine and by fake-quant; `zeros` counts the machine's.

    Sentences run one by one, in the order of the text, if `alone` says so or where accumulators can overflow: a batch
    would count the overflows of its padding too.

    Raises
    ------
    ValueError
        If the text is empty, and as `prove_equal`.
    """
    if not rows:
        raise ValueError("no sentence to compare; at least one is needed")
    alone = alone or configuration.scheme.accumulator.overflow is not Overflow.PROVEN
    total = Equality()
    integer: list[list[int]] = [[] for _ in rows]
    fake_quant: list[list[int]] = [[] for _ in rows]
    for indices in batches(rows, beam_width, alone):
        sources = [rows[i] for i in indices]
        part = prove_equal(
            model.network, configuration.strict, configuration.machine, sources, beam_width=beam_width, zeros=zeros
        )
        if part.first is not None:
            part.first = replace(part.first, sentence=indices[part.first.sentence - 1] + 1)
        total.merge(part)
        for i, ours, theirs in zip(indices, part.integer, part.fake_quant, strict=True):
            integer[i], fake_quant[i] = ours, theirs
        advance(len(indices))
    return total, decoded(model.tokenizer, integer), decoded(model.tokenizer, fake_quant)
