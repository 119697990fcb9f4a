"""A small program, the bytes of its file, and how a file of given bytes is refused."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import Accumulator, IntFormat
from hwsim.program import Program
from hwsim.program import operations as ops
from hwsim.program.catalogue import Dyadic
from hwsim.program.loading import load


def mini_program() -> Program:
    """Embedding, linear layer, requantization: small enough to be damaged thousands of times."""
    rng = np.random.default_rng(5)
    constants = {
        "table": (IntFormat(bits=8, narrow=True), (6, 4), "weight"),
        "positions": (IntFormat(bits=5), (5, 4), "weight"),
        "weight": (IntFormat(bits=3), (3, 4), "weight"),
        "bias": (IntFormat(bits=32), (3,), "bias"),
        "multipliers": (IntFormat(bits=16, signed=False), (3,), "multiplier"),
    }
    arrays = {
        name: rng.integers(max(1, fmt.min) if role == "multiplier" else fmt.min // 2, fmt.max // 2, shape)
        for name, (fmt, shape, role) in constants.items()
    }
    ids = IntFormat(bits=32, signed=False)
    sizes = ["batch", "source"]
    tensors = [
        ir.TensorInfo(name="ids", format=ids, dims=[*sizes]),
        ir.TensorInfo(name="first", format=ids, dims=[]),
        ir.TensorInfo(name="embedded", format=IntFormat(bits=7), dims=[*sizes, 4], zero_point=-3, scale=0.5),
        ir.TensorInfo(name="accumulator", format=IntFormat(bits=33), dims=[*sizes, 3]),
        ir.TensorInfo(name="result", format=IntFormat(bits=4, signed=False), dims=[*sizes, 3]),
    ]
    operations: list[ops.Operation] = [
        ops.Embed(
            output="embedded",
            ids="ids",
            position="first",
            table="table",
            positions="positions",
            multiplier=300,
            position_multiplier=500,
            shift=9,
        ),
        ops.MatMul(output="accumulator", a="embedded", b="weight", bias="bias", accumulator=Accumulator(bits=33)),
        ops.Requantize(output="result", input="accumulator", requantization=Dyadic(multiplier="multipliers", shift=44)),
    ]
    manifest = ir.Manifest(
        name="mini",
        scheme="none",
        tokenizer_sha256="",
        pad_id=0,
        bos_id=1,
        eos_id=2,
        max_positions=5,
        logit_scale=0.25,
        dimensions=[ir.Dimension(name="batch", maximum=9), ir.Dimension(name="source", maximum=5)],
        tensors=tensors,
        constants=[
            ir.ConstantInfo(name=name, format=fmt, shape=list(shape), role=role)  # type: ignore[arg-type]
            for name, (fmt, shape, role) in constants.items()
        ],
        functions=[ir.Function(name="encode", inputs=["ids", "first"], outputs=["result"], operations=operations)],
        states=[],
    )
    return Program(manifest, arrays)


def refusal(content: bytes) -> str:
    """The one line in which a file is refused, "" if it loads. Any exception but a ValueError gets through."""
    path = Path("some.hwsim")
    try:
        with patch("hwsim.program.loading.read_whole", return_value=content):
            load(path)
    except ValueError as error:
        text = str(error)
        assert text.startswith(f"{path} is not a valid program: ") and len(text.splitlines()) == 1, text
        assert len(text) > len(f"{path} is not a valid program: ") + 5, "says nothing"
        return text
    return ""


def taken_apart(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Manifest and packed arrays of a file."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["hwsim"]), dict(safetensors.numpy.load(content))


def put_together(manifest: object, arrays: dict[str, NDArray[Any]]) -> bytes:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    return bytes(safetensors.numpy.save(arrays, {"hwsim": text}))
