"""GEMM tables: what is read, and one line for every fault, with its place."""

from pathlib import Path

import pytest

from hwsim.accelerator.events import Component, Operand
from hwsim.accelerator.layers import Vectors
from hwsim.accelerator.workloads.gemm_csv import MAX_BYTES, read_gemm_csv

TABLE = "Layer,M,N,K,\nqkv,64,1536,512,\n\nffn , 64, 2048,512\n"


def written(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sizes(path: Path) -> list[tuple[str, int, int, int]]:
    return [(x.name, x.product.m, x.product.n, x.product.k) for x in read_gemm_csv(path).phases[0].layers]


def test_the_order_is_m_n_k(tmp_path: Path) -> None:
    assert sizes(written(tmp_path, TABLE)) == [("qkv", 64, 1536, 512), ("ffn", 64, 2048, 512)]


def test_a_layer_is_a_bare_product(tmp_path: Path) -> None:
    workload = read_gemm_csv(written(tmp_path, TABLE, "net.csv"), a_bits=8, b_bits=4, output_bits=16)
    assert (workload.name, workload.scheme, [phase.name for phase in workload.phases]) == ("net", "w4a8", ["forward"])
    layer = workload.phases[0].layers[0]
    assert layer.vectors == Vectors()
    product = layer.product
    assert (product.count, product.a_bits, product.b_bits, product.output_bits) == (1, 8, 4, 16)
    assert (product.column_bytes, product.residual_bits, product.accumulator_bits) == (0, 0, 32)
    assert (product.a, product.b) == (Operand.ACTIVATION, Operand.WEIGHT)
    assert [(t.component, t.count) for t in layer.terms] == [
        (Component.MAC_MULTIPLY, 64 * 1536 * 512),
        (Component.MAC_ADD, 64 * 1536 * 512),
    ]


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("\n", "\r"),
        "\ufeff" + TABLE,
        TABLE.rstrip(),
        TABLE.replace("Layer,M", "layer, m"),
        TABLE.replace("qkv", '"qkv"'),
        TABLE.replace("1536", "0" * 60 + "1536"),
        "\n,,,,\n" + TABLE,
        TABLE.replace("512\n", "512,, \n"),
        TABLE.replace("K,", "K,,,").replace("512,", "512,,  ,"),
        TABLE.replace("Layer", "Layer Name"),
        TABLE.replace("Layer", "L"),
        TABLE.replace("\n", "  \r\n\r\n   \r\n"),
        TABLE.replace("K,", "K,Sparsity,"),
        TABLE.replace("512,", "512, # as published"),
    ],
)
def test_harmless_differences(tmp_path: Path, content: str) -> None:
    assert sizes(written(tmp_path, content)) == [("qkv", 64, 1536, 512), ("ffn", 64, 2048, 512)]


def test_duplicate_names_get_free_numbers(tmp_path: Path) -> None:
    rows = "".join(f"{name},1,2,3\n" for name in ("fc", "fc_2", "fc", "fc", "x"))
    names = [name for name, *_ in sizes(written(tmp_path, "Layer,M,N,K\n" + rows))]
    assert names == ["fc", "fc_2", "fc_3", "fc_4", "x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no header: the first line must be Layer,M,N,K or that of convolutions, got nothing"),
        ("Layer,M,N,K,\n\n", "no layers"),
        ("a,1,2,3\n", "line 1: no header: the first line must be Layer,M,N,K or that of convolutions, got a,1,2,3"),
        ("Layer,M,K,N,\na,1,2,3\n", "line 1, column 3: 'K' instead of N; the order is M, N, K"),
        ("Layers,M,N,K\n", "line 1, column 1: 'Layers' instead of Layer; did you mean Layer?"),
        ("Layer,M,N\n", "line 1, column 4: K is missing"),
        ("Layer,M,N,K,Sparse\n", "line 1, column 5: unknown column 'Sparse'; did you mean Sparsity?"),
        ("Layer,M,N,K,,Sparsity\n", "line 1, column 5: unknown column ''; known: Sparsity"),
        ("Layer,M,N,K,Sparsity,Sparsity\n", "line 1, column 6: Sparsity is there twice"),
        ("Layer,M,N,N\n", "line 1, column 4: 'N' instead of K; the order is M, N, K"),
        ("Layer,Rows,N,K\n", "line 1, column 2: 'Rows' instead of M; a table of products has M, N, K, one of conv"),
        ("Layer,M,N,K\na,1,2\n", "line 2, column 4: K is missing"),
        ("Layer,M,N,K\na,1,,3\n", "line 2, column 3: N is missing"),
        ("Layer,M,N,K\n,1,2,3\n", "line 2, column 1: Layer is missing"),
        ("Layer,M,N,K\na,1,2,3,4\n", "line 2, column 5: '4' is one cell too many; a line has 4"),
        ("Layer,M,N,K\na,1,2,3,,4\n", "line 2, column 5: '' is one cell too many; a line has 4"),
        ("Layer,M,N,K\na,nan,2,3\n", "line 2, column 2: M is 'nan'; it must be a whole number"),
        ("Layer,M,N,K\na,1e3,2,3\n", "line 2, column 2: M is '1e3'; it must be a whole number"),
        ("Layer,M,N,K\n\na,1,two,3\n", "line 3, column 3: N is 'two'; it must be a whole number"),
        ("Layer,M,N,K\na,1,2.0,3\n", "line 2, column 3: N is '2.0'"),
        ("Layer,M,N,K\na,1_0,2,3\n", "line 2, column 2: M is '1_0'"),
        ("Layer,M,N,K\na,٣,2,3\n", "line 2, column 2: M is '٣'"),
        ("Layer,M,N,K\na,+1,2,3\n", "line 2, column 2: M is '+1'"),
        ("Layer,M,N,K\na,0,2,3\n", "line 2, column 2: M is 0; allowed are 1 to 16777216"),
        ("Layer,M,N,K\na,1,2,-3\n", "line 2, column 4: K is -3; allowed are 1 to 16777216"),
        ("Layer,M,N,K\na,1,2,16777217\n", "line 2, column 4: K is 16777217; allowed are"),
        ("Layer,M,N,K\na," + "0" * 39 + "5000000000,2,3\n", "line 2, column 2: M is"),
        ("Layer,M,N,K\na," + "9" * 5000 + ",2,3\n", "line 2, column 2: M is 9999"),
        ("Layer,M,N,K\n" + "a" * 201 + ",1,2,3\n", "line 2, column 1: name"),
        ("Layer,M,N,K\n\x1b[2J,1,2,3\n", r"line 2, column 1: name \x1b[2J; allowed are 200 printable"),
        ('Layer,M,N,K\n"a,1,2,3\n', "line 2: no CSV"),
        (b"Layer,M,N,K\na,1\xff,2,3\n", "line 2, byte 4: 0xff is not UTF-8"),
        (b"\x00" * (MAX_BYTES + 1), "it is larger than 1000000 bytes"),
    ],
)
def test_faults_name_their_place(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        read_gemm_csv(path)
    text = str(caught.value)
    assert "table.csv" in text
    assert message in text
    assert text.isprintable() and len(text) < 500


def test_the_greatest_size_is_allowed(tmp_path: Path) -> None:
    assert sizes(written(tmp_path, "Layer,M,N,K\na,1,16777216,1\n")) == [("a", 1, 1 << 24, 1)]


def test_no_file_and_no_regular_file(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.csv", "No such file"), (tmp_path, "not a regular file")):
        with pytest.raises(ValueError, match=message):
            read_gemm_csv(path)


@pytest.mark.parametrize("bits", [{"a_bits": 1}, {"b_bits": 17}, {"output_bits": 33}, {"accumulator_bits": 7}])
def test_widths_are_checked(tmp_path: Path, bits: dict[str, int]) -> None:
    (field, value), *_ = bits.items()
    with pytest.raises(ValueError, match=f"{field} is {value}; allowed are"):
        read_gemm_csv(written(tmp_path, TABLE), **bits)
