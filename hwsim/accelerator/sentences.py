"""Events of translating sentences: one `encode` and one `decode_step` a target token, batch 1, greedy, no padding."""

from collections.abc import Iterable
from typing import NamedTuple

from hwsim.accelerator.events import Event
from hwsim.accelerator.mapping import ARRAY, FunctionCounter, find_function
from hwsim.accelerator.traffic import Array
from hwsim.program import Program

ENCODE, DECODE = "encode", "decode_step"


class SentenceEvents(NamedTuple):
    """Events of encoding and of decoding, apart."""

    encode: list[Event]
    decode: list[Event]


class SentenceCounter:
    """Counts sentences of one program, remembering what it has counted.

    Parameters
    ----------
    program
        A validated program with functions `encode` (dimensions batch, source) and `decode_step` (batch, source,
        target = 1, past).
    array
        Output-stationary array.

    Raises
    ------
    ValueError
        If the program has no such functions or dimensions.
    """

    def __init__(self, program: Program, array: Array = ARRAY) -> None:
        for name in (ENCODE, DECODE):
            find_function(program, name)
        for dimension in ("batch", "source", "target", "past"):
            if dimension not in program.dimensions:
                raise ValueError(f"the program has no dimension {dimension!r}; it has {', '.join(program.dimensions)}")
        self._encode = FunctionCounter(program, ENCODE, array)
        self._decode = FunctionCounter(program, DECODE, array)
        self._greatest_source = program.dimensions["source"].maximum
        self._greatest_target = min(program.dimensions["past"].maximum + 1, program.manifest.max_positions)

    def count(self, source_length: int, target_length: int) -> tuple[list[int], list[int]]:
        """Counts of encoding and decoding one sentence, in the order of the keys of either function."""
        for what, length, greatest in (
            ("source", source_length, self._greatest_source),
            ("target", target_length, self._greatest_target),
        ):
            if not 1 <= length <= greatest:
                raise ValueError(f"a {what} length of {length} tokens; allowed are 1 to {greatest}")
        sizes = {"batch": 1, "source": source_length, "target": 1}
        return self._encode.call(sizes), self._decode.calls(sizes, "past", target_length)

    def sentence(self, source_length: int, target_length: int) -> SentenceEvents:
        """Events of one sentence; see `sentence_events`."""
        encode, decode = self.count(source_length, target_length)
        return SentenceEvents(self._encode.events(encode), self._decode.events(decode))

    def sentences(self, lengths: Iterable[tuple[int, int]]) -> SentenceEvents:
        """Events of many sentences, one after the other, added up."""
        encode, decode = [0] * len(self._encode.keys), [0] * len(self._decode.keys)
        for source_length, target_length in lengths:
            new_encode, new_decode = self.count(source_length, target_length)
            encode = [total + new for total, new in zip(encode, new_encode, strict=True)]
            decode = [total + new for total, new in zip(decode, new_decode, strict=True)]
        return SentenceEvents(self._encode.events(encode), self._decode.events(decode))


def sentence_events(program: Program, source_length: int, target_length: int, array: Array = ARRAY) -> SentenceEvents:
    """Events of translating one sentence: batch 1, greedy, actual lengths.

    For many sentences keep a `SentenceCounter`, which counts each kind of step once.

    Parameters
    ----------
    program
        As for `SentenceCounter`.
    source_length, target_length
        Tokens, EOS included. The target length is the number of decode steps: step t has t - 1 earlier positions.
    array
        Output-stationary array.

    Returns
    -------
    SentenceEvents
        One call of `encode`, and `target_length` calls of `decode_step`.

    Raises
    ------
    ValueError
        If a length is less than 1 or more than the program allows.
    """
    return SentenceCounter(program, array).sentence(source_length, target_length)
