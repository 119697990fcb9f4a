"""Codes that somebody's hardware wrote down: npz files, `$readmemh` text, or a folder as `hwsim vectors` writes it."""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from analysis.inspect.vectors import MANIFEST, Folder, VectorCall, VectorFile, VectorManifest
from analysis.proof.divergence.stage import wrapped
from analysis.proof.explain.npz import MOST_BYTES, Member, open_npz, refusing
from hwsim.formats import IntFormat
from hwsim.program import Program
from hwsim.program.operations import Operation, written
from hwsim.reading import open_regular, read_whole, sha256

Array = NDArray[Any]
Values = dict[str, Array]
_COMMENT = re.compile(r"//.*")
_CALL = re.compile(r"(?:decode[_ ]step[._ ]|step[._ ])?(\d+)")


class Call(NamedTuple):
    """`encode`, or one decode step."""

    function: str
    step: int

    def __str__(self) -> str:
        return "encode" if self.function == "encode" else f"{self.function.replace('_', ' ')} {self.step}"


def parse_call(text: str) -> Call:
    """`encode`, or the number of a decode step, also as `decode_step.3`."""
    if text.strip() == "encode":
        return Call("encode", 0)
    match = _CALL.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"call {text!r}; allowed are encode, or the number of a decode step from 0, as in decode_step.3"
        )
    return Call("decode_step", int(match[1]))


class Dump:
    """Arrays of codes by call and site, checked against a program.

    Attributes
    ----------
    sources
        Ids of the sentences that were translated, if the dump says so.
    """

    def __init__(self, program: Program, name: str, sources: list[list[int]] | None = None) -> None:
        self.program, self.name, self.sources = program, name, sources
        self._shared: dict[Call, Values] = {}
        self._own: dict[tuple[Call, str], Values] = {}
        self._made = {site: function for function, op in program.operations() for site in written(op)}

    @property
    def calls(self) -> list[Call]:
        return sorted(self._shared)

    def add(self, call: Call, site: str, given: Array | Member, where: str, read_by: str | None = None) -> None:
        """Take in an array; `read_by` names the operation whose own copy of an input it is.

        A member of a file is read only if its shape fits.

        Raises
        ------
        ValueError
            If the site is unknown, belongs to another function, or the codes cannot be its codes.
        """
        info = self.program.tensors.get(site)
        if info is None:
            near = get_close_matches(site, self.program.tensors, n=3, cutoff=0.3)
            raise ValueError(f"{where}: unknown site {site!r}; nearest are {', '.join(near) or 'none'}")
        function = call.function if read_by is not None else self._made.get(site, call.function)
        if function != call.function:
            raise ValueError(f"{where}: site {site} is made by {function}, not by {call.function}")
        _check_shape(site, given.shape, info.dims, where)
        array = given.read() if isinstance(given, Member) else given
        _check_codes(site, array, info.format, where)
        codes = array.astype(np.int64)
        if read_by is None:
            self._shared.setdefault(call, {})[site] = codes
        else:
            self._own.setdefault((call, read_by), {})[site] = codes

    def check(self) -> "Dump":
        """Itself, if there is something to compare."""
        if not any(site in self._made for arrays in self._shared.values() for site in arrays):
            raise ValueError(f"{self.name} is empty: it has codes of no site that an operation makes")
        return self

    def codes(self, call: Call, site: str) -> NDArray[np.int64] | None:
        """The codes of a tensor, if it was dumped."""
        return self._shared.get(call, {}).get(site)

    def outputs(self, call: Call, operation: Operation) -> Values:
        """What the dump has of the tensors that an operation makes."""
        arrays = self._shared.get(call, {})
        return {site: arrays[site] for site in written(operation) if site in arrays}

    def inputs(self, call: Call, operation: Operation) -> Values:
        """What the dump has of the tensors that an operation read: its own copies, where there are such."""
        arrays = self._own.get((call, operation.output), self._shared.get(call, {}))
        return {name: arrays[name] for name in self.program.inputs_of(operation) if name in arrays}


def _check_shape(site: str, shape: tuple[int, ...], dims: Sequence[str | int], where: str) -> None:
    if len(shape) != len(dims) or any(isinstance(d, int) and d != n for n, d in zip(shape, dims, strict=True)):
        raise ValueError(f"{where}: site {site} has shape {shape}; its dimensions are {dims}")


def _check_codes(site: str, array: Array, fmt: IntFormat, where: str) -> None:
    outside = np.argwhere((array < fmt.min) | (array > fmt.max))
    if outside.size:
        index = tuple(int(i) for i in outside[0])
        raise ValueError(
            f"{where}: site {site}, index {index} holds {array[index]}, outside {fmt} ({fmt.min} to {fmt.max})"
        )


def read_dump(
    path: Path,
    program: Program,
    *,
    site: str | None = None,
    shape: Sequence[int] | None = None,
    call: str | None = None,
) -> Dump:
    """Read codes that somebody's hardware made of a program's sites.

    Parameters
    ----------
    path
        An npz file or a folder of them, arrays named by site; a folder with the `manifest.json` of `hwsim vectors`; or
        one `$readmemh` text file, two's complement at the site's width. An array may be named `decode_step.3/site`, and
        a file `decode_step.3.npz`; otherwise it is of `encode`, or of step 0 if the site belongs to decode_step.
    program
        Whose sites they are.
    site, shape
        Of a hex file.
    call
        For one file: `encode` or the number of a decode step. None of these is of a folder.

    Raises
    ------
    ValueError
        If something is missing, unknown, of the wrong shape or outside its format, or there is nothing; one line.
    """
    wanted = None if call is None else parse_call(call)
    if not path.exists():
        raise ValueError(f"{path} does not exist; a dump is an npz file, a folder of them, or a hex file")
    is_npz = not path.is_dir() and _is_npz(path)
    if (path.is_dir() or is_npz) and (site is not None or shape is not None):
        raise ValueError(f"{path} names its sites and shapes; a site and a shape (--site, --shape) are of a hex file")
    if path.is_dir():
        if wanted is not None:
            raise ValueError(f"{path} names its calls; a call (--call) is of one file")
        return _read_vectors(path, program) if (path / MANIFEST).exists() else _read_folder(path, program)
    dump = Dump(program, str(path))
    if is_npz:
        _add_npz(dump, path, wanted)
    else:
        _add_hex(dump, path, site, shape, wanted)
    return dump.check()


def _is_npz(path: Path) -> bool:
    with open_regular(path, "dump") as file:
        return path.suffix == ".npz" or zipfile.is_zipfile(file)


def _default_call(program: Program, site: str) -> Call:
    made = next((function for function, op in program.operations() if site in written(op)), "encode")
    return Call(made, 0)


def _add_npz(dump: Dump, path: Path, call: Call | None) -> None:
    with open_npz(path) as members:
        for key, member in members.items():
            prefix, _, site = key.rpartition("/")
            with refusing(member.where):
                named = parse_call(prefix) if prefix else call
            dump.add(named or _default_call(dump.program, site), site, member, member.where)


def _read_folder(path: Path, program: Program) -> Dump:
    files = sorted(path.glob("*.npz"))
    if not files:
        raise ValueError(f"{path} is empty: it has neither {MANIFEST} nor npz files")
    dump = Dump(program, str(path))
    for file in files:
        name = file.stem
        is_call = name == "encode" or _CALL.fullmatch(name) is not None
        _add_npz(dump, file, parse_call(name) if is_call else None)
    return dump.check()


def _add_hex(dump: Dump, path: Path, site: str | None, shape: Sequence[int] | None, call: Call | None) -> None:
    if site is None or shape is None:
        raise ValueError(f"{path} is a hex file: its site and shape are needed (--site NAME --shape 2,4,8)")
    info = dump.program.tensors.get(site)
    fmt = info.format if info is not None else IntFormat(bits=63)  # an unknown site is refused below
    codes = read_hex(path, fmt, tuple(shape))
    dump.add(call or _default_call(dump.program, site), site, codes, str(path))


def read_hex(path: Path, fmt: IntFormat, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Codes of a `$readmemh` file: words of hex digits, `_` within and `//` comments allowed, no addresses.

    Raises
    ------
    ValueError
        If a line holds something else, or a word wider than the format; names file and line. If there are more or
        fewer words than the shape has elements.
    """
    codes = list(_words(path, fmt))
    size = prod(shape)
    if len(codes) != size or any(n < 0 for n in shape):
        raise ValueError(f"{path} holds {len(codes)} words; shape {shape} needs {size}")
    return np.array(codes, np.int64).reshape(shape)


def _words(path: Path, fmt: IntFormat) -> Iterator[int]:
    content = read_whole(path, "hex text", MOST_BYTES)
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no hex text: {error}") from error
    for number, line in enumerate(lines, start=1):
        for word in _COMMENT.sub("", line).split():
            if not re.fullmatch(r"[0-9a-fA-F_]+", word) or not word.strip("_"):
                raise ValueError(f"{path}, line {number}: {word!r} is not a word of hex digits")
            code = int(word.replace("_", ""), 16)
            if code >> fmt.bits:
                raise ValueError(f"{path}, line {number}: {word!r} is wider than the {fmt.bits} bits of {fmt}")
            yield wrapped(code, fmt.bits, signed=fmt.signed)


# --- the layout of `hwsim vectors` ------------------------------------------------------------------------------------


def _read_vectors(path: Path, program: Program) -> Dump:
    content = read_whole(path / MANIFEST, "manifest", MOST_BYTES)
    try:
        manifest = msgspec.json.decode(content, type=VectorManifest)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path / MANIFEST} is no manifest of hwsim vectors: {reason}") from error
    dump = Dump(program, str(path), manifest.sources)
    for operation in manifest.operations:
        for call in operation.calls:
            _add_call(dump, path, operation.output, call)
    return dump.check()


def _add_call(dump: Dump, path: Path, operation: str, call: VectorCall) -> None:
    where = _named_call(f"{path / MANIFEST}, operation {operation!r}", call)
    npz = _inside(path, call.vectors.npz)
    if not npz.exists():
        _add_files(dump, path, where, operation, call.vectors, {})
        return
    with open_npz(npz) as members:
        _refuse_unknown(members, call.vectors, npz)
        _add_files(dump, path, where, operation, call.vectors, members)


def _named_call(where: str, call: VectorCall) -> Call:
    if call.function not in ("encode", "decode_step"):
        raise ValueError(f"{where}: `function` is {call.function!r}; allowed are encode and decode_step")
    if call.step < 0 or (call.step and call.function == "encode"):
        allowed = "0" if call.function == "encode" else "numbers from 0"
        raise ValueError(f"{where}: `step` of {call.function} is {call.step}; allowed: {allowed}")
    return Call(call.function, call.step)


def _add_files(
    dump: Dump, path: Path, call: Call, operation: str, folder: Folder, members: Mapping[str, Member]
) -> None:
    npz = path / folder.npz
    npz_replaced = bool(members) and sha256(npz, "dump") != folder.npz_sha256
    for file in folder.files:
        given = _pick(path, file, members.get(file.tensor), npz_replaced)
        if given is not None:
            dump.add(call, file.tensor, given, f"{npz}, {file.tensor}", operation if file.role == "input" else None)


def _refuse_unknown(names: Iterable[str], folder: Folder, npz: Path) -> None:
    known = [file.tensor for file in folder.files]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.3)
            raise ValueError(f"{npz}: unknown site {name!r}; nearest are {', '.join(near) or ', '.join(known)}")


def _pick(path: Path, file: VectorFile, member: Member | None, npz_replaced: bool) -> Array | Member | None:
    """The hex file or the npz array, whichever was replaced since the vectors were written."""
    text = _inside(path, file.file)
    if not text.exists():
        return member
    hex_replaced = sha256(text, "hex text") != file.sha256
    if member is not None and not hex_replaced:
        return member
    with refusing(f"{path / MANIFEST}, tensor {file.tensor!r}"):
        fmt = IntFormat(bits=file.bits, signed=file.signed, narrow=file.narrow)
    codes = read_hex(text, fmt, tuple(file.shape))
    if member is not None and npz_replaced and (member.shape != codes.shape or (member.read() != codes).any()):
        raise ValueError(f"{text} and the npz beside it were both replaced and differ; which one is meant?")
    return codes


def _inside(path: Path, name: str) -> Path:
    file = path / name
    with refusing(f"{path / MANIFEST} names {name!r}"):
        is_inside = file.resolve().is_relative_to(path.resolve())
    if not is_inside:
        raise ValueError(f"{path / MANIFEST} names {name!r}, which is outside its folder")
    return file
