"""Sentences of random ids, ended by EOS, batches of them, and a small language of words."""

import random

from reference.data import ParallelText
from reference.tokenizer import EOS
from reference.train import Batch, make_batch

ENGLISH = ("the", "cell", "row", "opens", "a", "menu", "click", "document", "table", "format")
GERMAN = ("die", "zelle", "zeile", "öffnet", "ein", "menü", "klicken", "dokument", "tabelle", "format")


def word_by_word() -> ParallelText:
    """96 sentences of 3 to 8 words, translated word by word."""
    rng = random.Random(1)
    rows = [[rng.randrange(len(ENGLISH)) for _ in range(rng.randint(3, 8))] for _ in range(96)]
    source = tuple(" ".join(ENGLISH[i] for i in row) for row in rows)
    return ParallelText(source=source, target=tuple(" ".join(GERMAN[i] for i in row) for row in rows))


def sentences(count: int) -> list[list[int]]:
    """Sentences of a TINY model: of 3, 5, 7, ... ids, always the same."""
    rng = random.Random(1)
    return [[*(rng.randrange(EOS + 1, 20) for _ in range(2 + 2 * i)), EOS] for i in range(count)]


def copied(rows: list[list[int]]) -> Batch:
    """A batch whose target is its source."""
    return make_batch([(row, row) for row in rows])


def random_batch(vocabulary_size: int, count: int = 6, seed: int = 0) -> Batch:
    """Pairs of sentences that have nothing to do with each other, of 3 to 9 ids each."""
    rng = random.Random(seed)

    def words() -> list[int]:
        return [*(rng.randrange(EOS + 1, vocabulary_size) for _ in range(rng.randrange(2, 9))), EOS]

    return make_batch([(words(), words()) for _ in range(count)])
