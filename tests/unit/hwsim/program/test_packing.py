"""Packed codes: the bytes of docs/program.md, and back, in every format."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.formats import IntFormat
from hwsim.program.packing import pack, packed_bytes, unpack


def bits_of(row: list[int], bits: int) -> bytes:
    """A packed row, by docs/program.md: element after element, lowest bit first."""
    word = sum((code % (1 << bits)) << (bits * place) for place, code in enumerate(row))
    return word.to_bytes(-(-bits * len(row) // 8), "little")


FORMATS = [IntFormat(bits=bits, signed=signed) for bits in range(2, 17) for signed in (True, False)]
FORMATS += [IntFormat(bits=bits) for bits in range(32, 54)]
FORMATS += [IntFormat(bits=32, signed=False), IntFormat(bits=63, signed=False), IntFormat(bits=63)]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_packing_is_undone(fmt: IntFormat, data: st.DataObject) -> None:
    """Any shape; the bytes are those of docs/program.md, made here from Python integers."""
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    count = int(np.prod(shape))
    code = st.integers(fmt.min, fmt.max) | st.sampled_from([fmt.min, -1 if fmt.signed else 0, 0, 1, fmt.max])
    codes = np.array(data.draw(st.lists(code, min_size=count, max_size=count)), np.int64).reshape(shape)
    packed = pack(codes, fmt)
    assert packed.dtype == np.uint8 and packed.nbytes == packed_bytes(shape, fmt.bits)
    assert packed.tobytes() == b"".join(bits_of(row, fmt.bits) for row in codes.reshape(-1, shape[-1]).tolist())
    back = unpack(packed, shape, fmt)
    assert back.shape == codes.shape and np.array_equal(back, codes)
    needed = fmt.bits + (fmt.bits > 16 and not fmt.signed)
    assert back.dtype.itemsize == next(size for size in (1, 2, 4, 8) if needed <= 8 * size)


def test_extremes_of_every_format_survive() -> None:
    for fmt in FORMATS:
        codes = np.array([[fmt.min, fmt.max, 0], [fmt.max, fmt.min, 1]], np.int64)
        assert np.array_equal(unpack(pack(codes, fmt), codes.shape, fmt), codes), fmt
