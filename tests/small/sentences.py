"""Sentences of random ids, ended by EOS, and batches of them."""

import random

from reference.tokenizer import EOS
from reference.train import Batch, make_batch


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
