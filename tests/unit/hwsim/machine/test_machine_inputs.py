"""The machine: inputs are checked by name, every tensor is seen, events add up, runs do not touch each other."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim import program as ir
from hwsim.formats import Accumulator, Counter, IntFormat, Overflow
from hwsim.machine.machine import Machine, operation_of
from hwsim.program import Manifest, Program
from hwsim.program import operations as ops
from hwsim.program.operations import written
from reference.quantize.scheme import Scheme, preset
from tests import ROOT
from tests.small.programs import tiny_program

Arrays = dict[str, NDArray[Any]]
SOURCE = np.array([[4, 9, 13, 7, 2], [5, 17, 2, 0, 0], [19, 2, 0, 0, 0]])
PAST = "decoder.0.self_attention.key_past"


@pytest.fixture(scope="module")
def tiny() -> Program:
    return tiny_program(preset("int8"))


def encode_inputs(source: NDArray[Any] = SOURCE) -> Arrays:
    return {"source_ids": source, "source_mask": source != 0, "encode.position": np.array(0)}


def step_inputs(program: Program, source: NDArray[Any] = SOURCE, past: int = 3) -> Arrays:
    """The second function's, with caches of small codes."""
    rows, rng = len(source), np.random.default_rng(4)
    cross = Machine(program).run("encode", encode_inputs(source))
    caches = {state.past: rng.integers(-8, 8, (rows, 2, past, 4)).astype(np.int32) for state in program.manifest.states}
    ids = {"target_ids": np.full((rows, 1), 6), "decode_step.position": np.array(past), "source_mask": source != 0}
    return ids | cross | caches


def run_both(machine: Machine, observe: Callable[[str, NDArray[Any]], None] | None = None) -> Arrays:
    outputs = machine.run("encode", encode_inputs(), observe)
    return outputs | machine.run("decode_step", step_inputs(machine.program), observe)


# --- inputs -----------------------------------------------------------------------------------------------------------

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


# --- what is seen and counted -----------------------------------------------------------------------------------------


def test_every_tensor_is_seen_once_in_order(tiny: Program) -> None:
    seen: list[str] = []
    arrays: Arrays = {}

    def observe(name: str, codes: NDArray[Any]) -> None:
        seen.append(name)
        arrays[name] = codes

    outputs = run_both(Machine(tiny), observe)
    assert seen == [name for _, operation in tiny.operations() for name in written(operation)]
    made_or_given = {*seen}.union(*(function.inputs for function in tiny.manifest.functions))
    assert made_or_given == set(tiny.tensors)
    for name, codes in outputs.items():
        assert np.array_equal(arrays[name], codes) and codes.dtype == np.int32
    for name, codes in arrays.items():
        assert codes.ndim == len(tiny.tensors[name].dims) and codes.dtype.kind == "i"


def test_observing_changes_nothing(tiny: Program) -> None:
    silent, watched = Machine(tiny), Machine(tiny)
    left, right = run_both(silent), run_both(watched, lambda name, codes: None)
    assert all(left[name].tobytes() == right[name].tobytes() for name in left)
    assert {n: c.tolist() for n, c in silent.counters.items()} == {n: c.tolist() for n, c in watched.counters.items()}


@pytest.mark.parametrize("rule", [Overflow.SATURATE, Overflow.WRAP])
def test_events_add_up_over_runs(rule: Overflow) -> None:
    """A machine's counters are the sum of what each run counts; totals are their sum."""
    program = tiny_program(Scheme(name="narrow", weight_bits=5, accumulator=Accumulator(bits=11, overflow=rule)))
    machine, once, step = Machine(program), Machine(program), Machine(program)
    assert not machine.counters and machine.totals == dict.fromkeys(Counter, 0)
    once.run("encode", encode_inputs())
    step.run("decode_step", step_inputs(program))
    for times in (1, 2, 3):
        machine.run("encode", encode_inputs())
        assert {name: events.tolist() for name, events in machine.counters.items()} == {
            name: (times * events).tolist() for name, events in once.counters.items()
        }
    machine.run("decode_step", step_inputs(program))
    assert machine.totals == {c: 3 * once.totals[c] + step.totals[c] for c in Counter}
    assert machine.totals == {c: sum(int(events[c]) for events in machine.counters.values()) for c in Counter}
    assert (
        machine.totals[Counter.OVERFLOW] and machine.totals[Counter.POSITIVE_TIE] and machine.totals[Counter.SATURATION]
    )
    assert all(type(count) is int for count in machine.totals.values())
    assert not {*once.counters} & {*step.counters}


def test_a_refused_input_counts_nothing(tiny: Program) -> None:
    machine = Machine(tiny)
    with pytest.raises(ValueError, match="source_mask"):
        machine.run("encode", encode_inputs() | {"source_mask": SOURCE})
    assert sum(machine.totals.values()) == 0


# --- shapes without elements ------------------------------------------------------------------------------------------


def test_an_empty_batch_gives_empty_outputs(tiny: Program) -> None:
    machine, nobody = Machine(tiny), SOURCE[:0]
    cross = machine.run("encode", encode_inputs(nobody))
    assert {codes.shape for codes in cross.values()} == {(0, 2, 5, 4)}
    outputs = machine.run("decode_step", step_inputs(tiny, nobody))
    assert outputs["generator.logits"].shape == (0, 1, 20)
    assert sum(machine.totals.values()) == 0


def test_a_step_without_past_or_source_runs(tiny: Program) -> None:
    """Caches start with 0 positions; nothing to attend to gives nothing, as section 4 says of such a row."""
    first = Machine(tiny).run("decode_step", step_inputs(tiny, past=0))
    assert {codes.shape for name, codes in first.items() if "cache" in name} == {(3, 2, 1, 4)}
    seen: Arrays = {}
    Machine(tiny).run("decode_step", step_inputs(tiny, SOURCE[:, :0]), seen.__setitem__)
    assert seen["decoder.0.cross_attention.softmax.output"].shape == (3, 2, 1, 0)
    assert (seen["decoder.0.cross_attention.softmax.denominator"] == 1).all()
    assert (seen["decoder.0.cross_attention.context.accumulator"] == 0).all()


# --- runs do not touch each other -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "past"), [(SOURCE, 3), (SOURCE[:1, :1], 0)], ids=["several", "one of each"])
def test_outputs_are_the_callers_own(source: NDArray[Any], past: int, tiny: Program) -> None:
    """Writing over outputs, inputs and what was observed changes no later run, and none of it is the same memory."""
    machine = Machine(tiny)
    given = {"encode": encode_inputs(source), "decode_step": step_inputs(tiny, source, past)}
    expected = {name: machine.run(name, inputs) for name, inputs in given.items()}
    constants = {name: array.copy() for name, array in tiny.constants.items()}
    for name, inputs in given.items():
        handed = {key: array.copy() for key, array in inputs.items()}
        observed: list[NDArray[Any]] = []
        outputs = machine.run(name, handed, lambda site, codes, into=observed: into.append(codes))
        for array in observed:
            assert not any(np.shares_memory(array, held) for held in (*handed.values(), *tiny.constants.values()))
        assert all(np.array_equal(handed[key], inputs[key]) for key in inputs)
        kept = {key: array.copy() for key, array in outputs.items()}
        for array in handed.values():
            array[...] = 1
        assert all(np.array_equal(outputs[key], kept[key]) for key in outputs)
        for array in [*observed, *outputs.values()]:
            array[...] = 77
        again = machine.run(name, inputs)
        assert all(np.array_equal(again[key], codes) for key, codes in expected[name].items())
    assert all(np.array_equal(tiny.constants[name], array) for name, array in constants.items())


def test_a_function_that_only_moves_hands_out_copies() -> None:
    """Splitting one head off moves nothing, yet the output is not the input."""
    tensors = [
        ir.TensorInfo(name="merged", format=IntFormat(bits=8), dims=[2, 1, 4]),
        ir.TensorInfo(name="split", format=IntFormat(bits=8), dims=[2, 1, 1, 4]),
        ir.TensorInfo(name="again", format=IntFormat(bits=8), dims=[2, 1, 4]),
    ]
    moves: list[ops.Operation] = [
        ops.SplitHeads(output="split", input="merged"),
        ops.MergeHeads(output="again", input="split"),
    ]
    manifest = Manifest(
        name="moves",
        scheme="none",
        tokenizer_sha256="",
        pad_id=0,
        bos_id=1,
        eos_id=2,
        max_positions=1,
        logit_scale=1.0,
        dimensions=[],
        tensors=tensors,
        constants=[],
        functions=[ir.Function(name="move", inputs=["merged"], outputs=["split", "again"], operations=moves)],
        states=[],
    )
    given = np.arange(8, dtype=np.int32).reshape(2, 1, 4)
    outputs = Machine(Program(manifest, {})).run("move", {"merged": given})
    given[...] = 0
    for codes in outputs.values():
        assert codes.reshape(-1).tolist() == list(range(8))
    outputs["split"][...] = 0
    assert outputs["again"].any()


def test_two_machines_agree_whatever_ran_before(tiny: Program) -> None:
    """Shapes, orders and functions before do not matter."""
    fresh, used = Machine(tiny), Machine(tiny)
    used.run("decode_step", step_inputs(tiny, SOURCE[:1], past=0))
    used.run("encode", encode_inputs(SOURCE[::-1, :3]))
    left, right = run_both(fresh), run_both(used)
    assert left.keys() == right.keys()
    assert all(codes.tobytes() == right[name].tobytes() for name, codes in left.items())


def test_rows_of_a_batch_do_not_see_each_other(tiny: Program) -> None:
    whole = Machine(tiny).run("decode_step", step_inputs(tiny))
    for row in range(len(SOURCE)):
        inputs = {name: array[row : row + 1] if array.ndim else array for name, array in step_inputs(tiny).items()}
        alone = Machine(tiny).run("decode_step", inputs)
        assert all(np.array_equal(alone[name][0], codes[row]) for name, codes in whole.items())


SCRIPT = """
import hashlib, sys
import numpy as np
from hwsim import Machine, load
machine, digest = Machine(load(sys.argv[1])), hashlib.sha256()
inputs = dict(np.load(sys.argv[2]))
for name, codes in machine.run("decode_step", inputs, lambda name, codes: digest.update(codes.tobytes())).items():
    digest.update(codes.tobytes())
print(digest.hexdigest())
"""


def test_another_process_computes_the_same_bytes(tiny: Program, tmp_path: Path) -> None:
    tiny.save(tmp_path / "tiny.hwsim")
    inputs = step_inputs(tiny)
    np.savez(tmp_path / "inputs.npz", **inputs)
    digest = hashlib.sha256()
    for codes in Machine(tiny).run("decode_step", inputs, lambda name, codes: digest.update(codes.tobytes())).values():
        digest.update(codes.tobytes())
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "tiny.hwsim"), str(tmp_path / "inputs.npz")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert other.stdout.strip() == digest.hexdigest()


# --- looking up -------------------------------------------------------------------------------------------------------


def test_an_operation_is_found_by_what_it_makes(tiny: Program) -> None:
    for _, operation in tiny.operations():
        assert all(operation_of(tiny, name) is operation for name in written(operation))
    with pytest.raises(ValueError, match=r"no operation makes 'key'; perhaps .*self_attention\.key"):
        operation_of(tiny, "key")
    with pytest.raises(ValueError, match="no operation makes 'zebra'; perhaps see `hwsim show`"):
        operation_of(tiny, "zebra")
