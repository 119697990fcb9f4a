"""A user's TOML file as a record: every fault is one line that names file and key."""

import difflib
import math
import re
import types
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from hwsim.reading import printable, read_toml_table

MAX_MAGNITUDE = 1e12
"""Of numbers with a point, and one over it the least that is not zero: squares of ratios stay in floating point."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 60

T = TypeVar("T")


def read_toml(path: Path, kind: type[T], what: str) -> T:
    """A TOML file as a msgspec struct.

    Keys of `dict[int, ...]` are strings in TOML and become numbers. A key that its struct does not have is a fault
    at every depth, whatever the struct says of unknown fields.

    Parameters
    ----------
    path
        A regular file of at most `hwsim.reading.MOST_TOML` bytes, in UTF-8.
    kind
        The struct.
    what
        What the file is, for messages: "hardware", "workload".

    Raises
    ------
    ValueError
        If it cannot be read, is no TOML, or a key is missing, unknown, of a wrong type or out of range.
    """
    shown, table = f"{what} {printable(str(path))}", read_toml_table(path, what)
    try:
        return _record(table, kind)
    except msgspec.ValidationError as error:  # of a __post_init__, whose message names its keys
        raise ValueError(f"{shown}: {str(error).partition(' - at `')[0]}") from error
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known one, or all of them."""
    names = list(known)
    similar = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {similar[0]}?" if similar else f"known: {', '.join(names) or 'none'}"


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """The message about a name that is neither known nor the path of a file."""
    names = list(known)
    similar = difflib.get_close_matches(name, names, n=1)
    near = f"did you mean {similar[0]}? " if similar else ""
    return f"unknown {what} {short(repr(name))}; {near}known: {', '.join(names)}; or give a path that ends in .toml"


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def check_name(what: str, name: str) -> None:
    """Refuse a name that a terminal would not show."""
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{what} is {short(repr(name))}; it must be printable and not blank")


def _record(table: dict[str, Any], kind: type[T]) -> T:
    _check(table, kind, "")
    return msgspec.convert(table, kind, str_keys=True)


def _check(value: object, kind: Any, at: str) -> None:
    """Raise a ValueError for the first fault at or below the key `at`, in the order of the file."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin, parts = get_origin(plain), get_args(plain)
    if origin in (Union, types.UnionType) and isinstance(value, dict):
        _check_union(value, [part for part in parts if _is_struct(part)], plain, at)
    elif _is_struct(plain) and not plain.__struct_config__.array_like and isinstance(value, dict):
        _check_struct(value, plain, at)
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            _check_leaf(key, parts[0], f"{_below(at, key)} as a key", strict=False)
            _check(item, parts[1], _below(at, key))
    elif origin in (list, tuple) and isinstance(value, list):
        _check_items(value, plain, at)
    else:
        _check_leaf(value, kind, at, strict=True)


def _check_struct(table: dict[str, Any], kind: Any, at: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    tag = kind.__struct_config__.tag_field
    for key, value in table.items():
        if key in fields:
            _check(value, fields[key].type, _below(at, key))
        elif key != tag:
            raise ValueError(f"unknown key {_below(at, key)}; {nearest(key, fields)}")
    for name, field in fields.items():
        if field.required and name not in table:
            raise ValueError(f"missing key {_below(at, name)}")
    _check_leaf(table, kind, at, strict=True)


def _check_union(table: dict[str, Any], structs: list[Any], kind: Any, at: str) -> None:
    """A table where one of several structs may stand: the only one, or the one of its tag."""
    if len(structs) < 2:
        return _check(table, structs[0], at) if structs else _check_leaf(table, kind, at, strict=True)
    field = structs[0].__struct_config__.tag_field
    known = {str(struct.__struct_config__.tag): struct for struct in structs}
    if field not in table:
        raise ValueError(f"missing key {_below(at, field)}; allowed are {listed(known)}")
    tag = table[field]
    if tag not in list(known):
        raise ValueError(f"{_below(at, field)} is {short(repr(tag))}; allowed are {listed(known)}")
    return _check_struct(table, known[tag], at)


def _check_items(items: list[Any], kind: Any, at: str) -> None:
    parts = get_args(kind)
    same = get_origin(kind) is list or parts[1:] == (...,)
    for i, item in enumerate(items):
        if same or i < len(parts):
            _check(item, parts[0] if same else parts[i], f"{at}[{i}]")
    _check_leaf(items, kind, at, strict=True)


def _check_leaf(value: object, kind: Any, at: str, *, strict: bool) -> None:
    _check_plain(value, at)
    for i, item in enumerate(value if isinstance(value, list) else ()):
        _check_plain(item, f"{at}[{i}]")
    known = _members(kind)
    if known and value not in known:
        raise ValueError(f"{at} is {short(repr(value))}; allowed are {listed(map(str, known))}")
    try:
        msgspec.convert(value, kind, strict=strict, str_keys=True)
    except msgspec.ValidationError as error:
        message = str(error).partition(" - at `")[0].replace("`", "")
        if isinstance(value, dict | list):
            raise ValueError(message if isinstance(value, dict) and _is_struct(kind) else f"{at}: {message}") from error
        raise ValueError(f"{at} is {short(repr(value))}; {message[0].lower()}{message[1:]}") from error


def _check_plain(value: object, at: str) -> None:
    """Refuse numbers beyond the range of 64 bits or of what squares, and letters that a terminal would obey."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{at} is {value}; it must be finite")
        if value and not 1 / MAX_MAGNITUDE <= abs(value) <= MAX_MAGNITUDE:
            raise ValueError(f"{at} is {value}; allowed are magnitudes of {1 / MAX_MAGNITUDE:g} to {MAX_MAGNITUDE:g}")
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ValueError(f"{at} has {value.bit_length()} bits; a whole number has at most 63")
    elif isinstance(value, str) and not value.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError(f"{at} is {short(repr(value))}; it must be printable")


def _members(kind: Any) -> list[Any]:
    """Values of an enumeration, or of one that may be left out; none of other types."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, Enum):
            return [member.value for member in one]
    return []


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _below(at: str, key: str) -> str:
    shown = short(key if _BARE.fullmatch(key) else repr(key))
    return f"{at}.{shown}" if at else shown


def short(text: str) -> str:
    """Text on one line, its end left out if it is long."""
    line = printable(text)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
