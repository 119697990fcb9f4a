"""What `hwsim show`, `verify` and `verify --kernels` print: every line and cell, of records that were made by hand."""

import io
import math
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from rich.console import Console

from analysis.accuracy.accumulators import FirstOverflow, Overflowing, Width, overflow_table, width_table
from analysis.accuracy.bleu import Bleu
from analysis.accuracy.kernel_errors import KernelRow
from analysis.inspect.show import Constant, Description, Site, Stage, Step, render
from analysis.output.fitting import Fitting, Row
from analysis.proof import verification
from analysis.proof.equality import Divergence, Equality
from analysis.proof.verification import Score, Verification
from analysis.report import verify_record
from analysis.report.kernel_table import table
from hwsim.formats import Accumulator, Granularity, Overflow
from reference.quantize.scheme import preset
from tests.unit.analysis.estimates.estimates_by_hand import cells, heads
from tests.unit.analysis.report.reports_by_hand import CONTEXT


def printed(shown: Any, width: int = 150) -> list[str]:
    """Lines without what is only space."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(shown)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [line.rstrip() for line in lines if line.strip()]


def rows_of(fitting: Fitting) -> list[tuple[str, ...]]:
    return [(row.name, *row.cells) for row in fitting.rows]


# --- show -------------------------------------------------------------------------------------------------------------

STEP = {
    "function": "encode", "output": "a.accumulator", "type": "matmul", "reach": (-300, 250), "bits_needed": 10,
    "bits": 16, "overflow": "proven", "granularity": "mac", "stages": [],
}  # fmt: skip


def described(*steps: Step) -> Description:
    return Description(
        name="mine", scheme="w4a8", target="ita", borrowed={"layernorm": "pulp"}, extended=["4-bit weights"],
        file_version=7, arithmetic="hwsim-1", functions={"encode": 34, "decode_step": 46}, weight_bytes=1_234_567,
        tokenizer_sha256="0123456789abcdef", max_positions=12, dimensions={"batch": 4, "source": 12},
        sites=[
            Site(name="ids", format="int32", zero_point=0, scale=None, dims=["batch", "source"]),
            Site(name="x", format="uint8", zero_point=128, scale=0.0123456789, dims=["batch", 8]),
            Site(name="y", format="int8", zero_point=0, scale=2.0, dims=[]),
        ],
        operations=list(steps),
        constants=[Constant(name="w", role="weight", format="int4", shape=[300, 200], bytes=30_000)],
    )  # fmt: skip


def test_the_header_of_a_program() -> None:
    lines = [tuple(line.split("  ", 1)) for line in printed(render(described())[0])]
    assert [(name, value.strip()) for name, value in lines] == [
        ("program", "mine"),
        ("scheme", "w4a8"),
        ("target", "ita: layernorm borrowed from pulp; extended: 4-bit weights"),
        ("file version", "7"),
        ("arithmetic", "hwsim-1"),
        ("functions", "encode (34 operations), decode_step (46 operations)"),
        ("weights", "1,234,567 bytes"),
        ("dimensions", "batch <= 4, source <= 12"),
        ("tokenizer", "0123456789ab"),
    ]


def test_a_program_without_a_tokenizer_says_none() -> None:
    bare = msgspec.structs.replace(described(), tokenizer_sha256="")
    assert printed(render(bare)[0])[-1].split() == ["tokenizer", "none"]


def test_sites_and_constants_of_a_program() -> None:
    _, sites, constants = render(described())
    assert (sites.title, sites.left, sites.right) == ("Sites (3)", ("site", "format"), ("zero", "scale", "shape"))  # type: ignore[union-attr]
    assert rows_of(sites) == [  # type: ignore[arg-type]
        ("ids", "int32", "", "", "batch x source"),
        ("x", "uint8", "128", "0.0123457", "batch x 8"),
        ("y", "int8", "0", "2", "scalar"),
    ]
    assert constants.title == "Constants (1)"  # type: ignore[union-attr]
    assert constants.left + constants.right == ("constant", "role", "format", "shape", "bytes")  # type: ignore[union-attr]
    assert rows_of(constants) == [("w", "weight", "int4", "300 x 200", "30,000")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({}, ("a.accumulator", "matmul", "-300 .. 250", "10/16", "", "")),
        ({"overflow": "wrap"}, ("a.accumulator", "matmul", "-300 .. 250", "10/16 wrap", "", "")),
        (
            {"overflow": "saturate", "granularity": "tile"},
            ("a.accumulator", "matmul", "-300 .. 250", "10/16 saturate tile", "", ""),
        ),
        ({"reach": None, "type": "relu"}, ("a.accumulator", "relu", "", "", "", "")),
        (
            {"reach": None, "type": "requantize", "stages": [Stage(name="", multiplier=(3, 9), shift=(4, 4))]},
            ("a.accumulator", "requantize", "", "", "3 .. 9", "4"),
        ),
        (
            {"reach": None, "type": "shift_right", "stages": [Stage(name="", multiplier=None, shift=(2, 2))]},
            ("a.accumulator", "shift_right", "", "", "", "2"),
        ),
        (
            {
                "reach": None,
                "type": "softmax",
                "stages": [
                    Stage(name="denominator", multiplier=(5, 5), shift=(6, 7)),
                    Stage(name="output", multiplier=(8, 9), shift=(1, 1)),
                ],
            },
            ("a.accumulator", "softmax\n  denominator\n  output", "", "", "\n5\n8 .. 9", "\n6 .. 7\n1"),
        ),
    ],
)
def test_operations_of_a_program(changes: dict[str, Any], row: tuple[str, ...]) -> None:
    steps = [Step(**(STEP | changes)), Step(**(STEP | {"function": "decode_step", "output": "b"}))]
    operations = render(described(*steps))[2]
    assert operations.title == "Operations (2)"  # type: ignore[union-attr]
    assert operations.left + operations.right == (  # type: ignore[union-attr]
        "output", "operation", "reach", "bits", "multiplier", "shift"
    )  # fmt: skip
    last = ("b", "matmul", "-300 .. 250", "10/16", "", "")
    assert rows_of(operations) == [("encode",), row, ("decode_step",), last]  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "grouped"), [(60, False), (30, True)])
def test_names_are_grouped_where_they_do_not_fit(width: int, grouped: bool) -> None:
    names = ["encoder.0.self_attention.key", "encoder.0.self_attention.scores.shifted", "logits"]
    fitting = Fitting("T", ("site",), ("n",), [Row("encode"), *(Row(name, (str(i),)) for i, name in enumerate(names))])
    body = printed(fitting, width)[3:]
    if grouped:
        assert [line.split() for line in body] == [
            ["encode"], ["encoder.0.self_attention"], ["key", "0"], ["scores.shifted", "1"], ["logits", "2"]
        ]  # fmt: skip
    else:
        assert [line.split() for line in body] == [["encode"], *([name, str(i)] for i, name in enumerate(names))]


# --- widths and overflows ---------------------------------------------------------------------------------------------


def width(operation: str, **changes: Any) -> Width:
    fields = {"function": "encode", "terms": 64, "proven": (-5, 9), "proven_bits": 20, "a2q_bits": 18}
    return Width(operation=f"{operation}.accumulator", **(fields | {"a2q_unknown": None} | changes))


def test_safe_widths() -> None:
    zero = {"a2q_bits": None, "a2q_unknown": "the input has a zero point (128)"}
    both = {"a2q_bits": None, "a2q_unknown": "both factors are activations"}
    seen = {"observed": (-300, 4000), "observed_bits": 13}
    lines = printed(width_table([width("a", **seen), width("b", **zero), width("c", function="decode_step", **both)]))
    assert lines[0] == "Minimum safe accumulators, bits (3)"
    assert lines[1].split() == ["product", "terms", "proof", "A2Q", "observed", "running", "sums"]
    assert [line.split() for line in lines[3:8]] == [
        ["encode"], ["a", "64", "20", "18", "13", "-300", "..", "4000"], ["b", "64", "20", "-", "-"],
        ["decode_step"], ["c", "64", "20", "-", "-"],
    ]  # fmt: skip
    assert lines[8:] == [
        "proof: every input, bias included; A2Q: every input, by the L1 norm of the weights, without bias.",
        "A2Q says nothing (-) where both factors are activations or the input has a zero point.",
        "observed: enough for this text.",
    ]
    assert printed(width_table([width("a")]))[-2:] == [
        "proof: every input, bias included; A2Q: every input, by the L1 norm of the weights, without bias.",
        "observed: give --text or --sentences.",
    ]


@pytest.mark.parametrize(
    ("batch", "k", "shown"),
    [
        ([0], 7, "sentence 3, encode, row 1, column 2, k 7"),
        ([0, 4], 7, "sentence 3, encode, head 4, row 1, column 2, k 7"),
        ([0], 0, "sentence 3, encode, row 1, column 2, k 0"),
        ([0], -1, "sentence 3, encode, row 1, column 2, bias"),
    ],
)
def test_where_a_product_overflows(batch: list[int], k: int, shown: str) -> None:
    assert str(FirstOverflow(sentence=3, call="encode", batch=batch, row=1, column=2, k=k)) == shown


@pytest.mark.parametrize(("count", "shown"), [(2, "2 of 2"), (5, "5 of 5"), (7, "5 of 7")])
def test_the_worst_overflows(count: int, shown: str) -> None:
    first = FirstOverflow(sentence=1, call="decode step 2", batch=[0], row=0, column=3, k=4)
    found = [
        Overflowing(operation=f"o{i}.accumulator", function="encode", events=9000 - i, first=None if i else first)
        for i in range(count)
    ]
    fitting: Any = overflow_table(found)
    assert fitting.title == f"Overflow events by operation: the worst {shown}"
    assert fitting.left + fitting.right == ("product", "first event", "events")
    rows = rows_of(fitting)
    assert rows[0] == ("o0", "sentence 1, decode step 2, row 0, column 3, k 4", "9,000")
    assert rows[1] == ("o1", "", "8,999")
    assert len(rows) == min(count, 5)


# --- verify -----------------------------------------------------------------------------------------------------------


def bleu(score: float, low: float, high: float) -> Bleu:
    return Bleu(score=score, low=low, high=high, signature="nrefs:1")


FIRST = Divergence(
    site="logits", call="decode step 1", sentence=4, index=(0, 2), machine=5, reference=6, accumulator=None,
    before_rounding=None,
)  # fmt: skip
OVERFLOWING = [Overflowing(operation="a.accumulator", function="encode", events=3, first=None)]
WRAP = Accumulator(bits=18, overflow=Overflow.WRAP, granularity=Granularity.TILE, tile=24)


def verified(**changes: Any) -> Verification:
    program = SimpleNamespace(manifest=SimpleNamespace(name="p"))
    configuration: Any = SimpleNamespace(
        scheme=preset("int8"), plan=SimpleNamespace(sites={}), program=program
    )  # fmt: skip
    equality = Equality(codes_compared=12_345, codes_different=6, tokens_different=7, overflows=8, first=None)
    fields = {"configuration": configuration, "sentences": 3, "accumulator": None, "equality": equality, "score": None}
    return Verification(**(fields | {"widths": [], "overflowing": []} | changes))


def test_lines_of_verify() -> None:
    counted = "p.hwsim: 3 sentences, 12,345 codes compared, 6 different, 7 tokens different, 8 overflows"
    native = "target fullyqt: every operator native"
    assert verification.lines("p.hwsim", verified()) == [counted, native]
    diverged = Equality(codes_compared=12_345, codes_different=6, tokens_different=7, overflows=8, first=FIRST)
    score = Score(ours=bleu(28.14, 26.06, 30.25), own=None, difference=None)
    assert verification.lines("p.hwsim", verified(equality=diverged, score=score)) == [
        counted,
        native,
        "BLEU 28.1 [26.1, 30.2]",
        "first divergence: sentence 4, decode step 1, site logits, index (0, 2): machine 5, fake-quant 6",
    ]
    two = Score(ours=bleu(20.0, 18.0, 22.0), own=bleu(28.14, 26.06, 30.25), difference=(-9.26, 0.04))
    assert verification.lines("p.hwsim", verified(accumulator=WRAP, score=two))[2:] == [
        "accumulators of 18 bits, wrap after every 24 products, in place of the program's own",
        "BLEU 20.0 [18.0, 22.0]; with its own accumulators 28.1, difference [-9.3, +0.0]",
    ]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"widths": [width("a")]}, 0),  # written, not shown
        ({"widths": [width("a")], "accumulator": WRAP}, 1),
        ({"overflowing": OVERFLOWING}, 1),
        ({"widths": [width("a")], "overflowing": OVERFLOWING, "accumulator": WRAP}, 2),
    ],
)
def test_tables_of_verify(changes: dict[str, Any], count: int) -> None:
    found = verification.tables(verified(**changes))
    titles = ["Overflow events by"] if "overflowing" in changes else []
    titles += ["Minimum safe accum"] if "accumulator" in changes else []
    assert [printed(shown)[0][:18] for shown in found] == titles
    assert len(found) == count


def test_the_record_of_verify() -> None:
    two = Score(ours=bleu(20.0, 18.0, 22.0), own=bleu(28.0, 26.0, 30.0), difference=(-9.0, math.nan))
    record = verify_record.record(verified(accumulator=WRAP, score=two, overflowing=OVERFLOWING), CONTEXT)
    assert record["bleu"] == {
        "score": 20.0, "interval_95_percent": [18.0, 22.0], "with_own_accumulators": 28.0,
        "difference_95_percent": [-9.0, None], "signature": "nrefs:1",
    }  # fmt: skip
    assert (record["program"], record["target"], record["sentences"]) == ("p", "fullyqt", 3)
    assert (record["codes_compared"], record["codes_different"], record["tokens_different"]) == (12_345, 6, 7)
    assert record["accumulator"]["bits"] == 18
    assert record["overflowing"] == [{"operation": "a.accumulator", "function": "encode", "events": 3, "first": None}]
    assert record["context"]["command"] == "hwsim run"
    alone = Score(ours=bleu(20.0, 18.0, 22.0), own=None, difference=None)
    scored = verify_record.record(verified(score=alone), CONTEXT)["bleu"]
    assert (scored["with_own_accumulators"], scored["difference_95_percent"]) == (None, None)
    assert verify_record.record(verified(), CONTEXT)["bleu"] is None


# --- kernels ----------------------------------------------------------------------------------------------------------


def kernel(name: str, **changes: Any) -> KernelRow:
    fields = {
        "kernel": name, "bits": 8, "inputs": 65_536, "unit": "pairs", "exhausted": True, "codes_compared": 1_234_567,
        "codes_different": 0, "max_error_lsb": 0.49951, "mean_error_lsb": 0.25049, "sqnr_db": 49.94,
        "error_lsb": (0.0,), "error_counts": (1,), "codes": "int8", "clamped": 0,
    }  # fmt: skip
    return KernelRow(**(fields | changes))


def test_the_kernel_table() -> None:
    shown = table([kernel("add"), kernel("relu", inputs=9, unit="codes", exhausted=False, bits=4, codes_different=2,
                                         sqnr_db=math.inf)])  # fmt: skip
    assert shown.title == "Kernels against strict fake-quant (codes) and real mathematics (error)"
    assert heads(shown) == ["kernel", "bits", "inputs", "codes", "different", "max LSB", "mean LSB", "SQNR dB"]
    assert cells(shown) == [
        ["add", "8", "65,536 pairs (all)", "1,234,567", "0", "0.500", "0.250", "49.9"],
        ["relu", "4", "9 codes (sampled)", "1,234,567", "2", "0.500", "0.250", "exact"],
    ]
