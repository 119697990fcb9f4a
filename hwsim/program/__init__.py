"""The seam: what a program is, its file, and the proofs that it is sound. No kernel, no compiled code.

`catalogue`, `operations` and `targets` are records, `program` is the manifest with its constants, `packing` stores
these; `loading`, `validate` and `proofs` let in what is whole, consistent and safe, and nothing else.
"""

from hwsim.program.operations import Operation, written
from hwsim.program.program import (
    ARITHMETIC,
    FILE_VERSION,
    ConstantInfo,
    Dimension,
    Function,
    Manifest,
    Program,
    State,
    TensorInfo,
)

__all__ = [
    "ARITHMETIC",
    "FILE_VERSION",
    "ConstantInfo",
    "Dimension",
    "Function",
    "Manifest",
    "Operation",
    "Program",
    "State",
    "TensorInfo",
    "written",
]
