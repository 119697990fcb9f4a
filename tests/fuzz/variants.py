"""A malformed program file from a whole one: bytes, fields, names and constants changed at random."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

EXTREMES = [-(2**63), -(2**31), -129, -1, 0, 1, 2, 7, 17, 31, 32, 33, 62, 63, 64, 65536, 2**31, 2**52, 2**63, 10**30]
STRANGE = [None, True, 0.5, 1e308, "", "\u202e", [], {}, "encoder.0.self_attention.scores"]
Place = tuple[str | int, ...]


class File(NamedTuple):
    """A program file taken apart: its header, the manifest in it, and the bytes behind."""

    header: dict[str, Any]
    manifest: dict[str, Any]
    data: bytes

    @classmethod
    def of(cls, content: bytes) -> "File":
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        return cls(header, json.loads(header["__metadata__"]["hwsim"]), content[end:])

    def together(self) -> bytes:
        text = json.dumps(self.header | {"__metadata__": {"hwsim": json.dumps(self.manifest)}}).encode()
        return len(text).to_bytes(8, "little") + text + self.data


def places(node: Any, place: Place = ()) -> Iterator[Place]:
    """Every field and item of a tree, also those that hold others."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield (*place, key)
        yield from places(child, (*place, key))


def at(node: Any, place: Place) -> Any:
    for key in place:
        node = node[key]
    return node


def some_place(tree: Any, rng: random.Random, kinds: tuple[type, ...] = (object,)) -> Place:
    """A place that holds one of these; the root if there is none."""
    found = [place for place in places(tree) if isinstance(at(tree, place), kinds)]
    return rng.choice(found) if found else ()


def put(tree: Any, place: Place, value: Any) -> None:
    if place:
        at(tree, place[:-1])[place[-1]] = value


# --- kinds ------------------------------------------------------------------------------------------------------------


def flipped(whole: bytes, rng: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def flipped_header(whole: bytes, rng: random.Random) -> bytes:
    content, end = bytearray(whole), 8 + int.from_bytes(whole[:8], "little")
    for _ in range(rng.randint(1, 3)):
        content[rng.randrange(end)] = rng.randrange(256)
    return bytes(content)


def cut(whole: bytes, rng: random.Random) -> bytes:
    return whole[: rng.randrange(len(whole))] if rng.random() < 0.8 else whole + rng.randbytes(rng.randint(1, 9))


def extreme_integers(whole: bytes, rng: random.Random) -> bytes:
    file = File.of(whole)
    for _ in range(rng.randint(1, 2)):
        put(file.manifest, some_place(file.manifest, rng, (int,)), rng.choice(EXTREMES))
    return file.together()


def other_fields(whole: bytes, rng: random.Random) -> bytes:
    """What another place holds, or something strange."""
    file = File.of(whole)
    value = at(file.manifest, some_place(file.manifest, rng)) if rng.random() < 0.7 else rng.choice(STRANGE)
    put(file.manifest, some_place(file.manifest, rng), json.loads(json.dumps(value)))
    return file.together()


def like_fields(whole: bytes, rng: random.Random) -> bytes:
    """What another field of the same name holds: most of what is still a program is made so."""
    file = File.of(whole)
    place = some_place(file.manifest["functions"] if rng.random() < 0.7 else file.manifest["tensors"], rng, (dict,))
    tree = file.manifest["functions"] if place and len(place) > 2 else file.manifest["tensors"]
    mine = some_place(tree, rng)
    same = [other for other in places(tree) if mine and other[-1] == mine[-1]]
    put(tree, mine, json.loads(json.dumps(at(tree, rng.choice(same or [mine])))))
    return file.together()


def swapped_names(whole: bytes, rng: random.Random) -> bytes:
    file = File.of(whole)
    one, other = (some_place(file.manifest, rng, (str,)) for _ in range(2))
    first, second = at(file.manifest, one), at(file.manifest, other)
    put(file.manifest, one, second)
    put(file.manifest, other, first)
    return file.together()


def items_gone_or_twice(whole: bytes, rng: random.Random) -> bytes:
    file = File.of(whole)
    place = some_place(file.manifest, rng)
    parent, key = at(file.manifest, place[:-1]), place[-1]
    if isinstance(parent, list) and rng.random() < 0.5:
        parent.insert(rng.randrange(len(parent) + 1), parent[int(key)])
    else:
        del parent[key]
    return file.together()


def other_constants(whole: bytes, rng: random.Random) -> bytes:
    """Bytes of constants at random, or at an end of their range."""
    file = File.of(whole)
    data = bytearray(file.data)
    for _ in range(rng.choice([1, 3, 40])):
        data[rng.randrange(len(data))] = rng.choice([0, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return file._replace(data=bytes(data)).together()


def other_arrays(whole: bytes, rng: random.Random) -> bytes:
    """Entries of the header: swapped, renamed, dropped, or of other shapes and places."""
    file = File.of(whole)
    names = [name for name in file.header if name != "__metadata__"]
    one, other = rng.choice(names), rng.choice(names)
    match rng.randrange(4):
        case 0:
            file.header[one], file.header[other] = file.header[other], file.header[one]
        case 1:
            file.header[f"{other}."] = file.header.pop(one)
        case 2:
            del file.header[one]
        case _:
            put(file.header, (one, *some_place(file.header[one], rng, (int,))), rng.choice(EXTREMES))
    return file.together()


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        flipped, flipped_header, cut, extreme_integers, other_fields, like_fields, swapped_names, items_gone_or_twice,
        other_constants, other_arrays,
    )
}  # fmt: skip


def variant(wholes: dict[str, bytes], seed: int, number: int) -> tuple[str, str, bytes]:
    """The program that it was, the kind of change, and the file; the same for the same seed and number, anywhere."""
    rng = random.Random(f"{seed}/{number}")
    name, kind = rng.choice(sorted(wholes)), rng.choice(sorted(KINDS))
    return name, kind, KINDS[kind](wholes[name], rng)
