"""Joint byte-pair encoding: text to ids and back (sentencepiece)."""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from hwsim.files import write_whole
from hwsim.reading import read_whole

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Special ids; every vocabulary of ours begins with them."""
MOST_BYTES = 1 << 28
"""Of a vocabulary: those of a million pieces have a tenth of it."""


class Tokenizer:
    """A trained sentencepiece model, its special ids checked.

    Raises
    ------
    ValueError
        If the file is missing, is not a sentencepiece model, or numbers its special tokens differently.
    """

    def __init__(self, path: Path) -> None:
        model = read_whole(path, "vocabulary", MOST_BYTES)
        self.path = path
        self.hash = hashlib.sha256(model).hexdigest()
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError(f"{path} is not a sentencepiece model") from error
        special = tuple(getattr(self._processor, f"{name}_id")() for name in ("pad", "unk", "bos", "eos"))
        if special != (PAD, UNK, BOS, EOS):
            raise ValueError(f"{path} numbers pad, unk, bos, eos as {special}; needed are {(PAD, UNK, BOS, EOS)}")

    @property
    def vocabulary_size(self) -> int:
        return int(self._processor.GetPieceSize())

    def encode(self, text: str) -> list[int]:
        """Ids of a sentence, ended by EOS (and not begun by BOS)."""
        return [*self._processor.EncodeAsIds(text), EOS]

    def encode_all(self, sentences: Sequence[str], most: int, what: str) -> list[list[int]]:
        """Ids of every sentence.

        Raises
        ------
        ValueError
            If one has more than `most` tokens, which are the positions of the model; names its line of `what`.
        """
        rows = [self.encode(sentence) for sentence in sentences]
        for number, row in enumerate(rows, start=1):
            if len(row) > most:
                raise ValueError(f"{what}, line {number}: {len(row)} tokens; the model has positions for {most}")
        return rows

    def check_ids(self, tokenizer_sha256: str) -> None:
        """Refuse to feed a program ids of another vocabulary: `tokenizer_sha256` is what its manifest says."""
        if tokenizer_sha256 != self.hash:
            raise ValueError(f"the program expects another vocabulary than {self.path}")

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; special ids vanish."""
        return str(self._processor.DecodeIds([int(i) for i in ids if i not in (PAD, BOS, EOS)]))


def train_tokenizer(sentences: Sequence[str], vocabulary_size: int, path: Path) -> None:
    """Train a joint BPE on the sentences of both languages and write it to `path`.

    Raises
    ------
    ValueError
        If the text allows no vocabulary of that size: fewer pieces than it has characters (and special ids), or more
        than it has strings to merge.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=max(vocabulary_size, EOS + 1),  # a size below is judged by the text's characters, as all are
            character_coverage=1.0,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            minloglevel=2,
        )
    except RuntimeError as error:
        allowed = _allowed(str(error))
        raise ValueError(
            f"cannot train a vocabulary of {vocabulary_size} pieces on {len(sentences)} sentences: {allowed}"
        ) from error
    write_whole(path, model.getvalue())


def _allowed(message: str) -> str:
    """What the text allows, out of the message of sentencepiece, which knows it only while it trains."""
    if most := re.search(r"size too high .* <= (\d+)", message):
        return f"the text allows at most {most[1]}"
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return f"its characters need at least {least[1]}"
    return f"sentencepiece cannot use the text ({message})"
