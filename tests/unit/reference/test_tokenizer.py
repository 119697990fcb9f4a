"""The tokenizer: round trip, special ids, and files that are no vocabulary of ours."""

import io
import shutil
from pathlib import Path

import pytest
import sentencepiece

from reference.data import ParallelText
from reference.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, train_tokenizer


def test_round_trip_of_every_training_sentence(small_text: ParallelText, vocabulary: Path) -> None:
    tokenizer = Tokenizer(vocabulary)
    for sentence in (*small_text.source, *small_text.target):
        ids = tokenizer.encode(sentence)
        assert ids[-1] == EOS
        assert not {PAD, UNK, BOS, EOS} & set(ids[:-1])
        assert max(ids) < tokenizer.vocabulary_size == 64
        assert tokenizer.decode(ids) == sentence


def test_special_ids_vanish_and_unknown_characters_do_not_crash(vocabulary: Path) -> None:
    tokenizer = Tokenizer(vocabulary)
    ids = tokenizer.encode("die zelle")
    assert tokenizer.decode([BOS, *ids, PAD, PAD]) == "die zelle"
    assert tokenizer.decode([]) == ""
    assert UNK in tokenizer.encode("漢")
    assert tokenizer.encode("") == [EOS]


def test_training_is_deterministic_and_the_hash_tells_vocabularies_apart(
    small_text: ParallelText, vocabulary: Path, tmp_path: Path
) -> None:
    sentences = [*small_text.source, *small_text.target]
    train_tokenizer(sentences, 64, tmp_path / "same.model")
    train_tokenizer(sentences, 60, tmp_path / "other.model")
    assert (tmp_path / "same.model").read_bytes() == vocabulary.read_bytes()
    hashes = [Tokenizer(tmp_path / name).hash for name in ("same.model", "other.model")]
    assert hashes[0] == Tokenizer(vocabulary).hash != hashes[1]


def test_sentences_and_programs_that_do_not_fit_are_refused(vocabulary: Path) -> None:
    tokenizer = Tokenizer(vocabulary)
    rows = tokenizer.encode_all(["die zelle", ""], 30, "text")
    assert rows == [tokenizer.encode("die zelle"), [EOS]]
    assert tokenizer.encode_all(["", "die zelle"], len(rows[0]), "text") == rows[::-1]
    message = rf"^the text, line 2: {len(rows[0])} tokens; the model has positions for {len(rows[0]) - 1}$"
    with pytest.raises(ValueError, match=message):
        tokenizer.encode_all(["", "die zelle"], len(rows[0]) - 1, "the text")
    tokenizer.check_ids(tokenizer.hash)
    for other in ("", "0" * 64):
        with pytest.raises(ValueError, match=f"^the program expects another vocabulary than {vocabulary}$"):
            tokenizer.check_ids(other)


def test_a_vocabulary_that_the_text_does_not_allow_is_refused_with_the_limit(
    small_text: ParallelText, tmp_path: Path
) -> None:
    sentences, path = [*small_text.source, *small_text.target], tmp_path / "folder" / "vocabulary.model"
    for size, word in ((10_000, "at most"), (8, "at least"), (2, "at least"), (0, "at least"), (-1, "at least")):
        asked = f"a vocabulary of {size} pieces on 192 sentences"
        with pytest.raises(ValueError, match=rf"{asked}: .* {word} \d+$") as caught:
            train_tokenizer(sentences, size, path)
        assert not path.parent.exists()
        limit = int(str(caught.value).split()[-1])
        train_tokenizer(sentences, limit, path)  # what the message allows, is
        assert Tokenizer(path).vocabulary_size == limit
        beyond = limit + (1 if word == "at most" else -1)
        with pytest.raises(ValueError, match=rf"{beyond} pieces .* {word} {limit}$"):
            train_tokenizer(sentences, beyond, path)
        shutil.rmtree(path.parent)


@pytest.mark.parametrize("sentences", [[], [""], [" "], ["x" * 10_000]])
def test_text_that_holds_nothing_is_refused(tmp_path: Path, sentences: list[str]) -> None:
    # what sentencepiece says of a blank depends on its release
    why = r"(sentencepiece cannot use the text|the text allows at most \d$)"
    with pytest.raises(ValueError, match=rf"a vocabulary of 64 pieces on \d sentences: {why}"):
        train_tokenizer(sentences, 64, tmp_path / "vocabulary.model")
    assert list(tmp_path.iterdir()) == []


def test_other_special_ids_are_refused(small_text: ParallelText, tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(small_text.source), model_writer=model, model_type="bpe", vocab_size=48, minloglevel=2
    )
    path = tmp_path / "other.model"
    path.write_bytes(model.getvalue())
    with pytest.raises(ValueError, match=r"numbers pad, unk, bos, eos as \(-1, 0, 1, 2\); needed are \(0, 1, 2, 3\)"):
        Tokenizer(path)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(1000), b"\xff" * 50])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.model"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.model is not a sentencepiece model"):
        Tokenizer(path)


def test_a_truncated_model_is_refused(vocabulary: Path, tmp_path: Path) -> None:
    whole = vocabulary.read_bytes()
    path = tmp_path / "cut.model"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.model"):
        Tokenizer(path)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read vocabulary .*: No such file"):
        Tokenizer(tmp_path / "nothing.model")
