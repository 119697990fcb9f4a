"""What a target's translations lose to which of its operators, each put aside alone, and what its hardware can reach.

`python -m analysis.accuracy.ablation --out docs/results/targets/ablation.json`: choices on the validation text first,
then every variant on the test text, each against its target's native configuration.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from analysis.accuracy.bleu import bleu, paired_difference
from analysis.output.context import Context, context
from analysis.translation.floating import translate_float
from analysis.translation.translate import translate_integer
from analysis.workload import Model, calibration_batches, configure, load_model
from hwsim.files import write_whole
from reference.data import ParallelText, corpus
from reference.quantize.calibrate import Range, calibrate
from reference.quantize.centring import centred
from reference.quantize.scheme import Rule, scheme_for

COMMAND = ("python", "-m", "analysis.accuracy.ablation")
NATIVE = "native"
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Of its calibrated range that a residual sum spans."""
TOPS = (1.0, 1.5, 2.0, 2.5)
"""Nat, of `hwsim centre`."""
TABLE_SOFTMAX = Rule(pattern="*.softmax.output", softmax="table")
FULLYQT_LAYERNORM = Rule(pattern="*.layernorm.output", layernorm="fullyqt")
WHOLE_SUMS = Rule(pattern="*.residual", range=1.0)


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a target's native configuration.

    Attributes
    ----------
    target, change
        Whose, and in words.
    within
        Whether its hardware computes it.
    top
        Where `hwsim centre` put the greatest score, in nat; None: the model as it is.
    rules, fields
        Of the scheme.
    """

    target: str
    change: str
    within: bool
    top: float | None = None
    rules: tuple[Rule, ...] = ()
    fields: Mapping[str, Any] = {}


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """BLEU and events of a variant's machine; `less_native`: 95% interval of its BLEU less that of the native one."""

    variant: Variant
    bleu: float
    less_native: tuple[float, float] | None
    events: dict[str, int]


class Ablation(msgspec.Struct, frozen=True, kw_only=True):
    """The study: `chosen` on validation text, `measured` on test text."""

    context: Context
    sentences: dict[str, int]
    bleu_float: dict[str, float]
    chosen: list[Measured]
    measured: list[Measured]


def choices() -> Iterator[Variant]:
    """What is to be chosen on held-out text."""
    for target in ("pulp", "ita-head"):
        for share in SHARES:
            rule = Rule(pattern="*.residual", range=share)
            yield Variant(target=target, change=f"sums span {share:g} of their range", within=True, rules=(rule,))
    for target in ("ita", "deeploy"):
        yield Variant(target=target, change=NATIVE, within=True)
        for top in TOPS:
            yield Variant(target=target, change=f"keys centred at {top:g} nat", within=True, top=top)


def variants(top: float) -> Iterator[Variant]:
    """Native configurations of the targets with operators of their own, and what was changed in each."""
    wide = {"residual_bits": 16, "beyond": ["operand_bits"]}
    for target in ("ita", "ita-head", "deeploy", "pulp"):
        yield Variant(target=target, change=NATIVE, within=True)
        yield Variant(target=target, change="sums span all of their range", within=True, rules=(WHOLE_SUMS,))
        yield Variant(target=target, change="LayerNorm of fullyqt", within=False, rules=(FULLYQT_LAYERNORM,))
        yield Variant(target=target, change="softmax of fullyqt", within=False, rules=(TABLE_SOFTMAX,))
        yield Variant(target=target, change="16-bit sums", within=False, fields=wide)
        both = (FULLYQT_LAYERNORM, TABLE_SOFTMAX)
        yield Variant(target=target, change="all three", within=False, rules=both, fields=wide)
        if target in ("ita", "deeploy"):
            free = {"beyond": ["score_scale"]}
            yield Variant(target=target, change="any score scale", within=False, fields=free)
            yield Variant(target=target, change=f"keys centred at {top:g} nat", within=True, top=top)
    yield Variant(target="gemmini", change=NATIVE, within=True)
    ibert = Rule(pattern="*.layernorm.output", layernorm="ibert")
    yield Variant(target="gemmini", change="LayerNorm of ibert", within=False, rules=(ibert,))


class _Study:
    """A text, models with and without centred keys, their ranges, and translations of native configurations."""

    def __init__(self, model: Model, text: ParallelText) -> None:
        self._model, self._text = model, text
        self._batches = calibration_batches(model)
        self._models: dict[float | None, tuple[Model, dict[str, Range]]] = {}
        self._native: dict[str, list[str]] = {}
        self._rows = model.encode(text.source, "text")
        self.bleu_float = bleu(translate_float(model, self._rows).text, text.target).score

    def measure(self, variant: Variant) -> Measured:
        model, ranges = self._of(variant.top)
        scheme = scheme_for(variant.target, name=variant.change, rules=list(variant.rules), **variant.fields)
        machine = configure(model, scheme, ranges).machine
        found = translate_integer(model.tokenizer, machine, self._rows).text
        native = self._native.get(variant.target)
        if variant.change == NATIVE:
            self._native[variant.target] = found
        return Measured(
            variant=variant,
            bleu=bleu(found, self._text.target).score,
            less_native=None if native is None else paired_difference(found, native, self._text.target),
            events={counter.name.lower(): count for counter, count in machine.totals.items() if count},
        )

    def _of(self, top: float | None) -> tuple[Model, dict[str, Range]]:
        if top not in self._models:
            network = self._model.network if top is None else centred(self._model.network, self._batches, top)
            model = Model(folder=self._model.folder, network=network, tokenizer=self._model.tokenizer)
            self._models[top] = model, calibrate(network, self._batches)
        return self._models[top]


def study(
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    sentences: Annotated[int, typer.Option(min=1, help="At most, of each text.")] = 1000,
) -> None:
    """Choose on the validation text, measure on the test text."""
    began = time.monotonic()
    model = load_model()
    held_out, test = (corpus(name).head(sentences) for name in ("validation", "test"))
    validation = _Study(model, held_out)
    chosen = [_told(validation.measure(variant)) for variant in choices()]
    tops: dict[float, float] = {}
    for one in chosen:
        if one.variant.top is not None:
            tops[one.variant.top] = tops.get(one.variant.top, 0) + one.bleu
    tested = _Study(model, test)
    measured = [_told(tested.measure(variant)) for variant in variants(max(tops, key=lambda top: tops[top]))]
    result = Ablation(
        context=context([*COMMAND, *sys.argv[1:]], model.folder, time.monotonic() - began),
        sentences={"validation": len(held_out), "test": len(test)},
        bleu_float={"validation": validation.bleu_float, "test": tested.bleu_float},
        chosen=chosen,
        measured=measured,
    )
    write_whole(out, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")


def _told(one: Measured) -> Measured:
    print(f"{one.variant.target}, {one.variant.change}: {one.bleu:.2f}", flush=True)
    return one


if __name__ == "__main__":
    typer.run(study)
