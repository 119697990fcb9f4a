"""`hwsim estimate` that cannot be: one line that says why, and no file left behind."""

from pathlib import Path

import pytest

from analysis import cli
from tests.unit.analysis.commands.estimate_runs import Run, refused

WORKLOAD = ["--workload", "tiny11"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["PROGRAM", "--workload", "--model-file", "--gemm", "none"]),
        (["p.hwsim", *WORKLOAD], ["just one", "PROGRAM and --workload"]),
        (["--workload", "bert-bas"], ["--workload", "did you mean bert-base?"]),
        ([*WORKLOAD, "--accelerator", "edge-25"], ["edge-25", "edge-256"]),
        ([*WORKLOAD, "--accelerator", "nowhere.toml"], ["nowhere.toml"]),
        ([*WORKLOAD, "--energy-table", "edge-2"], ["edge-2", "edge-22"]),
        ([*WORKLOAD, "--config", "int9"], ["--config", "int9", "int8"]),
        ([*WORKLOAD, "--objective", "latncy"], ["--objective", "latency"]),
        ([*WORKLOAD, "--attention", "flash"], ["--attention", "unfused, fused, recompute"]),
        ([*WORKLOAD, "--dataflow", "rs"], ["--dataflow", "'rs'", "os"]),
        ([*WORKLOAD, "--fold", "both"], ["--fold", "serial, pipelined"]),
        ([*WORKLOAD, "--boundary", "ship"], ["--boundary", "chip"]),
        ([*WORKLOAD, "--sort", "power"], ["--sort", "'power'", "energy, cycles, dram, macs, utilization, order"]),
        ([*WORKLOAD, "--array", "32"], ["--array", "'32'", "32x32"]),
        ([*WORKLOAD, "--array", "0x32"], ["--array", "0", "1 to"]),
        ([*WORKLOAD, "--array", "-1x32"], ["--array", "-1x32"]),
        ([*WORKLOAD, "--sram-kib", "0"], ["--sram-kib", "0", "1 to"]),
        ([*WORKLOAD, "--sram-kib", "-4"], ["--sram-kib", "-4"]),
        ([*WORKLOAD, "--clock-mhz", "0"], ["--clock-mhz", "0"]),
        ([*WORKLOAD, "--bandwidth", "nan"], ["--bandwidth", "nan"]),
        ([*WORKLOAD, "--psum-bits", "7"], ["--psum-bits", "7", "8 to 64"]),
        ([*WORKLOAD, "--sparsity", "4:2"], ["sparsity", "4:2"]),
        ([*WORKLOAD, "--sparsity", "0:2"], ["--sparsity", "0:2"]),
        ([*WORKLOAD, "--sparsity", "half"], ["--sparsity", "half", "2:4"]),
        ([*WORKLOAD, "--batch", "0"], ["batch", "0"]),
        ([*WORKLOAD, "--source-length", "-3"], ["source_length", "-3"]),
        ([*WORKLOAD, "--source-length", "3", "--source-length", "4"], ["--source-length", "2 times"]),
        (["--workload", "bert-base", "--context", "3"], ["bert-base", "context"]),
        (["--workload", "bert-base", "--sram-kib", "1"], ["layer encoder.", "1024", "bytes"]),
        ([*WORKLOAD, "--accelerator", "ita", "--dataflow", "os"], ["dataflow", "os", "dot_product"]),
        ([*WORKLOAD, "--zero-gating", "report.json"], ["--zero-gating", "--workload", "PROGRAM"]),
        (["p.hwsim", "--batch", "2"], ["--batch", "PROGRAM"]),
        (["p.hwsim", "--config", "int8"], ["--config", "PROGRAM"]),
        (["--gemm", "t.csv", "--attention", "fused"], ["--attention", "--gemm"]),
        (["--gemm", "t.csv", "--source-length", "2"], ["--source-length", "--gemm"]),
        (["--gemm", "t.csv", "--tiles", "array"], ["--tiles", "--sram-kib"]),
        (["--gemm", "t.csv", "--trace", "t.json"], ["--trace", "--sram-kib"]),
        (["--gemm", "t.csv", "--plots", "plots"], ["--plots", "--sram-kib"]),
        (["--gemm", "t.csv", "--compare", "int8", "int4"], ["--compare", "--sram-kib"]),
        (["--gemm", "nowhere.csv"], ["nowhere.csv"]),
        (["--model-file", "nowhere.toml"], ["nowhere.toml"]),
        (["--model-file", "m.toml", "--batch", "2"], ["--batch", "--model-file"]),
        ([*WORKLOAD, "--compare", "ita", "ita"], ["ita ita", "same"]),
        ([*WORKLOAD, "--compare", "ita", "int8"], ["ita int8", "two accelerators"]),
        ([*WORKLOAD, "--compare", "ita", "itta"], ["itta", "ita"]),
        ([*WORKLOAD, "--compare", "ita"], ["--compare"]),
        ([*WORKLOAD, "--compare", "ita", "edge-256", "--accelerator", "ita"], ["--compare", "--accelerator"]),
        ([*WORKLOAD, "--compare", "int8", "int4", "--config", "int8"], ["--compare", "--config"]),
        ([*WORKLOAD, "--compare", "int8", "int4", "--csv", "t.csv"], ["--csv", "--compare"]),
        ([*WORKLOAD, "--compare", "int8", "int4", "--trace", "t.json"], ["--trace", "--compare"]),
        (["p.hwsim", "--compare", "int8", "int4"], ["int8 int4", "--workload"]),
    ],
)
def test_bad_arguments_are_one_line(
    run: Run, arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), *words)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("qkv,64,,512,", ["line 2, column 3", "N is missing"]),
        ("qkv,64,many,512,", ["line 2, column 3", "'many'"]),
        ("qkv,64,0,512,", ["line 2, column 3", "0"]),
        ("qkv,-64,512,512,", ["line 2, column 2", "-64"]),
    ],
)
def test_a_bad_cell_is_named(run: Run, tmp_path: Path, line: str, words: list[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"Layer,M,N,K,\n{line}\n")
    refused(run("--gemm", path), "bad.csv", *words)


def test_a_width_that_the_array_lacks_names_the_layer(run: Run, tmp_path: Path) -> None:
    from hwsim.accelerator import presets

    shipped = Path(presets.__file__).parent / "preset_files" / "edge-256.toml"
    own, table = tmp_path / "own.toml", tmp_path / "layers.csv"
    own.write_text(shipped.read_text().replace("8 = 1\n16 = 0.25\n", ""))
    table.write_text("Layer,M,N,K\nmix,4,4,4\n")
    refused(run("--gemm", table, "--accelerator", own), "layer mix", "8 by 8 bits", "up to 4 bits")


def test_an_unknown_key_names_the_nearest(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[layer]]\nname = "mix"\nkind = "gemm"\nm = 4\nkk = 8\nn = 6\n')
    refused(run("--model-file", path), "mine.toml", "layer[0].kk", "did you mean k?")


def test_ctrl_c_leaves_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.estimates.job.estimate", interrupt)
    out = [tmp_path / name for name in ("out.csv", "out.json", "out.trace")]
    code, _, error = run(*WORKLOAD, "--csv", out[0], "--json", out[1], "--trace", out[2])
    assert (code, error) == (130, "hwsim: error: interrupted; nothing was left half-written\n")
    monkeypatch.undo()
    monkeypatch.setattr("os.link", interrupt)  # the last moment: the file is written beside its place
    monkeypatch.setattr("sys.argv", ["hwsim", "estimate", *WORKLOAD, "--json", str(out[1])])
    with pytest.raises(SystemExit):
        cli.main()
    assert not any(tmp_path.iterdir())


def test_a_trace_that_fails_leaves_no_other_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.accelerator.trace.MAX_EVENTS", 100)
    outcome = run(*WORKLOAD, "--json", tmp_path / "out.json", "--trace", tmp_path / "out.trace")
    refused(outcome, "100 events", "--source-length")
    assert not any(tmp_path.iterdir())
