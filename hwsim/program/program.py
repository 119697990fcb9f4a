"""An integer program as a file: typed operations over named tensors; no arithmetic here.

A program is a manifest (JSON, described by the classes below) and constant arrays, both in one safetensors file: the
manifest in its metadata, every constant packed at its width. docs/program.md describes the format for other readers.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import safetensors.numpy
from msgspec import Meta
from numpy.typing import NDArray

from hwsim.files import write_whole
from hwsim.formats import IntFormat
from hwsim.program.catalogue import Requantization
from hwsim.program.constants import Constants, carrier
from hwsim.program.operations import CONSTANTS, READ, Operation, Struct
from hwsim.program.packing import pack, packed_bytes
from hwsim.program.targets import DEFAULT_TARGET, LimitName

FILE_VERSION = 1
ARITHMETIC = "hwsim-3"
"""The arithmetic of docs/numerics.md and docs/operators that an operation list is written for."""
EARLIER = {"hwsim-2": ("gemmini_softmax",)}
"""Earlier arithmetics, and the tags of the operations that meant other integers in them; the rest are unchanged."""
ANEW = "`hwsim quantize --out FILE` makes a program anew, from the model and the scheme that it came from"
"""What to do with a program of another version."""


class Dimension(Struct, frozen=True, kw_only=True):
    """A symbolic size with its maximum; `terms` are the dimensions whose sum it is (declared before it)."""

    name: str
    maximum: Annotated[int, Meta(ge=1)]
    terms: list[str] = msgspec.field(default_factory=list)


class TensorInfo(Struct, frozen=True, kw_only=True):
    """An activation, input or state: `dims` are names of dimensions, or fixed sizes.

    `scale` is for the reader: real = scale * (code - zero_point). No arithmetic reads it.
    """

    name: str
    format: IntFormat
    dims: list[str | int]
    zero_point: int = 0
    scale: float | None = None


class ConstantInfo(Struct, frozen=True, kw_only=True):
    """A constant: weight codes, bias, table, multipliers. Stored packed, `format.bits` bits an element."""

    name: str
    format: IntFormat
    shape: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1, max_length=4)]
    role: Literal["weight", "bias", "table", "multiplier", "shift"]
    zero_point: int = 0


class Function(Struct, frozen=True, kw_only=True):
    """An ordered list of operations, with the tensors that come in and go out."""

    name: str
    inputs: list[str]
    outputs: list[str]
    operations: list[Operation]


class State(Struct, frozen=True, kw_only=True):
    """A cache of `function`: after a call `present` becomes `past`; it starts empty, and a batch gather reorders it."""

    function: str
    past: str
    present: str


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything of a program but its constant arrays."""

    version: int = FILE_VERSION
    arithmetic: str = ARITHMETIC
    name: str
    scheme: str
    target: str = DEFAULT_TARGET
    """Name in `hwsim.program.targets`: whose arithmetic the operations are. The operations say it in full."""
    tokenizer_sha256: str
    pad_id: int
    bos_id: int
    eos_id: int
    max_positions: int
    logit_scale: float
    beyond: list[LimitName] | msgspec.UnsetType = msgspec.UNSET
    """Limits of the target that the program may break; it is not native then."""
    origin: str = ""
    """For the reader: what the lowering side wants to know again. The machine does not look at it."""
    dimensions: list[Dimension]
    tensors: list[TensorInfo]
    constants: list[ConstantInfo]
    functions: list[Function]
    states: list[State]


class Program:
    """A manifest and its constants, arrays of codes of any integer dtype. Made by lowering or by `load`.

    Arrays that are of the narrowest type already are not copied; they must not change after.

    Raises
    ------
    ValueError
        If a constant is missing, undeclared or does not fit its declaration. `hwsim.program.validate` checks the rest.
    """

    def __init__(self, manifest: Manifest, constants: Mapping[str, NDArray[Any]]) -> None:
        self.manifest = manifest
        self.tensors = {info.name: info for info in manifest.tensors}
        self.constant_info = {info.name: info for info in manifest.constants}
        self.functions = {function.name: function for function in manifest.functions}
        self.dimensions = {dimension.name: dimension for dimension in manifest.dimensions}
        for name in constants:
            if name not in self.constant_info:
                raise ValueError(f"array {name} is not declared as a constant")
        given, narrow = Constants(constants), {}
        for info in manifest.constants:
            if info.name not in given:
                raise ValueError(f"constant {info.name} is declared but has no array")
            array = given.held(info.name)
            if array.dtype.kind not in "iub":
                raise ValueError(f"constant {info.name} has dtype {array.dtype}; integers are needed")
            if array.shape != tuple(info.shape):
                raise ValueError(f"constant {info.name} has shape {array.shape}, declared {tuple(info.shape)}")
            if array.size and not (info.format.min <= array.min() and array.max() <= info.format.max):
                raise ValueError(f"constant {info.name} leaves its format {info.format}")
            narrow[info.name] = np.asarray(array, carrier(info.format), order="C")
        self.constants = Constants(narrow)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weight codes, packed at their widths, as they lie in the file."""
        return sum(
            packed_bytes(info.shape, info.format.bits) for info in self.manifest.constants if info.role == "weight"
        )

    def operations(self) -> Iterator[tuple[str, Operation]]:
        """(function name, operation) in order."""
        for function in self.manifest.functions:
            for operation in function.operations:
                yield function.name, operation

    def constants_of(self, operation: Operation) -> list[str]:
        """Names of the constants that an operation reads."""
        fields = [getattr(operation, field) for field in CONSTANTS if hasattr(operation, field)]
        for value in msgspec.structs.asdict(operation).values():
            if isinstance(value, Requantization):
                fields += [value.multiplier, value.shift]
        return [name for name in fields if isinstance(name, str) and name in self.constant_info]

    def inputs_of(self, operation: Operation) -> list[str]:
        """Names of the tensors that an operation reads."""
        fields = [getattr(operation, field) for field in READ if hasattr(operation, field)]
        return [name for name in fields if isinstance(name, str) and name not in self.constant_info]

    def save(self, path: Path) -> None:
        """Write the program as one safetensors file, whole or not at all, over one that is there."""
        write_whole(path, self.encoded())

    def encoded(self) -> bytes:
        """The program as the content of a safetensors file."""
        arrays = {info.name: pack(self.constants.held(info.name), info.format) for info in self.manifest.constants}
        metadata = {"hwsim": msgspec.json.encode(self.manifest).decode()}
        return safetensors.numpy.save(arrays, metadata)
