"""Joint byte-pair encoding: text to ids and back (sentencepiece)."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from hwsim.files import write_whole

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Special ids; every vocabulary of ours begins with them."""


class Tokenizer:
    """A trained sentencepiece model, its special ids checked.

    Raises
    ------
    ValueError
        If the file is missing, is not a sentencepiece model, or numbers its special tokens differently.
    """

    def __init__(self, path: Path) -> None:
        try:
            model = path.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot read vocabulary {path}: {error.strerror}") from error
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

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; special ids vanish."""
        return str(self._processor.DecodeIds([int(i) for i in ids if i not in (PAD, BOS, EOS)]))


def train_tokenizer(sentences: Sequence[str], vocabulary_size: int, path: Path) -> None:
    """Train a joint BPE on the sentences of both languages and write it to `path`."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary_size,
        character_coverage=1.0,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        minloglevel=2,
    )
    write_whole(path, model.getvalue())
