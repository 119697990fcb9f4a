"""How much each block, layer and site minds fewer bits, the rest staying as in a target's `int8`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from analysis.accuracy.accuracy import Accuracy, FloatPass, float_passes, measure
from analysis.accuracy.bleu import bleu
from analysis.accuracy.parts import KINDS, Kind, Row, layer_of
from analysis.translation.torch_steppers import strict_stepper
from analysis.translation.translate import by_length
from analysis.workload import Model
from hwsim.program.targets import DEFAULT_TARGET
from hwsim.program.targets import target as named_target
from reference.data import ParallelText
from reference.decoding import greedy, length_limit
from reference.quantize.calibrate import Range
from reference.quantize.graph import trace
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import Rule, Scheme, SiteSettings, preset
from reference.quantize.sites import GROUPS, Role, Site, enumerate_sites
from reference.quantize.strict import StrictArithmetic

Settled = tuple[SiteSettings, ...]
"""What a scheme comes to, site by site: schemes that come to the same are run once."""

BITS = (8, 6, 4, 3)
BASELINE = "int8"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What gets fewer bits together: the sites of a group, of a layer, or a single one."""

    kind: Kind
    name: str
    sites: tuple[str, ...]


def baseline(accelerator: str = DEFAULT_TARGET) -> Scheme:
    """`int8` of an accelerator; the error lists the known ones."""
    return preset(BASELINE, accelerator)


def targets(sites: dict[str, Site], kinds: Sequence[Kind] = KINDS, accelerator: str = DEFAULT_TARGET) -> list[Target]:
    """All targets of some kinds: groups as in `GROUPS`, layers and sites in order of execution.

    What has a given width is no target: logits, and gammas that are signs. What is wider than the rest, as a residual
    sum may be, is one only by itself. Embeddings and positions are a layer, the generator is another.

    Raises
    ------
    ValueError
        If a kind is unknown; lists the known ones.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown kind of target {unknown[0]!r}; known: {', '.join(KINDS)}")
    plain = baseline(accelerator)
    settings = plain.resolve(sites)
    free = {name: site for name, site in sites.items() if site.role is not Role.LOGITS and not settings[name].narrow}
    together = {name: site for name, site in free.items() if settings[name].bits == plain.activation_bits}
    found = []
    if "group" in kinds:
        members = {group: [name for name, site in together.items() if site.group == group] for group in GROUPS}
        found += _targets("group", members)
    if "layer" in kinds:
        layers = sorted(dict.fromkeys(map(layer_of, together)), key=lambda layer: layer in ("embedding", "generator"))
        found += _targets("layer", {layer: [s for s in together if layer_of(s) == layer] for layer in layers})
    if "site" in kinds:
        found += _targets("site", {name: [name] for name in free})
    return found


def _targets(kind: Kind, members: dict[str, list[str]]) -> list[Target]:
    return [Target(kind=kind, name=name, sites=tuple(sites)) for name, sites in members.items() if sites]


def variant(target: Target, bits: int, accelerator: str = DEFAULT_TARGET) -> Scheme:
    """`int8` of an accelerator, but with the weights and activations of the target at so many bits.

    Raises
    ------
    ValueError
        If no code has so many bits. What a site cannot have (scores of 13 bits) is refused when the scheme is resolved.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"{target.name} at {bits} bits; allowed are 2 to 16")
    rules = [Rule(pattern=site, bits=bits) for site in target.sites]
    plain = baseline(accelerator)
    return msgspec.structs.replace(plain, name=f"{plain.name}, {target.name} at {bits} bits", rules=rules)


def passes_by_length(model: Model, text: ParallelText, what: str = "text") -> list[FloatPass]:
    """The float model's side of the comparison, in batches of similar length; the order of sentences is no matter."""
    return list(float_passes(model.network, model.batches_by_length(text, what)))


def count_schemes(
    model: Model,
    kinds: Sequence[Kind] = KINDS,
    bits: Sequence[int] = BITS,
    accelerator: str = DEFAULT_TARGET,
) -> int:
    """How many different schemes `sensitivity` measures: what is plain `int8` at 8 bits counts once."""
    sites = _sites(model, accelerator)
    chosen = targets(sites, kinds, accelerator)
    return len({_settle(variant(target, width, accelerator), sites) for target in chosen for width in bits})


def _sites(model: Model, accelerator: str) -> dict[str, Site]:
    return enumerate_sites(trace(model.network), named_target(accelerator))


def _settle(scheme: Scheme, sites: dict[str, Site]) -> Settled:
    return tuple(scheme.resolve(sites).values())


def sensitivity(
    model: Model,
    ranges: dict[str, Range],
    passes: Iterable[FloatPass],
    kinds: Sequence[Kind] = KINDS,
    bits: Sequence[int] = BITS,
    advance: Callable[[], None] = lambda: None,
    accelerator: str = DEFAULT_TARGET,
) -> list[Row]:
    """Teacher-forced loss and SQNR of every target at every width.

    Parameters
    ----------
    ranges
        Of all sites, from calibration.
    passes
        Of the float model, see `passes_by_length`.
    advance
        Called after each measured scheme, of which there are `count_schemes(model, kinds, bits, accelerator)`.
    accelerator
        Name in `hwsim.program.targets`, whose `int8` is the baseline.

    Returns
    -------
    list of Row
        In the order of `targets`, widths falling. At 8 bits all are plain `int8`, except for the residual sums. A width
        for which an operator of the accelerator has no constants has no row.

    Raises
    ------
    ValueError
        If a kind is unknown, a site cannot have the width, there is no text, or the ranges are of another model.
    """
    kept = list(passes)
    if not kept:
        raise ValueError("sensitivity is measured on text, and there is none")
    sites = _sites(model, accelerator)
    make_plan(model.network, baseline(accelerator), ranges)  # what is wrong with this is wrong with all
    measured: dict[Settled, Accuracy | None] = {}
    rows = []
    for target in targets(sites, kinds, accelerator):
        for width in sorted(set(bits), reverse=True):
            scheme = variant(target, width, accelerator)
            key = _settle(scheme, sites)
            if key not in measured:
                plan = _plan(model, scheme, ranges)
                measured[key] = None if plan is None else measure(model.network, plan, kept)
                advance()
            accuracy = measured[key]
            if accuracy is not None:
                rows.append(_row(target, width, accuracy, accelerator))
    return rows


def _plan(model: Model, scheme: Scheme, ranges: dict[str, Range]) -> Plan | None:
    """The plan of a variant, or None where its accelerator's operators have no constants at such a width."""
    try:
        return make_plan(model.network, scheme, ranges)
    except ValueError:
        return None


def _row(target: Target, bits: int, accuracy: Accuracy, accelerator: str) -> Row:
    (logits,) = accuracy.sites.values()
    return Row(
        kind=target.kind,
        name=target.name,
        bits=bits,
        loss_increase=accuracy.loss_increase,
        sqnr_db=logits.sqnr_db,
        accelerator=accelerator,
        interval=accuracy.interval,
    )


def add_bleu(
    rows: Sequence[Row],
    model: Model,
    ranges: dict[str, Range],
    text: ParallelText,
    advance: Callable[[], None] = lambda: None,
) -> list[Row]:
    """The rows with BLEU of a text, translated greedily by strict fake-quant, hence as the integer machine would.

    Rows whose schemes come to the same are translated once; `advance` is called after each translation of the text.

    Raises
    ------
    ValueError
        If a row is of another model, or a sentence is longer than the position table.
    """
    sites = {name: _sites(model, name) for name in {row.accelerator for row in rows}}
    known = {(name, one.kind, one.name): one for name in sites for one in targets(sites[name], accelerator=name)}
    sources = model.encode(text.source, "source")
    scores: dict[tuple[str, Settled], float] = {}
    scored = []
    for row in rows:
        if (row.accelerator, row.kind, row.name) not in known:
            raise ValueError(f"the model has no {row.kind} {row.name!r}")
        scheme = variant(known[row.accelerator, row.kind, row.name], row.bits, row.accelerator)
        key = row.accelerator, _settle(scheme, sites[row.accelerator])
        if key not in scores:
            hypotheses = _translate(model, make_plan(model.network, scheme, ranges), sources)
            scores[key] = bleu(hypotheses, text.target).score
            advance()
        scored.append(replace(row, bleu=scores[key]))
    return scored


def _translate(model: Model, plan: Plan, sources: Sequence[list[int]]) -> list[str]:
    """Greedy translations by strict fake-quant, in the order of the sources."""
    strict = StrictArithmetic(model.network, plan)
    translations = [""] * len(sources)
    for batch in by_length(sources):
        rows = [sources[index] for index in batch]
        limits = [length_limit(len(row), model.network.config.max_positions) for row in rows]
        outputs = greedy(strict_stepper(model.network, strict, rows), limits)
        for index, ids in zip(batch, outputs, strict=True):
            translations[index] = model.tokenizer.decode(ids)
    return translations
