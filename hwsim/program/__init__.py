"""The seam: what a program is, its file, and the proofs that it is sound. No kernel, no compiled code.

`catalogue`, `operations` and `targets` are records, `program` is the manifest with its constants, `packing` stores
these; `loading`, `validate` and `proofs` let in what is whole, consistent and safe, and nothing else.
"""

from hwsim.program.operations import Operation
from hwsim.program.program import (
    ConstantInfo,
    Dimension,
    Function,
    Manifest,
    Program,
    State,
    TensorInfo,
)

__all__ = [
    "ConstantInfo",
    "Dimension",
    "Function",
    "Manifest",
    "Operation",
    "Program",
    "State",
    "TensorInfo",
]
