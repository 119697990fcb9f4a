"""A small language and its vocabulary, shared by the tests of the reference."""

import random
from pathlib import Path

import pytest
import torch

from reference.data import ParallelText
from reference.tokenizer import train_tokenizer

ENGLISH = ("the", "cell", "row", "opens", "a", "menu", "click", "document", "table", "format")
GERMAN = ("die", "zelle", "zeile", "öffnet", "ein", "menü", "klicken", "dokument", "tabelle", "format")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The tensors here are small: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_text() -> ParallelText:
    """96 sentences of 3 to 8 words, translated word by word."""
    rng = random.Random(1)
    rows = [[rng.randrange(len(ENGLISH)) for _ in range(rng.randint(3, 8))] for _ in range(96)]
    source = tuple(" ".join(ENGLISH[i] for i in row) for row in rows)
    return ParallelText(source=source, target=tuple(" ".join(GERMAN[i] for i in row) for row in rows))


@pytest.fixture(scope="session")
def vocabulary(small_text: ParallelText, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of 64 pieces trained on the small text."""
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.model"
    train_tokenizer([*small_text.source, *small_text.target], 64, path)
    return path
