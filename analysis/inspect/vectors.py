"""Test vectors for an RTL test bench: what operations of a program read and make while it translates.

For every operation a folder, in it one for its constants and one for each call; every tensor lies there as a
`$readmemh` file (two's complement at the element's width, one element a line, C order), and all of a folder as
`arrays.npz`. `manifest.json`, written last, describes every file.
"""

import difflib
import hashlib
import io
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from analysis.translation.steppers import MachineStepper
from hwsim.files import readable_json, write_whole
from hwsim.formats import IntFormat
from hwsim.machine import Machine, Observer
from hwsim.program import ConstantInfo, Program, TensorInfo
from hwsim.program import operations as ops
from hwsim.program.catalogue import Requantization, Shift
from hwsim.program.operations import Operation, ShiftRight, written
from reference.decoding import greedy

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
HEX = "two's complement of `bits` bits, ceil(bits/4) hex digits, one element a line, C order"

Array = NDArray[Any]
Values = dict[str, Array]
Call = tuple[str, int]
"""Function and number of the call: 0 for `encode`, the decode step for `decode_step`."""


class VectorFile(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of one call; `role` is input, constant or output, `scale` is for the reader."""

    tensor: str
    role: str
    file: str
    shape: list[int]
    bits: int
    signed: bool
    narrow: bool
    zero_point: int
    scale: float | None
    layout: str = "C"
    sha256: str


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """Files that belong together, and the npz with the same tensors by name."""

    npz: str
    npz_sha256: str
    files: list[VectorFile]


class VectorCall(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an operation: function `encode`, or step 0, 1, ... of `decode_step`."""

    function: str
    step: int
    vectors: Folder


class VectorOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation: `fields` are those of the program file, names of tensors and constants among them.

    `reach` is the proven interval of an accumulator.
    """

    output: str
    function: str
    type: str
    rounding: str
    reach: tuple[int, int] | None
    fields: dict[str, Any]
    constants: Folder | None
    calls: list[VectorCall]


class VectorManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`; paths are relative to its folder."""

    version: int = MANIFEST_VERSION
    hex: str = HEX
    program: str
    scheme: str
    target: str
    arithmetic: str
    pattern: str
    sources: list[list[int]]
    operations: list[VectorOperation]


class Written(NamedTuple):
    """What `write_vectors` wrote."""

    operations: int
    files: int

    def __str__(self) -> str:
        plural = "" if self.operations == 1 else "s"
        return f"{self.operations} operation{plural}, {self.files} files, described in {MANIFEST}"


def write_vectors(machine: Machine, sources: list[list[int]], pattern: str, out: Path, *, steps: int = 2) -> Written:
    """Translate sentences greedily and write vectors of the operations that make a tensor that matches a pattern.

    Parameters
    ----------
    machine
        Its program is run; its counters are not touched.
    sources
        Ids of each sentence, ended by EOS: one batch, padded.
    pattern
        Shell style, of tensor names: an operation is taken if any tensor that it makes matches.
    out
        Folder; files of the same names are replaced, and an old manifest goes first.
    steps
        Decode steps after `encode`, fewer if all sentences end before.

    Raises
    ------
    ValueError
        If no operation matches, or none that would run; the message lists similar names.
    """
    if not sources:
        raise ValueError("no sentence to run; at least one is needed")
    program = machine.program
    chosen = _choose(program, pattern, steps)
    (out / MANIFEST).unlink(missing_ok=True)
    writer = _Writer(program, out)
    calls: list[list[VectorCall]] = [[] for _ in chosen]

    def record(call: Call, values: Values) -> None:
        for (function, operation), into in zip(chosen, calls, strict=True):
            if function == call[0]:
                into.append(_write_call(writer, operation, call, values))

    recorder = _Recorder(program, record)
    stepper = MachineStepper(recorder, sources)
    if steps:
        greedy(stepper, [min(steps, program.manifest.max_positions)] * len(sources))
    manifest = VectorManifest(
        program=program.manifest.name,
        scheme=program.manifest.scheme,
        target=program.manifest.target,
        arithmetic=program.manifest.arithmetic,
        pattern=pattern,
        sources=sources,
        operations=[_describe(writer, recorder, *one, made) for one, made in zip(chosen, calls, strict=True)],
    )
    write_whole(out / MANIFEST, readable_json(manifest))
    return Written(len(chosen), writer.files + 1)


def _choose(program: Program, pattern: str, steps: int) -> list[tuple[str, Operation]]:
    """The operations with an output that matches."""
    chosen = [
        (function, operation)
        for function, operation in program.operations()
        if any(fnmatchcase(name, pattern) for name in written(operation))
    ]
    if not chosen:
        names = [name for _, operation in program.operations() for name in written(operation)]
        similar = difflib.get_close_matches(pattern.replace("*", ""), names, n=4, cutoff=0.3) or names[:4]
        raise ValueError(f"pattern {pattern!r} matches no output of an operation; similar: {', '.join(similar)}")
    running = [one for one in chosen if steps or one[0] == "encode"]
    if not running:
        raise ValueError(f"pattern {pattern!r} matches only operations of {chosen[0][0]}, and 0 decode steps are asked")
    return running


class _Recorder(Machine):
    """A machine that hands over the inputs and all tensors of each call."""

    def __init__(self, program: Program, record: Callable[[Call, Values], None]) -> None:
        super().__init__(program)
        self._record = record
        self._calls = dict.fromkeys(program.functions, 0)

    def run(self, function: str, inputs: Mapping[str, Array], observe: Observer | None = None) -> Values:
        values = {name: np.asarray(array) for name, array in inputs.items()}
        outputs = super().run(function, inputs, values.__setitem__)
        self._record((function, self._calls[function]), values)
        self._calls[function] += 1
        return outputs


def _write_call(writer: "_Writer", operation: Operation, call: Call, values: Values) -> VectorCall:
    function, step = call
    roles = dict.fromkeys(writer.program.inputs_of(operation), "input") | dict.fromkeys(written(operation), "output")
    name = function if function == "encode" else f"{function}.{step}"
    folder = writer.folder([operation.output, name], roles, values)
    return VectorCall(function=function, step=step, vectors=folder)


def _describe(
    writer: "_Writer", machine: Machine, function: str, operation: Operation, calls: list[VectorCall]
) -> VectorOperation:
    fields = msgspec.to_builtins(operation)
    names = dict.fromkeys(writer.program.constants_of(operation), "constant")
    constants = writer.folder([operation.output, "constants"], names, writer.program.constants) if names else None
    reach = machine.reach.get(operation.output)
    return VectorOperation(
        output=operation.output,
        function=function,
        type=fields.pop("type"),
        rounding=ROUNDINGS[type(operation)](operation),
        reach=None if reach is None else (reach.low, reach.high),
        fields=fields,
        constants=constants,
        calls=calls,
    )


def _rounding(operation: Operation) -> str:
    """The rounding of an operation; of one with more than one requantization all that differ.

    HALF_EVEN is also what is said of operations that round nothing.
    """
    schemes = [value for value in msgspec.structs.asdict(operation).values() if isinstance(value, Requantization)]
    names = [one.rounding.name if isinstance(one, Shift) else one.record().rounding for one in schemes]
    return "; ".join(dict.fromkeys(names)) or "HALF_EVEN"


def _own_rounding(operation: ShiftRight) -> str:
    return operation.rounding.name


def _softmax_page(operation: Operation) -> str:
    return "docs/operators/softmax.md"


def _layernorm_page(operation: Operation) -> str:
    return "docs/operators/layernorm.md"


ROUNDINGS: dict[type[Operation], Callable[[Any], str]] = {
    ops.Embed: _rounding,
    ops.MatMul: _rounding,
    ops.ShiftRight: _own_rounding,
    ops.Relu: _rounding,
    ops.Requantize: _rounding,
    ops.SplitHeads: _rounding,
    ops.MergeHeads: _rounding,
    ops.ProjectHeads: _rounding,
    ops.Append: _rounding,
    ops.Softmax: _rounding,
    ops.GemmlowpSoftmax: _softmax_page,
    ops.IBertSoftmax: _softmax_page,
    ops.ItaMax: _softmax_page,
    ops.GemminiSoftmax: _softmax_page,
    ops.PulpSoftmax: _softmax_page,
    ops.Int16Softmax: _softmax_page,
    ops.QLinearSoftmax: _softmax_page,
    ops.LayerNorm: _rounding,
    ops.IBertLayerNorm: _layernorm_page,
    ops.PulpLayerNorm: _layernorm_page,
    ops.TfliteLayerNorm: _layernorm_page,
    ops.GemminiLayerNorm: _layernorm_page,
    ops.Add: _rounding,
    ops.RescaledAdd: _rounding,
}
"""How a manifest says that each operation rounds."""


class _Writer:
    """Writes folders of tensors and counts files."""

    def __init__(self, program: Program, out: Path) -> None:
        self.program, self.out = program, out
        self.files = 0

    def folder(self, path: list[str], roles: dict[str, str], values: Mapping[str, Array]) -> Folder:
        """Write tensors below `out` / path, as hex files and one npz."""
        parts = [_safe(part) for part in path]
        files, arrays = [], {}
        for name, role in roles.items():
            info = self.program.tensors.get(name) or self.program.constant_info[name]
            arrays[name] = values[name].astype(np.int64 if info.format.max > 2**31 - 1 else np.int32)
            file = "/".join([*parts, f"{_safe(name)}.hex"])
            sha256 = self._write(file, readmemh(arrays[name], info.format))
            files.append(_file(name, role, file, info, arrays[name], sha256))
        npz = "/".join([*parts, "arrays.npz"])
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        return Folder(npz=npz, npz_sha256=self._write(npz, content.getvalue()), files=files)

    def _write(self, file: str, content: bytes) -> str:
        write_whole(self.out / file, content)
        self.files += 1
        return hashlib.sha256(content).hexdigest()


def readmemh(array: Array, fmt: IntFormat) -> bytes:
    """The elements in C order, one a line, two's complement at the width of the format."""
    digits, mask = -(-fmt.bits // 4), (1 << fmt.bits) - 1
    return "".join(f"{code & mask:0{digits}x}\n" for code in array.reshape(-1).tolist()).encode()


def _safe(name: str) -> str:
    """A name that is a file name on every system, and stays in its folder: a program file is untrusted input."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}", name):
        raise ValueError(f"tensor {name!r} cannot name a file; allowed are letters, digits and '_.-' behind the first")
    return name


def _file(name: str, role: str, file: str, info: TensorInfo | ConstantInfo, array: Array, sha256: str) -> VectorFile:
    return VectorFile(
        tensor=name,
        role=role,
        file=file,
        shape=list(array.shape),
        bits=info.format.bits,
        signed=info.format.signed,
        narrow=info.format.narrow,
        zero_point=info.zero_point,
        scale=info.scale if isinstance(info, TensorInfo) else None,
        sha256=sha256,
    )
