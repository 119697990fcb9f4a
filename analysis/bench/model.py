"""Whole translations: tokens a second of the machine, of the models that it equals, and of CTranslate2."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from analysis.bench import ctranslate
from analysis.bench import threads as threading
from analysis.bench.memory import peak_of
from analysis.bench.subjects import Rows, Subject
from analysis.bench.timing import Spread, Work, interleaved, speedups
from analysis.translation.steppers import MachineStepper
from analysis.translation.torch_steppers import float_stepper, strict_stepper
from reference.decoding import Stepper, greedy

Translations = list[list[int]]

OURS = "integer"
PEERS = ("float32", "fake_quant", "ctranslate2_int8")
ALSO = "ctranslate2_float32"
"""For the agreement: converted right, it says what the float model says."""
MEGA = 1e6


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model. Rates are generated tokens (EOS included) a second of wall time, encoding included.

    `seconds` of a whole pass over the text; `agreement` the share of tokens that are those of the float model, and for
    fake-quant of the machine; `setting` how CTranslate2 was fastest, as batches at once x threads a batch.
    """

    name: str
    batch: int
    sentences: int
    threads: int
    repeats: int
    tokens: dict[str, int]
    seconds: dict[str, Spread]
    tokens_per_s: dict[str, float | None]
    ratio: dict[str, float | None]
    agreement: dict[str, float]
    setting: dict[str, str]
    peak_rss_mb: float
    notes: list[str]


def agreement(ours: Translations, theirs: Translations) -> float:
    """Share of positions with the same token, of the longer translation of each sentence."""
    pairs = list(zip(ours, theirs, strict=True))
    same = sum(x == y for one, other in pairs for x, y in zip(one, other, strict=False))
    return same / max(1, sum(max(len(one), len(other)) for one, other in pairs))


def count(translations: Translations) -> int:
    """Tokens, EOS included."""
    return sum(map(len, translations))


def translator(subject: Subject, stepper_of: Callable[[Rows], Stepper]) -> Callable[[], Translations]:
    """A pass over all batches."""

    @torch.inference_mode()
    def run() -> Translations:
        return [out for rows in subject.batches for out in greedy(stepper_of(rows), subject.limits(rows))]

    return run


def own(subject: Subject) -> dict[str, Callable[[], Translations]]:
    """The machine, and the two models that it stands for."""
    network, strict = subject.network, subject.strict
    return {
        OURS: translator(subject, lambda rows: MachineStepper(subject.machine, rows)),
        "float32": translator(subject, lambda rows: float_stepper(network, rows)),
        "fake_quant": translator(subject, lambda rows: strict_stepper(network, strict, rows)),
    }


class Others:
    """CTranslate2 with a model, at its fastest setting for some threads."""

    def __init__(self, subject: Subject, threads: int) -> None:
        self.subject = subject
        self.peer = ctranslate.Peer(subject.network)
        self.limits = [max(subject.limits(rows)) for rows in subject.batches]
        self.settings: dict[str, str] = {}
        self.passes = {f"ctranslate2_{kind}": self._fastest(kind, threads) for kind in ("int8", "float32")}

    def _fastest(self, kind: str, threads: int) -> Callable[[], Translations]:
        """Every split of the threads into batches at once and threads a batch is tried."""
        splits = [(inter, threads // inter) for inter in range(1, threads + 1) if threads % inter == 0]
        passes = {f"{inter} x {intra}": self._pass(kind, inter, intra) for inter, intra in splits}
        seconds = interleaved(passes, 3 if len(passes) > 1 else 1)
        best = min(seconds, key=lambda name: seconds[name].median)
        self.settings[f"ctranslate2_{kind}"] = best
        return passes[best]

    def _pass(self, kind: str, inter: int, intra: int) -> Callable[[], Translations]:
        opened: Any = self.peer.open(kind, inter, intra)
        return lambda: self.peer.translate(opened, self.subject.batches, self.limits)

    def cut(self, translations: Translations) -> Translations:
        """As far as our own limits, which are one a sentence and not one a batch."""
        limits = [limit for rows in self.subject.batches for limit in self.subject.limits(rows)]
        return [row[:limit] for row, limit in zip(translations, limits, strict=True)]


def measure(subject: Subject, *, threads: int, repeats: int) -> Row:
    """One model, all contenders in turns."""
    passes, notes = own(subject), []
    others = None
    if threading.peer("ctranslate2") is not None:
        refused = ctranslate.refusal(subject.network)
        if refused is None:
            others = Others(subject, threads)
            passes |= others.passes
        else:
            notes.append(refused)
    found = {name: one() for name, one in passes.items()}
    work: dict[str, Work] = dict(passes)
    seconds = interleaved(work, repeats)
    if others is not None:
        others.peer.close()
    peak, alone = peak_of(subject.program, subject.batches)
    if alone != found[OURS]:
        raise ValueError(f"{subject.name}: the machine translated otherwise in a process of its own")
    tokens = {name: count(one) for name, one in found.items()}
    said = {name: others.cut(one) if others and name in others.passes else one for name, one in found.items()}
    return Row(
        name=subject.name,
        batch=max(len(rows) for rows in subject.batches),
        sentences=sum(len(rows) for rows in subject.batches),
        threads=threads,
        repeats=repeats,
        tokens=tokens,
        seconds=seconds,
        **rates(tokens, seconds),
        agreement=agreements(said),
        setting={} if others is None else others.settings,
        peak_rss_mb=peak / MEGA,
        notes=notes,
    )


def rates(tokens: Mapping[str, int], seconds: Mapping[str, Spread]) -> dict[str, dict[str, float | None]]:
    """Tokens a second by the medians, and ratios; contenders that generate other tokens differ in time, not in rate."""
    a_token = {name: scaled(seconds[name], tokens[name]) for name in tokens}
    every = (OURS, *PEERS, ALSO)
    return {
        "tokens_per_s": {name: 1 / a_token[name].median if name in a_token else None for name in every},
        "ratio": speedups(a_token, OURS, PEERS),
    }


def agreements(said: Mapping[str, Translations]) -> dict[str, float]:
    """With the float model; of fake-quant with the machine."""
    against = {name: OURS if name == "fake_quant" else "float32" for name in said if name != "float32"}
    return {name: agreement(said[other], said[name]) for name, other in against.items()}


def scaled(seconds: Spread, tokens: int) -> Spread:
    """Seconds a token."""
    least = max(tokens, 1)
    return Spread(min=seconds.min / least, median=seconds.median / least, max=seconds.max / least)
