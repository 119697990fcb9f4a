"""Builds the shipped corpus from Debian's LibreOffice help packages.

Usage (Debian or Ubuntu; any folder)::

    apt-get download libreoffice-help-en-us libreoffice-help-de
    for package in *.deb; do dpkg-deb -x $package help; done
    python -m reference.corpus help/usr/share/libreoffice/help out

Paragraphs carry the same identifier in every language, so alignment is exact. The split is leak-free: validation and
test are drawn from unique English sides, and whatever normalises (case, digits, punctuation) to one of their
sentences, on either side, leaves the training set.
"""

import argparse
import lzma
import random
import re
from collections.abc import Iterator
from pathlib import Path

from lxml import html

Pair = tuple[str, str]

VALIDATION_PAIRS, TEST_PAIRS = 500, 1000
MIN_WORDS, MAX_WORDS = 4, 40
_OTHER_SYSTEMS = ("MAC", "UNIX", "WIN")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-ZÄÖÜ])")
_PARAGRAPHS = "//*[(self::p or starts-with(name(), 'h')) and (starts-with(@id, 'par_') or starts-with(@id, 'hd_'))]"


def paragraphs(page: Path) -> dict[str, str]:
    """Map paragraph identifier to plain text for one help page, without the variants for other systems."""
    tree = html.fromstring(page.read_bytes())
    for span in tree.xpath("//span[@hidden]"):
        if span.get("id", "").startswith(_OTHER_SYSTEMS):
            span.drop_tree()
    return {node.get("id"): " ".join(node.text_content().split()) for node in tree.xpath(_PARAGRAPHS)}


def aligned_paragraphs(root: Path, source: str, target: str) -> Iterator[Pair]:
    """Pairs of paragraphs with the same file and identifier, in file order."""
    for page in sorted((root / source / "text").rglob("*.html")):
        other = root / target / page.relative_to(root / source)
        if other.exists():
            theirs = paragraphs(other)
            yield from ((text, theirs[key]) for key, text in paragraphs(page).items() if key in theirs)


def sentence_pairs(pair: Pair) -> list[Pair]:
    """Split a paragraph into sentences where both sides give the same number, else keep it whole."""
    sides = [_SENTENCE_END.split(side) for side in pair]
    return list(zip(*sides, strict=True)) if len(sides[0]) == len(sides[1]) else [pair]


def is_clean(pair: Pair) -> bool:
    """Whether both sides are sentences of a usable length with final punctuation, and not copies."""
    return pair[0] != pair[1] and all(
        MIN_WORDS <= len(side.split()) <= MAX_WORDS and side.endswith((".", "!", "?")) for side in pair
    )


def normalised(text: str) -> str:
    """The text without case, digits and punctuation: what near-duplicates share."""
    return " ".join(re.sub(r"[\W\d_]+", " ", text.lower()).split())


def split(pairs: list[Pair], seed: int) -> dict[str, list[Pair]]:
    """Leak-free train, validation and test; see the module's text."""
    first_of = {normalised(pair[0]): pair for pair in reversed(pairs)}
    keys = sorted(first_of)
    random.Random(seed).shuffle(keys)
    held_out: list[Pair] = []
    seen_target: set[str] = set()
    for key in keys:
        target_key = normalised(first_of[key][1])
        if key and target_key and target_key not in seen_target:
            held_out.append(first_of[key])
            seen_target.add(target_key)
        if len(held_out) == VALIDATION_PAIRS + TEST_PAIRS:
            break
    seen_source = {normalised(source) for source, _ in held_out}
    train = [
        pair for pair in pairs if normalised(pair[0]) not in seen_source and normalised(pair[1]) not in seen_target
    ]
    return {"train": train, "validation": held_out[:VALIDATION_PAIRS], "test": held_out[VALIDATION_PAIRS:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("help_root", type=Path, help="folder that holds en-US/ and de/")
    parser.add_argument("out", type=Path, help="folder for {train,validation,test}.{en,de}.xz")
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    aligned = list(aligned_paragraphs(arguments.help_root, "en-US", "de"))
    sentences = [sentence for paragraph in dict.fromkeys(aligned) for sentence in sentence_pairs(paragraph)]
    clean = [pair for pair in dict.fromkeys(sentences) if is_clean(pair)]
    print(f"{len(aligned)} aligned paragraphs, {len(set(aligned))} unique, {len(clean)} clean sentence pairs")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in split(clean, arguments.seed).items():
        print(f"{name}: {len(part)} pairs")
        for language, side in (("en", 0), ("de", 1)):
            text = "".join(pair[side] + "\n" for pair in part)
            (arguments.out / f"{name}.{language}.xz").write_bytes(lzma.compress(text.encode(), preset=9))


if __name__ == "__main__":
    main()
