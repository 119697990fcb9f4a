"""Constants: held narrow, read with room to reckon."""

import numpy as np
import pytest

from hwsim.formats import IntFormat
from hwsim.program.constants import Constants, carrier

HELD = {
    (8, True): "int8",
    (4, True): "int8",
    (8, False): "uint8",
    (9, True): "int16",
    (16, False): "uint16",
    (17, True): "int32",
    (32, True): "int32",
    (31, False): "int32",
    (32, False): "int64",
    (33, True): "int64",
}


@pytest.mark.parametrize(("bits", "signed"), HELD)
def test_the_narrowest_type_of_a_format(bits: int, signed: bool) -> None:
    form = IntFormat(bits=bits, signed=signed)
    assert np.dtype(carrier(form)).name == HELD[bits, signed]
    ends = np.array([form.min, form.max], carrier(form))
    assert ends.tolist() == [form.min, form.max]


def test_what_is_read_does_not_wrap_and_is_a_copy() -> None:
    held = np.array([-128, 127], np.int8)
    constants = Constants({"weight": held})
    read = constants["weight"]
    assert (read * 2 - 1).tolist() == [-257, 253]
    read[:] = 0
    assert constants["weight"].tolist() == [-128, 127]
    assert constants.held("weight") is held


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32])
def test_int32_where_it_holds_all(dtype: type[np.integer]) -> None:
    assert Constants({"a": np.zeros(1, dtype)})["a"].dtype == np.int32


@pytest.mark.parametrize("dtype", [np.uint32, np.int64])
def test_int64_where_int32_does_not(dtype: type[np.integer]) -> None:
    assert Constants({"a": np.zeros(1, dtype)})["a"].dtype == np.int64


def test_some_replaced() -> None:
    old = Constants({"a": np.array([1], np.int8), "b": np.array([2], np.int8)})
    new = old | {"b": np.array([300], np.int16), "c": np.array([4])}
    assert {name: array.tolist() for name, array in new.items()} == {"a": [1], "b": [300], "c": [4]}
    assert list(old) == ["a", "b"] and "c" not in old and len(new) == 3
    assert old["b"].tolist() == [2]
    assert (new | old)["b"].tolist() == [2]


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="weight"):
        Constants({})["weight"]
