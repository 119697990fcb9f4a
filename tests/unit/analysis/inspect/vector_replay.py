"""Reading vectors back as a test bench would: hex files, the manifest, and the oracle for every operation."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from tests import oracle


def read_hex(folder: Path, entry: dict[str, Any]) -> np.ndarray:
    """The tensor of a file: Python integers in its shape."""
    lines = (folder / entry["file"]).read_text().split("\n")
    assert lines.pop() == "" and len(lines) == math.prod(entry["shape"])
    assert all(len(line) == -(-entry["bits"] // 4) for line in lines)
    words = [int(line, 16) for line in lines]
    assert all(word < 2 ** entry["bits"] for word in words)
    top = 2 ** (entry["bits"] - 1) if entry["signed"] else 2 ** entry["bits"]
    codes = np.array([word - 2 * top if word >= top else word for word in words], dtype=object)
    return codes.reshape(entry["shape"])


class Bench:
    """One call of one operation, as its files tell it."""

    def __init__(self, folder: Path, operation: dict[str, Any], call: dict[str, Any]) -> None:
        self.fields, self.type = operation["fields"], operation["type"]
        parts = [part for part in (operation["constants"], call["vectors"]) if part is not None]
        self.info = {entry["tensor"]: entry for part in parts for entry in part["files"]}
        self.tensors = {name: read_hex(folder, entry) for name, entry in self.info.items()}
        self.outputs = [name for name, entry in self.info.items() if entry["role"] == "output"]

    def __getitem__(self, field: str) -> np.ndarray:
        return self.tensors[self.fields[field]]

    def zero(self, field: str) -> int:
        return self.info[self.fields[field]]["zero_point"]

    def limits(self, field: str) -> tuple[int, int]:
        entry = self.info[self.fields[field]]
        return oracle.limits(entry["bits"], entry["signed"], entry["narrow"])

    def rows(self, field: str) -> list[list[int]]:
        array = self[field]
        return array.reshape(-1, array.shape[-1]).tolist()

    def numbers(self, value: int | str) -> list[int]:
        return self.tensors[value].tolist() if isinstance(value, str) else [value]

    def ratio(self, part: str) -> tuple[int, int]:
        return self.numbers_of(f"{part}_requantization")

    def ratios(self, field: str) -> list[oracle.Ratio]:
        """A requantization by the oracle's names, one for all channels or one for each."""
        scheme = self.fields[field]
        multipliers, shifts = self.numbers(scheme["multiplier"]), self.numbers(scheme["shift"])
        count = max(len(multipliers), len(shifts))
        pairs = zip(multipliers * (count // len(multipliers)), shifts * (count // len(shifts)), strict=True)
        return [oracle.Ratio(scheme["type"], m, e) for m, e in pairs]

    def numbers_of(self, field: str) -> tuple[int, int]:
        """Multiplier and shift of a requantization that is one for all."""
        return self.fields[field]["multiplier"], self.fields[field]["shift"]

    def interpolated(self) -> list[list[int]]:
        """The two tables of the int16 softmax."""
        return [self[name].tolist() for name in ("exp_table", "reciprocal_table")]

    def allowed(self) -> list[list[bool]]:
        """Which keys of each row count."""
        mask = np.ones(self["input"].shape, bool)
        if self.fields["mask"] is not None:
            mask &= (self["mask"] != 0)[:, None, None, :]
        return mask.reshape(-1, mask.shape[-1]).tolist()

    def replay(self) -> dict[str, list[Any]]:
        """Field -> flat codes, from the oracle."""
        return {field: np.array(codes, dtype=object).reshape(-1).tolist() for field, codes in REPLAY[self.type](self)}


def embed(bench: Bench):
    multipliers = bench.numbers(bench.fields["multiplier"])
    numbers = bench.fields["position_multiplier"], bench.fields["shift"], bench.zero("output"), *bench.limits("output")
    tables = bench["table"].tolist(), multipliers, bench["positions"].tolist()
    yield "output", [oracle.embed(ids, int(bench["position"]), *tables, *numbers) for ids in bench["ids"].tolist()]


def matmul(bench: Bench):
    a, b = bench["a"], bench["b"]
    b = b.swapaxes(-1, -2) if bench.fields["transpose_b"] else b
    bias = None if bench.fields["bias"] is None else bench["bias"].tolist()
    accumulator = bench.fields["accumulator"]
    zeros, batch = (bench.zero("a"), bench.zero("b")), a.shape[:-2]
    rule = [accumulator[name] for name in ("bits", "overflow", "granularity", "tile")]
    made = [
        oracle.matmul_by(a[at].tolist(), (b if b.ndim == 2 else b[at]).tolist(), bias, zeros, *rule)
        for at in np.ndindex(batch)
    ]
    yield "output", [[[one.value for one in row] for row in rows] for rows in made]


def shift_right(bench: Bench):
    """(3) where the output is as wide as the input, else (R13)."""
    assert "bias" not in bench.fields
    shift, rounding, (lo, hi) = bench.fields["shift"], bench.fields["rounding"], bench.limits("output")
    if (lo, hi) == bench.limits("input"):
        rows = oracle.shift_right(bench.rows("input"), shift, rounding)
    else:
        rows = oracle.shift_right_saturating(bench.rows("input"), shift, rounding, lo, hi).codes
    yield "output", rows


def requantize(bench: Bench):
    to = bench.zero("output"), *bench.limits("output")
    yield "output", oracle.requantize_by(bench.rows("input"), bench.ratios("requantization"), *to)[0]


def softmax(bench: Bench):
    limits = [bench.limits(part)[1] for part in ("denominator", "output")]
    numbers = *bench.ratio("denominator"), limits[0], *bench.ratio("output"), limits[1]
    made = [
        oracle.softmax(row, kept, bench["table"].tolist(), *numbers)
        for row, kept in zip(bench.rows("input"), bench.allowed(), strict=True)
    ]
    for part in ("numerator", "denominator", "output"):
        yield part, [getattr(row, part) for row in made]


def short_softmax(bench: Bench):
    """The softmaxes that have no inner parts."""
    fields, bits = bench.fields, bench.info[bench.fields["output"]]["bits"]
    polynomial = oracle.Polynomial(*(fields.get(name, 0) for name in ("ln2", "b", "c")))
    calls = {
        "gemmlowp_softmax": lambda *row: oracle.gemmlowp_softmax(
            *row, fields["multiplier"], fields["left_shift"], bits
        ),
        "ibert_softmax": lambda *row: oracle.ibert_softmax(
            *row, polynomial, fields["multiplier"], fields["shift"], bits
        ),
        "itamax": lambda *row: oracle.itamax(*row, fields["shift"], fields["group"], bits),
        "gemmini_softmax": lambda *row: oracle.gemmini_softmax(*row, polynomial, bits),
        "pulp_softmax": lambda *row: oracle.pulp_softmax(*row, polynomial, bits),
        "int16_softmax": lambda *row: oracle.softmax_int16(
            *row, *bench.numbers_of("requantization"), *bench.interpolated(), fields["clamped"]
        ),
        "qlinear_softmax": lambda *row: oracle.qlinear_softmax(
            *row, bench["table"].tolist(), fields["multiplier"], bits
        ),
    }
    rows = zip(bench.rows("input"), bench.allowed(), strict=True)
    yield "output", [calls[bench.type](*row).output for row in rows]


def short_layernorm(bench: Bench):
    """The LayerNorms that have no inner parts; the input's mean is not 0."""
    fields, affine = bench.fields, (bench["gamma"].tolist(), bench["beta"].tolist())
    result = oracle.Result(bench.zero("output"), *bench.limits("output"))
    pairs = [(one.m, one.e) for one in bench.ratios("requantization")] if "requantization" in fields else []
    pairs = pairs * len(affine[0]) if len(pairs) == 1 else pairs

    def row_of(x: list[int]) -> list[int]:
        head = x, bench.zero("input"), True
        match bench.type:
            case "ibert_layernorm":
                return oracle.ibert_layernorm(*head, fields["variance_shift"], *affine, pairs, result).output
            case "pulp_layernorm":
                overflow = fields.get("overflow", "saturate")
                return oracle.pulp_layernorm(*head, *affine, fields["shift"], result, overflow).output
            case "gemmini_layernorm":
                return oracle.gemmini_layernorm(*head[:2], *affine, pairs[0], result).output
        return oracle.tflite_layernorm(*head, *affine, fields["variance_limit"], pairs[0], result).output

    yield "output", [row_of(x) for x in bench.rows("input")]


def rescaled_add(bench: Bench):
    (a,), (b,) = (bench.ratios(f"{name}_requantization") for name in "ab")
    to = bench.fields["output_requantization"]
    output = None if to is None else bench.ratios("output_requantization")[0]
    codes = bench["a"].reshape(-1).tolist(), bench["b"].reshape(-1).tolist()
    zeros, limits = (bench.zero("a"), bench.zero("b")), (bench.zero("output"), *bench.limits("output"))
    clip = bench.fields.get("operand")
    operand = clip and oracle.limits(clip["bits"], clip.get("signed", True), clip.get("narrow", False))
    yield "output", oracle.rescaled_add(*codes, zeros, (a, b), bench.fields["left_shift"], output, *limits, operand)[0]


def layernorm(bench: Bench):
    numerator = *bench.ratio("numerator"), *bench.limits("numerator")
    denominator = *bench.ratio("denominator"), bench.limits("denominator")[1]
    quotient = *bench.ratio("quotient"), *bench.limits("quotient")
    affine = bench["gamma"].tolist(), bench["beta"].tolist()
    output = *bench.ratio("output"), bench.zero("output"), *bench.limits("output")
    numbers = bench.fields["eps"], *numerator, *denominator, *quotient, *affine, *output
    made = [oracle.layernorm(row, *numbers) for row in bench.rows("input")]
    for part in ("numerator", "denominator", "quotient", "output"):
        yield part, [getattr(row, part) for row in made]


def add(bench: Bench):
    a, b = bench["a"].reshape(-1).tolist(), bench["b"].reshape(-1).tolist()
    numbers = [bench.fields[name] for name in ("a_multiplier", "b_multiplier", "shift")]
    to = bench.zero("output"), *bench.limits("output")
    yield "output", oracle.add(a, b, bench.zero("a"), bench.zero("b"), *numbers, *to)


def split_heads(bench: Bench):
    batch, length, _ = bench["input"].shape
    heads = bench["output"].shape[1]
    yield "output", bench["input"].reshape(batch, length, heads, -1).transpose(0, 2, 1, 3).tolist()


def merge_heads(bench: Bench):
    yield "output", bench["input"].transpose(0, 2, 1, 3).tolist()


def project_heads(bench: Bench):
    bias = None if bench.fields["bias"] is None else bench["bias"].tolist()
    accumulator, ratios = bench.fields["accumulator"], bench.ratios("requantization")
    rule = tuple(accumulator[name] for name in ("bits", "overflow", "granularity", "tile"))
    ratios = ratios * (bench["input"].shape[1] // len(ratios))
    rest = (bench["weight"].tolist(), bias, ratios, *bench.limits("heads"), bench.zero("input"))
    made = [oracle.project_heads(one.tolist(), *rest, rule) for one in bench["input"]]
    yield "heads", [one.codes for one in made]
    yield "output", [one.total for one in made]


REPLAY = {
    "embed": embed,
    "matmul": matmul,
    "shift_right": shift_right,
    "relu": lambda bench: [("output", oracle.relu(bench.rows("input")))],
    "requantize": requantize,
    "split_heads": split_heads,
    "merge_heads": merge_heads,
    "project_heads": project_heads,
    "append": lambda bench: [("output", np.concatenate((bench["past"], bench["input"]), axis=2).tolist())],
    "softmax": softmax,
    "layernorm": layernorm,
    "add": add,
    "rescaled_add": rescaled_add,
    **dict.fromkeys(("gemmlowp_softmax", "ibert_softmax", "itamax", "gemmini_softmax"), short_softmax),
    **dict.fromkeys(("pulp_softmax", "int16_softmax", "qlinear_softmax"), short_softmax),
    **dict.fromkeys(("ibert_layernorm", "pulp_layernorm", "tflite_layernorm", "gemmini_layernorm"), short_layernorm),
}
