"""Whole texts translated, by whatever can decode one position; by a machine without torch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine
from reference.decoding import Stepper, beam, greedy, length_limit
from reference.tokenizer import Tokenizer

ROWS_PER_BATCH = 64

Advance = Callable[[int], None]


def nothing(count: int) -> None:
    """No progress to report."""


@dataclass(frozen=True, kw_only=True)
class Translations:
    """Ids and text of one translation of each sentence, in the order of the text."""

    ids: list[list[int]]
    text: list[str]


def decoded(tokenizer: Tokenizer, ids: list[list[int]]) -> Translations:
    return Translations(ids=ids, text=[tokenizer.decode(row) for row in ids])


def translate_integer(
    tokenizer: Tokenizer,
    machine: Machine,
    rows: list[list[int]],
    *,
    beam_width: int = 1,
    alone: bool = False,
    advance: Advance = nothing,
) -> Translations:
    """Translations of a machine, in the order of the rows; `alone` as in `prove_text`."""
    order, stepper_of = batches(rows, beam_width, alone), partial(MachineStepper, machine)
    limit = machine.program.manifest.max_positions
    return translate(tokenizer, stepper_of, rows, order, limit, beam_width, advance)


def batches(rows: list[list[int]], beam_width: int, alone: bool) -> Iterable[list[int]]:
    """Indices of the rows of each batch."""
    return [[i] for i in range(len(rows))] if alone else by_length(rows, max(1, ROWS_PER_BATCH // beam_width))


def by_length(rows: Sequence[list[int]], size: int = ROWS_PER_BATCH) -> Iterator[list[int]]:
    """Indices of rows in batches of similar length, so that little is padding."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def translate(
    tokenizer: Tokenizer,
    stepper_of: Callable[[list[list[int]]], Stepper],
    rows: list[list[int]],
    order: Iterable[list[int]],
    max_positions: int,
    beam_width: int,
    advance: Advance,
) -> Translations:
    """Translations in the order of the rows, one batch of `order` after another."""
    ids: list[list[int]] = [[] for _ in rows]
    for indices in order:
        sources = [rows[i] for i in indices]
        limits = [length_limit(len(source), max_positions) for source in sources]
        stepper = stepper_of(sources)
        outputs = greedy(stepper, limits) if beam_width == 1 else beam(stepper, limits, width=beam_width)
        for i, output in zip(indices, outputs, strict=True):
            ids[i] = output
        advance(len(indices))
    return decoded(tokenizer, ids)
