"""Dumps in every layout, and what is wrong with a dump said in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.inspect.vectors import readmemh, write_vectors
from analysis.proof.explain import explain, parse_call, read_dump
from analysis.proof.explain.dump import Call, read_hex
from hwsim.formats import IntFormat, Rounding
from hwsim.machine import Machine
from hwsim.program import Program
from reference.quantize.scheme import Scheme
from tests.small.programs import tiny_program, with_operation
from tests.unit.analysis.proof.test_explain import ROWS, SCORES, codes_of, only_origin

SHIFTED, QUERY = f"{SCORES}.shifted", "encoder.0.self_attention.query"
DECODED = "decoder.0.feed_forward.hidden"
INT8 = IntFormat(bits=8)


@pytest.fixture(scope="module")
def program() -> Program:
    return tiny_program(Scheme(name="ties", power_of_two=True, multiplier_bits=1))


@pytest.fixture(scope="module")
def wrong(program: Program) -> Program:
    return with_operation(program, SHIFTED, rounding=Rounding.HALF_AWAY)


@pytest.fixture(scope="module")
def codes(program: Program) -> dict[str, np.ndarray]:
    return codes_of(program)


def fails(path: Path, program: Program, message: str, **options: object) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_dump(path, program, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_a_folder_of_calls(program: Program, wrong: Program, tmp_path: Path) -> None:
    for call in ("encode", "decode_step.0"):
        found = {key.split("/")[1]: array for key, array in codes_of(wrong).items() if key.startswith(call)}
        np.savez(tmp_path / f"{call}.npz", **found)
    found = explain(program, read_dump(tmp_path, program), ROWS)
    assert only_origin(found, SHIFTED).causes[0].kind == "ties" and found.calls == 2


def test_bare_names_and_the_call_option(program: Program, codes: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    np.savez(path, **{QUERY: codes[f"encode/{QUERY}"], DECODED: codes[f"decode_step.0/{DECODED}"]})
    found = explain(program, read_dump(path, program), ROWS)
    assert found.equal and {site.site for site in found.sites} == {QUERY, DECODED}
    np.savez(path, **{DECODED: codes[f"decode_step.0/{DECODED}"]})
    assert read_dump(path, program, call="3").calls == [Call("decode_step", 3)]
    fails(path, program, "is made by decode_step, not by encode", call="encode")


@pytest.mark.parametrize("text", ["3", "decode_step.3", "step 3", "decode step 3"])
def test_names_of_calls(text: str) -> None:
    assert parse_call(text) == Call("decode_step", 3) and parse_call("encode") == Call("encode", 0)
    assert str(parse_call(text)) == "decode step 3"
    with pytest.raises(ValueError, match="call 'decode'; allowed are encode"):
        parse_call("decode")


def test_one_hex_file(program: Program, wrong: Program, tmp_path: Path) -> None:
    array = codes_of(wrong)[f"encode/{SHIFTED}"]
    path = tmp_path / "shifted.hex"
    path.write_bytes(readmemh(array, program.tensors[SHIFTED].format))
    found = explain(program, read_dump(path, program, site=SHIFTED, shape=array.shape, call="encode"), ROWS)
    assert only_origin(found, SHIFTED).causes[0].text.startswith("ties: B rounds half_away, A half_even")


def test_hex_text_may_have_comments_and_words_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "codes.hex"
    path.write_text("// codes\n7f 80\n\nf_f // minus one\n01\n")
    assert read_hex(path, INT8, (2, 2)).tolist() == [[127, -128], [-1, 1]]
    assert read_hex(path, IntFormat(bits=8, signed=False), (4,)).tolist() == [127, 128, 255, 1]


@pytest.mark.parametrize("how", ["npz", "hex", "both", "hex only"])
def test_vectors_whose_outputs_were_replaced(program: Program, wrong: Program, how: str, tmp_path: Path) -> None:
    """A bench that feeds each operation alone, with what `hwsim vectors` wrote: the operation's output is its own."""
    folder = tmp_path / "vectors"
    write_vectors(Machine(program), ROWS, "encoder.0.self_attention.*", folder, steps=0)
    array = codes_of(wrong)[f"encode/{SHIFTED}"]
    npz, text = folder / SHIFTED / "encode" / "arrays.npz", folder / SHIFTED / "encode" / f"{SHIFTED}.hex"
    if how in ("npz", "both"):
        np.savez(npz, **{**np.load(npz), SHIFTED: array})
    if how in ("hex", "both", "hex only"):
        text.write_bytes(readmemh(array, program.tensors[SHIFTED].format))
    if how == "hex only":
        npz.unlink()
    found = explain(program, read_dump(folder, program))
    assert only_origin(found, SHIFTED).causes[0].kind == "ties"
    assert found.different == found.origins[0].different  # what reads it was fed A's codes


def test_vectors_of_another_program(program: Program, wrong: Program, tmp_path: Path) -> None:
    """Inputs of what follows are the other program's own."""
    write_vectors(Machine(wrong), ROWS, "encoder.0.self_attention.*", tmp_path / "vectors", steps=1)
    found = explain(program, read_dump(tmp_path / "vectors", program))
    assert only_origin(found, SHIFTED).causes[0].kind == "ties"
    assert any(site.status == "follows" for site in found.sites)


def test_vectors_say_what_was_translated(program: Program, tmp_path: Path) -> None:
    write_vectors(Machine(program), ROWS[:2], QUERY, tmp_path / "vectors", steps=0)
    dump = read_dump(tmp_path / "vectors", program)
    assert dump.sources == ROWS[:2] and explain(program, dump).sentences == 2
    with pytest.raises(ValueError, match="leave yours out"):
        explain(program, dump, ROWS)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_what_is_missing_or_empty(program: Program, tmp_path: Path) -> None:
    fails(tmp_path / "nowhere", program, "nowhere does not exist")
    fails(tmp_path, program, r"is empty: it has neither manifest\.json nor npz files")
    np.savez(tmp_path / "none.npz")
    fails(tmp_path / "none.npz", program, "is empty: it has codes of no site")
    fails(tmp_path, program, "is empty: it has codes of no site")
    (tmp_path / "broken.npz").write_bytes(b"PK no")
    fails(tmp_path / "broken.npz", program, "is no npz file")
    np.savez(tmp_path / "objects.npz", **{QUERY: np.array([None])})
    fails(tmp_path / "objects.npz", program, rf"objects\.npz, array '{QUERY}': has dtype object; integers are needed")


def test_unknown_sites_list_the_nearest(program: Program, codes: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "codes.npz", **{"encoder.0.self_attention.quary": codes[f"encode/{QUERY}"]})
    fails(tmp_path / "codes.npz", program, rf"unknown site 'encoder.0.self_attention.quary'; nearest are {QUERY}")
    (tmp_path / "codes.hex").write_text("00\n")
    fails(tmp_path / "codes.hex", program, "unknown site 'query'; nearest are ", site="query", shape=(1,))


def test_shapes(program: Program, codes: dict[str, np.ndarray], tmp_path: Path) -> None:
    path, array = tmp_path / "codes.npz", codes[f"encode/{QUERY}"]
    np.savez(path, **{QUERY: array[..., :3]})
    fails(path, program, r"has shape \(4, 9, 3\); its dimensions are \['batch', .*, 8\]")
    np.savez(path, **{QUERY: array[:, :4]})
    with pytest.raises(ValueError, match=r"query, encode has shape \(4, 4, 8\); the program makes \(4, 9, 8\)"):
        explain(program, read_dump(path, program), ROWS)


def test_codes(program: Program, codes: dict[str, np.ndarray], tmp_path: Path) -> None:
    path, array = tmp_path / "codes.npz", codes[f"encode/{QUERY}"].astype(np.int64)
    array[1, 2, 3] = 128
    np.savez(path, **{QUERY: array})
    fails(path, program, r"index \(1, 2, 3\) holds 128, outside int8 \(-128 to 127\)")
    np.savez(path, **{QUERY: array.astype(float)})
    fails(path, program, "has dtype float64; integers are needed")


def test_options_of_other_layouts_are_refused(program: Program, codes: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "codes.npz", **{QUERY: codes[f"encode/{QUERY}"]})
    fails(tmp_path / "codes.npz", program, "names its sites and shapes", site=QUERY)
    fails(tmp_path, program, "names its sites and shapes", shape=(4, 9, 8))
    fails(tmp_path, program, "names its calls", call="encode")


def test_hex_lines(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "codes.hex"
    options = {"site": QUERY, "shape": (1, 1, 8)}
    for line, message in (
        ("xx", r"codes\.hex, line 3: 'xx' is not a word of hex digits"),
        ("@10", r"line 3: '@10' is not a word"),
        ("1ff", r"line 3: '1ff' is wider than the 8 bits of int8"),
        ("", r"codes\.hex holds 7 words; shape \(1, 1, 8\) needs 8"),
    ):
        path.write_text(f"00 01 02 03\n04 05\n{line}\n06\n")
        fails(path, program, message, **options)
    fails(path, program, r"its site and shape are needed \(--site NAME --shape 2,4,8\)")
    path.write_bytes(b"\xff\n")
    fails(path, program, "is no hex text", **options)


def test_calls_that_are_not_run(program: Program, codes: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    np.savez(path, **{DECODED: codes[f"decode_step.0/{DECODED}"]})
    dump = read_dump(path, program, call="30")
    with pytest.raises(ValueError, match=r"has decode step 30, but only \d+ decode steps are run"):
        explain(program, dump, ROWS)


def test_manifests(program: Program, codes: dict[str, np.ndarray], tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    write_vectors(Machine(program), ROWS, QUERY, folder, steps=0)
    npz, text = folder / QUERY / "encode" / "arrays.npz", folder / QUERY / "encode" / f"{QUERY}.hex"
    array = codes[f"encode/{QUERY}"]
    np.savez(npz, **{**np.load(npz), QUERY: array // 2})
    text.write_bytes(readmemh(array // 4, INT8))
    fails(folder, program, "were both replaced and differ")
    np.savez(npz, **{"encoder.0.self_attention.quarry": array})
    fails(folder, program, f"unknown site 'encoder.0.self_attention.quarry'; nearest are {QUERY}")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["operations"][0]["calls"][0]["vectors"]["npz"] = "../../outside.npz"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    fails(folder, program, "which is outside its folder")
    (folder / "manifest.json").write_text("{}")
    fails(folder, program, "is no manifest of hwsim vectors")
    shutil.rmtree(folder)
