"""One operation as a program, so that its stages can be asked for on concrete operands."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.proof.divergence import Stage, before_rounding, stages
from hwsim.formats import IntFormat
from hwsim.program import ConstantInfo, Function, Manifest, Program, TensorInfo
from hwsim.program.operations import Operation

Zeros = dict[str, int]
WIDE = IntFormat(bits=32)
INT8, UINT8 = IntFormat(bits=8), IntFormat(bits=8, signed=False)


def program_of(
    operation: Operation, values: dict[str, Any], outputs: dict[str, IntFormat], **constants: Any
) -> Program:
    """Inputs are int32, outputs as given; every tensor's zero point is 0 but for `zeros`, one of the constants."""
    zeros: Zeros = constants.pop("zeros", {})
    arrays = {name: np.array(values, np.int32) for name, values in constants.items()}
    formats = dict.fromkeys(values, WIDE) | outputs
    manifest = Manifest(
        name="one",
        scheme="by hand",
        tokenizer_sha256="",
        pad_id=0,
        bos_id=2,
        eos_id=3,
        max_positions=8,
        logit_scale=1.0,
        dimensions=[],
        tensors=[
            TensorInfo(name=name, format=form, dims=[], zero_point=zeros.get(name, 0)) for name, form in formats.items()
        ],
        constants=[
            ConstantInfo(name=name, format=WIDE, shape=list(array.shape), role="table")
            for name, array in arrays.items()
        ],
        functions=[Function(name="encode", inputs=list(values), outputs=list(outputs), operations=[operation])],
        states=[],
    )
    return Program(manifest, arrays)


def staged(
    operation: Operation,
    site: str,
    indices: list[tuple[int, ...]],
    values: dict[str, Any],
    outputs: dict[str, IntFormat] | None = None,
    **constants: Any,
) -> list[Stage | None]:
    """The stages of some elements, which `before_rounding` must tell one by one too."""
    program = program_of(operation, values, outputs or {site: INT8}, **constants)
    arrays: dict[str, NDArray[Any]] = {name: np.array(x) for name, x in values.items()}
    found = stages(program, site, indices, arrays)
    for index, stage in zip(indices, found, strict=True):
        alone = (None, None) if stage is None else (stage.integer, stage.value)
        assert before_rounding(program, site, index, arrays) == alone
    return found


def only(found: list[Stage | None]) -> Stage:
    (stage,) = found
    assert stage is not None
    return stage
