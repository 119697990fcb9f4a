"""Text without translations, with those of the float model: what cannot be read again is left out."""

from types import SimpleNamespace
from typing import Any

import pytest

from analysis.translation import floating
from analysis.translation.translate import Translations


def model(limit: int) -> Any:
    """One token a letter."""
    network = SimpleNamespace(config=SimpleNamespace(max_positions=limit))
    return SimpleNamespace(network=network, encode=lambda sentences, what: [], tokenizer=SimpleNamespace(encode=list))


def test_translations_that_are_longer_when_read_again_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Translations(ids=[[], [], []], text=["four", "fives", "six"])
    monkeypatch.setattr(floating, "translate_float", lambda *_: made)
    found = floating.own_translations(model(4), ["a", "b", "c"], "text")
    assert (found.source, found.target, found.left_out) == (("a", "c"), ("four", "six"), 1)
    with pytest.raises(ValueError, match="text: the model's own translations are all longer than its 2 positions"):
        floating.own_translations(model(2), ["a", "b", "c"], "text")
