"""The corpus builder, on a help tree small enough to read."""

import random
import sys
from pathlib import Path

import pytest

from reference import corpus as builder
from reference.data import read_lines

PAGE = '<html><head><meta charset="utf-8"><title>t</title></head><body>{}</body></html>'


def write_page(root: Path, language: str, name: str, body: str) -> Path:
    path = root / language / "text" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PAGE.format(body), encoding="utf-8")
    return path


def test_paragraphs_are_found_by_identifier_and_stripped_of_markup(tmp_path: Path) -> None:
    body = """
        <h2 id="hd_id1">Opening <b>Files</b></h2>
        <p id="par_id2">Click   <em>Öffnen</em>
           &amp; wait.</p>
        <p id="bm_id3">A bookmark.</p> <p>No identifier.</p> <div id="par_id4">No paragraph.</div>
    """
    page = write_page(tmp_path, "en-US", "a.html", body)
    assert builder.paragraphs(page) == {"hd_id1": "Opening Files", "par_id2": "Click Öffnen & wait."}


def test_hidden_variants_for_other_systems_are_dropped_and_their_tail_is_kept(tmp_path: Path) -> None:
    body = """<p id="par_id1">Press <span id="MAC_1" hidden="true">Command</span><span id="DEF_1">Ctrl</span>+S now
        <span id="WIN_2" hidden="hidden">on <b>Windows</b></span>or<span id="UNIX_3" hidden="true">x</span> later
        <span id="MAC_4">shown</span> <span id="other" hidden="true">kept</span>.</p>"""
    page = write_page(tmp_path, "en-US", "a.html", body)
    assert builder.paragraphs(page) == {"par_id1": "Press Ctrl+S now or later shown kept."}


def test_paragraphs_align_on_file_and_identifier(tmp_path: Path) -> None:
    write_page(tmp_path, "en-US", "b/two.html", '<p id="par_1">Two one.</p><p id="par_2">Two two.</p>')
    write_page(tmp_path, "de", "b/two.html", '<p id="par_2">Zwei zwei.</p><p id="par_3">Zwei drei.</p>')
    write_page(tmp_path, "en-US", "a.html", '<p id="par_1">One.</p>')
    write_page(tmp_path, "de", "a.html", '<p id="par_1">Eins.</p>')
    write_page(tmp_path, "en-US", "only.html", '<p id="par_1">Only English.</p>')
    pairs = list(builder.aligned_paragraphs(tmp_path, "en-US", "de"))
    assert pairs == [("One.", "Eins."), ("Two two.", "Zwei zwei.")]


def test_sentences_split_only_where_both_sides_agree() -> None:
    assert builder.sentence_pairs(("One. Two! Three?", "Eins. Zwei! Drei?")) == [
        ("One.", "Eins."),
        ("Two!", "Zwei!"),
        ("Three?", "Drei?"),
    ]
    assert builder.sentence_pairs(("Save it. Äh.", "Sichern. Ähm.")) == [("Save it.", "Sichern."), ("Äh.", "Ähm.")]
    whole = ("One. Two.", "Eins und zwei.")
    assert builder.sentence_pairs(whole) == [whole]
    assert builder.sentence_pairs(("See e.g. this.", "Siehe z.B. dies.")) == [("See e.g. this.", "Siehe z.B. dies.")]


@pytest.mark.parametrize(
    ("source", "target", "clean"),
    [
        ("This is a sentence.", "Dies ist ein Satz.", True),
        ("Is this a sentence?", "Ist das ein Satz!", True),
        ("Only three words.", "Dies sind vier Wörter.", False),
        ("These are four words.", "Nur drei Wörter.", False),
        ("No final punctuation here", "Am Ende kein Punkt.", False),
        ("This is the same.", "This is the same.", False),
        ("w " * 39 + "w.", "v " * 39 + "v.", True),
        ("w " * 40 + "w.", "v " * 39 + "v.", False),
        ("", "", False),
    ],
)
def test_clean_pairs_have_length_punctuation_and_differ(source: str, target: str, clean: bool) -> None:
    assert builder.is_clean((source, target)) is clean


def test_normalised_text_ignores_case_digits_and_punctuation() -> None:
    assert builder.normalised("Öffnen Sie_Seite 12 (neu)!") == builder.normalised("öffnen sie seite; NEU") != ""
    assert builder.normalised("12 + 3 = 15!") == ""


def random_pairs(count: int) -> list[builder.Pair]:
    """Pairs with many near-duplicates on either side."""
    rng = random.Random(3)
    return [
        (f"Cell {rng.choice('abcdefgh') * rng.randint(1, 9)} {i}.", f"Zelle {rng.choice('xyz') * rng.randint(1, 9)}!")
        for i in range(count)
    ]


def test_the_split_leaks_nothing_and_is_determined_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "VALIDATION_PAIRS", 3)
    monkeypatch.setattr(builder, "TEST_PAIRS", 6)
    pairs = random_pairs(400)
    parts = builder.split(pairs, seed=1)
    assert [len(parts["validation"]), len(parts["test"])] == [3, 6]
    held_out = parts["validation"] + parts["test"]
    assert set(held_out) <= set(pairs)
    for side in (0, 1):
        keys = [builder.normalised(pair[side]) for pair in held_out]
        assert len(set(keys)) == len(keys)
        assert not set(keys) & {builder.normalised(pair[side]) for pair in parts["train"]}
    dropped = [pair for pair in pairs if pair not in parts["train"] and pair not in held_out]
    assert dropped  # the near-duplicates of what is held out
    assert builder.split(pairs, seed=1) == parts
    assert builder.split(pairs, seed=2) != parts


def test_a_split_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of alike sources the first pair stands for all; of alike targets only one is held out, and none is trained on."""
    monkeypatch.setattr(builder, "VALIDATION_PAIRS", 1)
    monkeypatch.setattr(builder, "TEST_PAIRS", 2)
    first, again, other = ("Open a file.", "Eins ist da."), ("OPEN a file!", "Zwei ist da."), ("1 2 3.", "Drei ist da.")
    twin, told = ("Close it.", "Eins IST da!"), ("Save it now.", "4 5 6.")
    far = ("Print the page.", "Vier ist da.")
    parts = builder.split([first, again, other, twin, told, far], seed=1)
    held_out = {*parts["validation"], *parts["test"]}
    assert again not in held_out and other not in held_out and told not in held_out
    assert far in held_out and len(held_out & {first, twin}) == 1
    assert [len(parts["validation"]), len(parts["test"])] == [1, 1]
    assert parts["train"] == ([other, told] if first in held_out else [again, other, told])


def test_the_command_writes_the_same_files_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builder, "VALIDATION_PAIRS", 2)
    monkeypatch.setattr(builder, "TEST_PAIRS", 3)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    english = "".join(f'<p id="par_{i}">The {w} cell is open.</p>' for i, w in enumerate(words))
    german = "".join(f'<p id="par_{i}">Die Zelle {w} ist offen.</p>' for i, w in enumerate(words))
    write_page(tmp_path, "en-US", "a.html", english)
    write_page(tmp_path, "de", "a.html", german)
    contents = []
    for out in ("first", "second"):
        monkeypatch.setattr(sys, "argv", ["corpus", str(tmp_path), str(tmp_path / out)])
        builder.main()
        contents.append({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()})
    assert contents[0] == contents[1]
    assert "10 aligned paragraphs, 10 unique, 10 clean sentence pairs" in capsys.readouterr().out
    sizes = {name: len(read_lines(tmp_path / "first" / name)) for name in contents[0]}
    expected = {"train": 5, "validation": 2, "test": 3}
    assert sizes == {f"{name}.{code}.xz": count for name, count in expected.items() for code in ("en", "de")}
    english_test = read_lines(tmp_path / "first" / "test.en.xz")
    german_test = read_lines(tmp_path / "first" / "test.de.xz")
    assert [line.split()[1] for line in english_test] == [line.split()[2] for line in german_test]
