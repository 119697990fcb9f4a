"""Reading parallel text, and the corpus that ships."""

import contextlib
import gzip
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from reference.corpus import normalised
from reference.data import ParallelText, corpus, read_lines, read_parallel

TEXT = "Öffnen Sie das Menü.\nSpeichern — fertig!\n"
LINES = ("Öffnen Sie das Menü.", "Speichern — fertig!")

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"text.de": bytes, "text.gz": gzip.compress, "text.xz": lzma.compress}


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(COMPRESS.get(name, bytes)(content))
    return path


@pytest.mark.parametrize("name", COMPRESS)
def test_reads_plain_and_compressed_text(tmp_path: Path, name: str) -> None:
    assert read_lines(write(tmp_path, name, TEXT.encode())) == LINES


@pytest.mark.parametrize("content", [TEXT.replace("\n", "\r\n"), TEXT[:-1], TEXT.replace("Menü.", "Menü. \t")])
def test_line_ends_and_outer_space_do_not_matter(tmp_path: Path, content: str) -> None:
    assert read_lines(write(tmp_path, "text.de", content.encode())) == LINES


@pytest.mark.parametrize("name", COMPRESS)
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str) -> None:
    assert read_lines(write(tmp_path, name, TEXT.encode("utf-8-sig"))) == LINES
    later = f"\ufeff{TEXT}\ufeffthree\n".encode()  # elsewhere the same bytes are a character
    assert read_lines(write(tmp_path, name, later)) == (*LINES, "\ufeffthree")
    with pytest.raises(ValueError, match="is empty"):
        read_lines(write(tmp_path, name, "".encode("utf-8-sig")))


def test_only_newlines_divide_lines(tmp_path: Path) -> None:
    first = "one\u2028still one\x0bstill\x85one"
    assert read_lines(write(tmp_path, "text.de", f"{first}\ntwo\n".encode())) == (first, "two")


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; it must hold one sentence a line"),
        (b"one\n\nthree\n", "line 2: empty line"),
        (b"one\n \t \n", "line 2: empty line"),
        ("one\nzwei\ndr\u00e4i\n".encode("latin-1"), "line 3: not valid UTF-8 at byte 3 of the line"),
        (b"one\n\xff\xfe\n", "line 2: not valid UTF-8 at byte 1 of the line"),
    ],
)
def test_unusable_text_is_refused_with_file_and_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_lines(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*nothing\.en: No such file"):
        read_lines(tmp_path / "nothing.en")
    with pytest.raises(ValueError, match=r"cannot read .*: it is not a regular file"):
        read_lines(tmp_path)


@pytest.mark.parametrize("name", ["text.gz", "text.xz"])
def test_a_damaged_archive_is_refused_wherever_it_is_damaged(tmp_path: Path, name: str) -> None:
    whole = COMPRESS[name](TEXT.encode())
    path = tmp_path / name
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cannot read .*text"):
            read_lines(path)
    for position in range(len(whole)):  # a flipped byte is refused or harmless (a time stamp), never another error
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with contextlib.suppress(ValueError):
            assert read_lines(path) == LINES


@pytest.mark.parametrize("name", COMPRESS)
def test_a_text_of_more_than_is_allowed_is_refused(tmp_path: Path, name: str) -> None:
    path, size = write(tmp_path, name, TEXT.encode()), len(TEXT.encode())
    assert read_lines(path, size) == LINES
    what = "is larger" if name == "text.de" else "expands to more"
    with pytest.raises(ValueError, match=rf"^cannot read text .*{name}: it {what} than {size - 1} bytes$"):
        read_lines(path, size - 1)


@pytest.mark.parametrize("name", ["text.gz", "text.xz"])
def test_what_a_text_expands_to_is_not_held_beyond_the_limit(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, b"a line\n" * (4 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="expands to more"):
        read_lines(path, 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20, "of 28 MiB; half of it is the dictionary of xz"


def test_different_line_counts_are_refused(tmp_path: Path) -> None:
    source, target = write(tmp_path, "a.en", b"one\ntwo\n"), write(tmp_path, "a.de", b"eins\n")
    with pytest.raises(ValueError, match=r"a\.en has 2 lines but .*a\.de has 1"):
        read_parallel(source, target)
    with pytest.raises(ValueError, match="2 source lines but 1 target lines"):
        ParallelText(source=("one", "two"), target=("eins",))


def test_different_line_counts_are_judged_before_blank_lines(tmp_path: Path) -> None:
    source, target = write(tmp_path, "a.en", b"one\n\nthree\n"), write(tmp_path, "a.de", b"eins\ndrei\n")
    with pytest.raises(ValueError, match=r"a\.en has 3 lines but .*a\.de has 2"):
        read_parallel(source, target)


def test_pairs_that_are_blank_on_either_side_are_left_out(tmp_path: Path) -> None:
    source = write(tmp_path, "a.en", b"\xef\xbb\xbfone\n\nthree\n \t\nfive\n")
    target = write(tmp_path, "a.de", b"eins\nzwei\n \n\nf\xc3\xbcnf\n")
    found = ParallelText(source=("one", "five"), target=("eins", "fünf"), left_out=3)
    assert read_parallel(source, target) == found


def test_parallel_text_without_a_whole_pair_is_refused(tmp_path: Path) -> None:
    source, target = write(tmp_path, "a.en", b"\ntwo\n"), write(tmp_path, "a.de", b"eins\n\n")
    with pytest.raises(ValueError, match=r"no line holds a sentence in both .*a\.en and .*a\.de"):
        read_parallel(source, target)
    with pytest.raises(ValueError, match=r"b\.de is empty"):
        read_parallel(source, write(tmp_path, "b.de", b""))


def test_parallel_text_keeps_order_and_head(tmp_path: Path) -> None:
    text = read_parallel(write(tmp_path, "a.en", b"one\ntwo\n"), write(tmp_path, "a.de", b"eins\nzwei\n"))
    assert list(zip(text.source, text.target, strict=True)) == [("one", "eins"), ("two", "zwei")]
    assert text.head(1) == ParallelText(source=("one",), target=("eins",))
    assert text.head(9) == text
    assert len(text) == 2


def test_the_corpus_has_its_documented_sizes() -> None:
    assert {name: len(corpus(name)) for name in ("train", "validation", "test")} == {
        "train": 27_293,
        "validation": 500,
        "test": 1_000,
    }


def test_nothing_held_out_is_in_the_training_text_on_either_side() -> None:
    train, validation, test = corpus("train"), corpus("validation"), corpus("test")
    for side in ("source", "target"):
        keys = {
            name: [normalised(line) for line in getattr(text, side)]
            for name, text in {"train": train, "validation": validation, "test": test}.items()
        }
        held_out = keys["validation"] + keys["test"]
        assert len(set(held_out)) == len(held_out) == 1500  # each sentence once, on this side
        assert not set(keys["train"]) & set(held_out)


def test_an_unknown_split_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev'; known splits: test, train, validation"):
        corpus("dev")
