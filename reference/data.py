"""Parallel text: reading it safely, and the corpus that ships with the project."""

import codecs
import gzip
import lzma
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from hwsim.reading import open_regular, read_whole

_EXPANDED: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
MOST_BYTES = 1 << 30
"""Of a text, as it is or as it expands to: a compressed file of a thousandth of it can hold so much."""
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ParallelText:
    """Sentences of two languages, line i of one translating line i of the other."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    left_out: int = 0
    """Pairs of the files that were not read, since a side is empty."""

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target):
            raise ValueError(
                f"parallel text has {len(self.source)} source lines but {len(self.target)} target lines; "
                "both files need one sentence a line, in the same order"
            )

    def __len__(self) -> int:
        return len(self.source)

    def head(self, count: int) -> "ParallelText":
        """The first `count` pairs (all of them if there are fewer)."""
        return ParallelText(source=self.source[:count], target=self.target[:count])


def read_lines(path: Path, most_bytes: int = MOST_BYTES) -> tuple[str, ...]:
    """Read a text file, plain or compressed (.gz, .xz), one sentence a line; a byte order mark is no part of it.

    Raises
    ------
    ValueError
        If the file is missing, no regular file, more than `most_bytes` (as it expands to), holds no sentence, holds an
        empty line, is damaged, or has a line that is not UTF-8; the message names file and line.
    """
    lines = _read_any_lines(path, most_bytes)
    for number, line in enumerate(lines, start=1):
        if not line:
            raise ValueError(f"{path}, line {number}: empty line; every line must hold a sentence")
    return lines


def read_parallel(source: Path, target: Path) -> ParallelText:
    """Read two aligned text files (IWSLT, Multi30k and WMT are published in this form).

    Pairs with an empty line on either side are left out: published sets have them where a sentence has no translation.

    Raises
    ------
    ValueError
        As `read_lines`, but for empty lines; if the line counts differ; or if no pair is left.
    """
    source_lines, target_lines = _read_any_lines(source), _read_any_lines(target)
    if len(source_lines) != len(target_lines):
        raise ValueError(
            f"{source} has {len(source_lines)} lines but {target} has {len(target_lines)}; "
            "both need one sentence a line, in the same order"
        )
    pairs = [pair for pair in zip(source_lines, target_lines, strict=True) if all(pair)]
    if not pairs:
        raise ValueError(f"no line holds a sentence in both {source} and {target}; nothing is left to read")
    left_out = len(source_lines) - len(pairs)
    return ParallelText(source=tuple(s for s, _ in pairs), target=tuple(t for _, t in pairs), left_out=left_out)


def _read_any_lines(path: Path, most_bytes: int = MOST_BYTES) -> tuple[str, ...]:
    """As `read_lines`, but a line may be empty."""
    raw = _expanded(path, most_bytes) if path.suffix in _EXPANDED else read_whole(path, "text", most_bytes)
    lines = []
    for number, line in enumerate(raw.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        try:
            lines.append(line.decode("utf-8").strip())
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not valid UTF-8 at byte {error.start + 1} of the line") from None
    if not lines:
        raise ValueError(f"{path} is empty; it must hold one sentence a line")
    return tuple(lines)


def _expanded(path: Path, most_bytes: int) -> bytes:
    """What a compressed text expands to, of which no more is held than is allowed."""
    content = bytearray()
    with open_regular(path, "text") as packed:
        try:
            with _EXPANDED[path.suffix](packed) as stream:
                while piece := stream.read(_PIECE):
                    content += piece
                    if len(content) > most_bytes:
                        break
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"cannot read text {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > most_bytes:
        raise ValueError(f"cannot read text {path}: it expands to more than {most_bytes} bytes")
    return bytes(content)


def assets() -> Path:
    """The folder of the files that ship with the project."""
    return Path(str(files("reference") / "assets"))


def corpus(split: str) -> ParallelText:
    """One split of the shipped English-German corpus: `train`, `validation` (500) or `test` (1,000 pairs)."""
    folder = assets() / "corpus"
    known = sorted({path.name.split(".")[0] for path in folder.glob("*.xz")})
    if split not in known:
        raise ValueError(f"unknown split {split!r}; known splits: {', '.join(known)}")
    return read_parallel(folder / f"{split}.en.xz", folder / f"{split}.de.xz")
