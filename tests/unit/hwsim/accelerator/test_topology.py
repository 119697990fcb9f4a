"""SCALE-Sim's tables of convolutions as products, the column `Sparsity`, and one line for every fault."""

from pathlib import Path

import pytest

from hwsim.accelerator.layers import Product
from hwsim.accelerator.options import Sparsity
from hwsim.accelerator.workloads.gemm_csv import read_gemm_csv
from tests.unit.hwsim.accelerator.machine import golden
from tests.unit.hwsim.accelerator.test_gemm_csv import sizes, written

SCALESIM = golden("scalesim_convolutions.csv")
HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
FIELDS = ("ifmap_height", "ifmap_width", "filter_height", "filter_width", "channels", "num_filter", "strides")


def table(sparsity: bool) -> str:
    """The lines of which SCALE-Sim made the operands of the golden table; the depthwise one is one line."""
    lines = [HEADER + " Sparsity," * sparsity]
    for row in SCALESIM:
        name, _, channel = row["layer"].partition("Channel_")
        if channel in ("", "0"):
            lines.append(", ".join([name, *(row[field] for field in FIELDS), *([row["sparsity"]] * sparsity)]) + ",")
    return "\n".join(lines) + "\n"


def products(path: Path) -> dict[str, Product]:
    return {x.name: x.product for x in read_gemm_csv(path).phases[0].layers if x.product}


def test_a_convolution_is_the_product_that_scale_sim_makes_of_it(tmp_path: Path) -> None:
    """Rows and columns of all three operands; of three layers the last window is rounded up."""
    assert len(SCALESIM) == 9
    expected = [
        (row["layer"], int(row["ifmap_rows"]), int(row["filter_columns"]), int(row["filter_rows"])) for row in SCALESIM
    ]
    assert sizes(written(tmp_path, table(sparsity=False))) == expected
    for row in SCALESIM:  # an (M, K) by a (K, N) is an (M, N)
        assert row["ifmap_columns"] == row["filter_rows"]
        assert (row["ofmap_rows"], row["ofmap_columns"]) == (row["ifmap_rows"], row["filter_columns"])


def test_sparsity_keeps_as_many_as_scale_sim_keeps(tmp_path: Path) -> None:
    found = products(written(tmp_path, table(sparsity=True)))
    for row in SCALESIM:
        product = found[row["layer"]]
        kept = product.k if product.sparsity is None else product.sparsity.keeps(product.k)
        assert f"{kept}" == row["sparse_filter_rows"] == row["sparse_ifmap_columns"]
    assert found["exact"].sparsity is None and found["whole"].sparsity == Sparsity(3, 8)


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        (HEADER, "a,5,9,3,2,4,6,2", (2 * 5, 6, 24)),  # (9 - 2) / 2 + 1 = 4.5
        (HEADER.replace("Strides", "Stride Height, Stride Width"), "a,5,9,3,2,4,6,1,7", (3 * 2, 6, 24)),
        (HEADER.replace("Strides", "Stride Width, Strides Height"), "a,5,9,3,2,4,6,7,1", (3 * 2, 6, 24)),
        (HEADER + "Stride Height,Stride Width", "a,5,9,3,2,4,6,2,1,7", (3 * 2, 6, 24)),
        (HEADER + "Stride Height,Stride Width", "a,5,9,3,2,4,6,2,,", (2 * 5, 6, 24)),
        (HEADER + "Batch Size,Sparsity", "a,5,9,3,2,4,6,2,3,", (3 * 2 * 5, 6, 24)),
        (HEADER + "Batch Size,Sparsity", "a,5,9,3,2,4,6,2", (2 * 5, 6, 24)),
        (HEADER.replace("Layer name, IFMAP Height", "Layer,IFMAP Width"), "a,5,9,3,2,4,6,2", (10, 6, 24)),
        (HEADER.lower().replace("num filter", "num filters").replace("channels", "channel"), "a,5,9,3,2,4,6,2,,",
         (10, 6, 24)),
        (HEADER, "a, 7, 7, 7, 7, 3, 6, 9,", (1, 6, 147)),  # one window: the stride is never taken
        (HEADER, "aDP,5,9,3,2,1,6,2", (2 * 5, 6, 6)),
    ],
)  # fmt: skip
def test_columns_of_a_convolution(tmp_path: Path, header: str, line: str, expected: tuple[int, int, int]) -> None:
    ((_, *found),) = sizes(written(tmp_path, f"{header}\n{line}\n"))
    assert tuple(found) == expected


@pytest.mark.parametrize(
    ("cell", "sparsity"),
    [("2:4", Sparsity(2, 4)), (" 1 : 8 ", Sparsity(1, 8)), ("4:4", None), ("1:1", None), ("", None)],
)
def test_sparsity_of_a_product(tmp_path: Path, cell: str, sparsity: Sparsity | None) -> None:
    path = written(tmp_path, f"L,M,N,K,Sparsity,\na,1,2,3,{cell},\nb,1,2,3\n")
    found = products(path)
    assert (found["a"].sparsity, found["b"].sparsity) == (sparsity, None)


def refusal(path: Path, sparsity: Sparsity | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        read_gemm_csv(path, sparsity=sparsity)
    text = str(caught.value)
    assert text.isprintable() and len(text) < 500 and "table.csv" in text
    return text.partition("table.csv: ")[2]


NEEDED = "the header is Layer,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter"
WINDOW = "a,5,9,3,2,4,6,2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\n{WINDOW}\nb,5,9,6,2,4,6,2,\n",
         "line 3, column 4: layer b: Filter Height is 6; its IFMAP Height is 5"),
        (f"{HEADER}\nb,5,9,5,10,4,6,2\n", "line 2, column 5: layer b: Filter Width is 10; its IFMAP Width is 9"),
        (f"{HEADER}\nb,5,9,3,2,4,6,5\n",
         "line 2, column 8: layer b: Strides is 5; its IFMAP Height of 5 has no second window"),
        (f"{HEADER}Stride Width,Stride Height\nb,5,9,3,2,4,6,1,9,1\n",
         "line 2, column 9: layer b: Stride Width is 9; its IFMAP Width of 9 has no second window"),
        (f"{HEADER}\nb,5,9,3,2,4,6,0\n", "line 2, column 8: Strides is 0; allowed are 1 to 16777216"),
        (f"{HEADER}\nb,5,9,3,2,4,6\n", "line 2, column 8: Strides is missing"),
        (f"{HEADER}\nb,5,9,3,2,-4,6,1\n", "line 2, column 6: Channels is -4; allowed are 1 to 16777216"),
        (f"{HEADER}\nb,5,9,3,2,4,1e9,1\n", "line 2, column 7: Num Filter is '1e9'; it must be a whole number"),
        (f"{HEADER}\nb,5,,3,2,4,6,1\n", "line 2, column 3: IFMAP Width is missing"),
        (f"{HEADER}\n,5,9,3,2,4,6,1\n", "line 2, column 1: Layer is missing"),
        (f"{HEADER}\nb,5,9,3,2,4,6,1,8\n", "line 2, column 9: '8' is one cell too many; a line has 8"),
        (f"{HEADER}\nb,65536,257,1,1,4,6,1\n",
         "line 2, column 1: layer b: as a product it has M = 16842752; allowed are 1 to 16777216"),
        (f"{HEADER}\nb,65536,257,65536,257,1,6,1\n",
         "line 2, column 1: layer b: as a product it has K = 16842752; allowed are 1 to 16777216"),
        (f"{HEADER}\nbDP,5,9,3,2,65537,6,1\n",
         "line 2, column 6: layer bDP: 65537 channels, a layer each; allowed are 65536 layers"),
        (f"{HEADER}\nbDP,5,9,3,2,65536,6,1\nb,5,9,3,2,4,6,1\n",
         "line 3, column 1: layer b is one too many; allowed are 65536"),
        (f"{HEADER}Batch Size\nb,5,9,3,2,4,6,1,0\n", "line 2, column 9: Batch Size is 0; allowed are 1 to 16777216"),
        (HEADER.replace("Strides,", ""), "line 1, column 8: Strides is missing"),
        (HEADER.replace("Strides", "Stride Height"), "line 1, column 9: Stride Width is missing"),
        (HEADER.replace("Channels, ", ""), f"line 1, column 6: 'Num Filter' instead of Channels; {NEEDED}"),
        (HEADER.replace("Channels", "Chanel"),
         "line 1, column 6: 'Chanel' instead of Channels; did you mean Channels?"),
        (HEADER.replace("Num Filter, Strides,", ""), f"line 1, column 7: Num Filter is missing; {NEEDED}"),
        (HEADER + "Strides", "line 1, column 9: Strides is there twice"),
        (HEADER + "Padding", "line 1, column 9: unknown column 'Padding'; known: Strides, Stride Height, Stride Width,"
         " Batch Size, Sparsity"),
        (HEADER, "no layers: a header and a line for each layer are needed"),
    ],
)  # fmt: skip
def test_faults_of_convolutions(tmp_path: Path, content: str, message: str) -> None:
    assert refusal(written(tmp_path, content)) == message


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("half", "Sparsity is 'half'; it is two whole numbers, for example 2:4"),
        ("2:4:8", "Sparsity is '2:4:8'; it is two whole numbers, for example 2:4"),
        ("-2:4", "Sparsity is '-2:4'; it is two whole numbers, for example 2:4"),
        ("99999999999:4", "Sparsity is '99999999999:4'; it is two whole numbers, for example 2:4"),
        ("0:4", "Sparsity is 0:4; of 1 to 1048576 at least one is kept, at most all"),
        ("5:4", "Sparsity is 5:4; of 1 to 1048576 at least one is kept, at most all"),
        ("1:1048577", "Sparsity is 1:1048577; of 1 to 1048576 at least one is kept, at most all"),
    ],
)
def test_faults_of_sparsity(tmp_path: Path, cell: str, message: str) -> None:
    path = written(tmp_path, f"Layer,M,N,K,Sparsity\na,1,2,3,1:4\nb,1,2,3,{cell}\n")
    assert refusal(path) == f"line 3, column 5: {message}"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("2:4", None), ("", None), ("1:4", "its Sparsity is 1:4, but 2:4 is asked for"),
        ("1:2", "its Sparsity is 1:2, but 2:4 is asked for"),
        ("4:4", "its Sparsity is that all weights are there, but 2:4 is asked for"),
    ],
)  # fmt: skip
def test_a_line_that_states_another_sparsity_is_refused(tmp_path: Path, cell: str, message: str | None) -> None:
    path = written(tmp_path, f"Layer,M,N,K,Sparsity\na,1,2,3,\nb,1,2,3,{cell}\n")
    if message is None:
        assert len(read_gemm_csv(path, sparsity=Sparsity(2, 4)).phases[0].layers) == 2
    else:
        assert refusal(path, Sparsity(2, 4)) == f"line 3, column 5: layer b: {message}"
