"""What `hwsim verify` finds out about a program: equality, BLEU, overflows and safe accumulator widths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import RenderableType

from analysis.accuracy.accumulators import (
    Overflowing,
    Watch,
    Width,
    in_words,
    overflow_table,
    safe_widths,
    width_table,
)
from analysis.accuracy.bleu import Bleu, bleu, paired_difference
from analysis.inspect.provenance import scheme_provenance
from analysis.proof.equality import Equality
from analysis.proof.text import prove_text
from analysis.translation.translate import Advance, nothing, translate_integer
from analysis.workload import Configuration, Model, with_accumulator
from hwsim.formats import Accumulator


@dataclass(frozen=True, kw_only=True)
class Score:
    """BLEU; beside another accumulator also that of the program as it is, and the 95% interval of ours less it."""

    ours: Bleu
    own: Bleu | None
    difference: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found; `accumulator` is the one put in place of the program's, `widths` is empty if nobody watched."""

    configuration: Configuration
    sentences: int
    accumulator: Accumulator | None
    equality: Equality
    score: Score | None
    widths: list[Width]
    overflowing: list[Overflowing]


def verify(
    model: Model,
    configuration: Configuration,
    rows: list[list[int]],
    *,
    references: Sequence[str] | None = None,
    accumulator: Accumulator | None = None,
    watched: bool = False,
    beam_width: int = 1,
    advance: Advance = nothing,
) -> Verification:
    """Prove a program equal to fake-quant on a text, perhaps with another accumulator.

    Parameters
    ----------
    configuration
        Of a program file.
    rows
        Ids of each sentence, ended by EOS.
    references
        Their translations, for BLEU; None if they are not known.
    accumulator
        Put in place of every matrix product's, in the machine and in fake-quant.
    watched
        Measure safe widths. With `accumulator` they always are; sentences then run one by one.
    advance
        Called with the number of sentences done; each is done once, twice if `translates_twice`.

    Raises
    ------
    ValueError
        If the text is empty, or the program cannot have the accumulator.
    """
    verified = configuration if accumulator is None else with_accumulator(model, configuration, accumulator)
    watch = Watch(verified.program) if watched or accumulator is not None else None
    if watch is not None:
        verified = replace(verified, machine=watch)
    equality, integer, _ = prove_text(
        model, verified, rows, beam_width=beam_width, alone=watch is not None, advance=advance
    )
    score = None
    if references is not None:
        score = Score(ours=bleu(integer.text, references), own=None, difference=None)
    if score is not None and accumulator is not None and references is not None:
        own = translate_integer(model.tokenizer, configuration.machine, rows, beam_width=beam_width, advance=advance)
        difference = paired_difference(integer.text, own.text, references)
        score = replace(score, own=bleu(own.text, references), difference=difference)
    return Verification(
        configuration=verified,
        sentences=len(rows),
        accumulator=accumulator,
        equality=equality,
        score=score,
        widths=[] if watch is None else safe_widths(verified.program, watch.observed),
        overflowing=[] if watch is None else watch.overflowing(),
    )


def translates_twice(accumulator: Accumulator | None, references: Sequence[str] | None) -> bool:
    """Whether `verify` translates with the program's own accumulator too."""
    return accumulator is not None and references is not None


def lines(path: str, found: Verification) -> list[str]:
    """The result in a few lines."""
    equality = found.equality
    said = [
        f"{path}: {found.sentences} sentences, {equality.codes_compared:,} codes compared, "
        f"{equality.codes_different} different, {equality.tokens_different} tokens different, "
        f"{equality.overflows} overflows",
        str(scheme_provenance(found.configuration.scheme, found.configuration.plan.sites)),
    ]
    if found.accumulator is not None:
        said.append(f"accumulators of {in_words(found.accumulator)}, in place of the program's own")
    if found.score is not None:
        said.append(_score_line(found.score))
    if equality.first is not None:
        said.append(f"first divergence: {equality.first}")
    return said


def _score_line(score: Score) -> str:
    ours, own = score.ours, score.own
    text = f"BLEU {ours.score:.1f} [{ours.low:.1f}, {ours.high:.1f}]"
    if own is not None and score.difference is not None:
        low, high = score.difference
        text += f"; with its own accumulators {own.score:.1f}, difference [{low:+.1f}, {high:+.1f}]"
    return text


def tables(found: Verification) -> list[RenderableType]:
    """Overflows and, if somebody watched, safe widths."""
    tables: list[RenderableType] = [overflow_table(found.overflowing)] if found.overflowing else []
    return [*tables, width_table(found.widths)] if found.accumulator is not None else tables
