"""Inputs of the machine: each is checked against its format and dimensions and refused by name."""

from typing import Any

import msgspec
import numpy as np
import pytest

from hwsim import program as ir
from hwsim.formats import IntFormat
from hwsim.machine import Machine
from hwsim.program import Program
from tests.unit.hwsim.machine.machine_inputs import PAST, SOURCE, Arrays, encode_inputs, step_inputs

WRONG_ENCODE: dict[str, tuple[Arrays, str]] = {
    "unknown": ({"sauce_ids": SOURCE}, r"encode: missing inputs \[\], unknown inputs \['sauce_ids'\]"),
    "float": ({"source_ids": SOURCE.astype(float)}, "input source_ids has dtype float64; integers are needed"),
    "objects": ({"source_ids": SOURCE.astype(object)}, "input source_ids has dtype object"),
    "too few dimensions": ({"source_ids": SOURCE[0]}, r"input source_ids has shape \(5,\); its dimensions are"),
    "too many dimensions": ({"encode.position": np.array([0])}, r"input encode.position has shape \(1,\)"),
    "another length": (
        {"source_mask": SOURCE[:, :4] != 0},
        r"input source_mask has shape \(3, 4\): source is 4, needed 5",
    ),
    "another batch": ({"source_mask": SOURCE[:2] != 0}, r"input source_mask has shape \(2, 5\): batch is 2, needed 3"),
    "beyond its format": ({"source_mask": SOURCE}, "input source_mask holds a value outside uint2"),
    "below its format": ({"source_mask": SOURCE - 1}, "input source_mask holds a value outside uint2"),
    "beyond 64 bits": (
        {"encode.position": np.array(2**64 - 1, np.uint64)},
        "input encode.position holds a value outside",
    ),
    "id beyond the vocabulary": ({"source_ids": SOURCE + 1}, "source_ids holds 1 to 20; the vocabulary has 0 to 19"),
    "id below 0": ({"source_ids": SOURCE - 1}, "input source_ids holds a value outside uint32"),
    "position too late": ({"encode.position": np.array(8)}, "encode.position is 8 for 5 ids; there are 12 positions"),
    "position below 0": ({"encode.position": np.array(-1)}, "input encode.position holds a value outside uint32"),
}


@pytest.mark.parametrize("case", WRONG_ENCODE)
def test_a_wrong_input_is_named(case: str, tiny: Program) -> None:
    wrong, message = WRONG_ENCODE[case]
    machine = Machine(tiny)
    with pytest.raises(ValueError, match=message):
        machine.run("encode", encode_inputs() | wrong)
    machine.run("encode", encode_inputs())


@pytest.mark.parametrize("function", ["encode", "decode_step"])
def test_every_missing_input_is_named(function: str, tiny: Program) -> None:
    inputs = encode_inputs() if function == "encode" else step_inputs(tiny)
    assert set(inputs) == set(tiny.functions[function].inputs)
    for name in inputs:
        rest = {other: array for other, array in inputs.items() if other != name}
        with pytest.raises(ValueError, match=rf"{function}: missing inputs \['{name}'\], unknown inputs \[\]"):
            Machine(tiny).run(function, rest)


def test_every_input_keeps_to_its_format(tiny: Program) -> None:
    """Its ends are taken, what lies beside them is not."""
    inputs = step_inputs(tiny)
    for name in {*inputs} - {"target_ids", "decode_step.position"}:
        fmt = tiny.tensors[name].format
        for value, fits in ((fmt.min, True), (fmt.max, True), (fmt.min - 1, False), (fmt.max + 1, False)):
            other = inputs | {name: np.full(inputs[name].shape, value)}
            if fits:
                Machine(tiny).run("decode_step", other)
            else:
                with pytest.raises(ValueError, match=f"input {name} holds a value outside {fmt}"):
                    Machine(tiny).run("decode_step", other)


def test_dimensions_end_at_their_maximum(tiny: Program) -> None:
    """A source of 12 ids and 11 past positions are the most of a program with 12 positions."""
    longest = np.resize([4, 5, 6], (1, 12))
    Machine(tiny).run("decode_step", step_inputs(tiny, longest, past=11))
    for source, size in ((np.resize([4, 5, 6], (1, 13)), 13), (np.resize([4], (1, 99)), 99)):
        with pytest.raises(ValueError, match=rf"input source_ids has shape \(1, {size}\): source is {size}, needed 12"):
            Machine(tiny).run("encode", encode_inputs(source))
    with pytest.raises(ValueError, match=rf"input {PAST} has shape .*: past is 12, needed 11"):
        Machine(tiny).run("decode_step", step_inputs(tiny, past=11) | {PAST: np.zeros((3, 2, 12, 4), np.int32)})
    two = np.zeros((3, 2), np.int64)
    with pytest.raises(ValueError, match=r"input target_ids has shape \(3, 2\): target is 2, needed 1"):
        Machine(tiny).run("decode_step", step_inputs(tiny) | {"target_ids": two})


def test_a_sum_of_dimensions_ends_at_its_maximum(tiny: Program) -> None:
    def keys(maximum: int) -> Machine:
        dimensions = [
            msgspec.structs.replace(dim, maximum=maximum) if dim.name == "keys" else dim
            for dim in tiny.manifest.dimensions
        ]
        return Machine(Program(msgspec.structs.replace(tiny.manifest, dimensions=dimensions), tiny.constants))

    keys(6).run("decode_step", step_inputs(tiny, past=5))
    with pytest.raises(ValueError, match=r"decode_step: past \+ target is 7, keys has at most 6"):
        keys(6).run("decode_step", step_inputs(tiny, past=6))


def test_an_input_of_a_sum_of_dimensions_has_its_size(tiny: Program) -> None:
    """A mask over keys that is one key long would otherwise be stretched over all."""
    mask = ir.TensorInfo(name="key_mask", format=IntFormat(bits=2, signed=False), dims=["batch", "keys"])
    output = "decoder.0.self_attention.softmax.output"

    def masked(function: ir.Function) -> ir.Function:
        operations = [
            msgspec.structs.replace(o, mask="key_mask") if o.output == output else o for o in function.operations
        ]
        inputs = [*function.inputs, "key_mask"] if function.name == "decode_step" else function.inputs
        return msgspec.structs.replace(function, inputs=inputs, operations=operations)

    manifest = msgspec.structs.replace(
        tiny.manifest,
        tensors=[*tiny.manifest.tensors, mask],
        functions=[masked(function) for function in tiny.manifest.functions],
    )
    machine, inputs = Machine(Program(manifest, tiny.constants)), step_inputs(tiny)
    outputs = machine.run("decode_step", inputs | {"key_mask": np.ones((3, 4), np.int32)})
    expected = Machine(tiny).run("decode_step", inputs)
    assert all(np.array_equal(outputs[name], codes) for name, codes in expected.items())
    with pytest.raises(ValueError, match=r"decode_step: keys is 1, but past \+ target is 4"):
        machine.run("decode_step", inputs | {"key_mask": np.ones((3, 1), np.int32)})


def test_an_unknown_function_lists_the_known_ones(tiny: Program) -> None:
    with pytest.raises(ValueError, match="unknown function 'decode'; the program has encode, decode_step"):
        Machine(tiny).run("decode", {})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_any_integer_type_and_layout_gives_the_same(dtype: Any, tiny: Program) -> None:
    expected = Machine(tiny).run("encode", encode_inputs())
    source = np.asfortranarray(SOURCE.astype(dtype))
    got = Machine(tiny).run("encode", encode_inputs() | {"source_ids": source})
    assert all(np.array_equal(got[name], codes) for name, codes in expected.items())


def test_ids_may_have_a_narrow_format(tiny: Program) -> None:
    """Whatever format the program gives them."""
    tensors = [
        msgspec.structs.replace(info, format=IntFormat(bits=6)) if info.name == "source_ids" else info
        for info in tiny.manifest.tensors
    ]
    narrow = Machine(Program(msgspec.structs.replace(tiny.manifest, tensors=tensors), tiny.constants))
    expected = Machine(tiny).run("encode", encode_inputs())
    got = narrow.run("encode", encode_inputs())
    assert all(np.array_equal(got[name], codes) for name, codes in expected.items())
    with pytest.raises(ValueError, match="source_ids holds -1 to -1; the vocabulary has 0 to 19"):
        narrow.run("encode", encode_inputs() | {"source_ids": np.full(SOURCE.shape, -1)})
