"""What `hwsim doctor` reads, from files written by hand."""

from pathlib import Path

import pytest

from analysis.bench import growth, machine
from analysis.bench.growth import Row
from analysis.bench.timing import Spread


def test_flags_are_whole_words(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert machine.cpu_flags(info) == {"fpu", "avx2", "avx512_vnni"}
    info.write_text("processor : 0\nFeatures : fp asimddp\n")
    assert machine.cpu_flags(info) == {"fp", "asimddp"}
    assert machine.cpu_flags(tmp_path / "none") == set()


def test_caches_by_level_and_kind(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "32K"), ("1", "Instruction", "64K"), ("3", "Unified", "2M")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert machine.cache_sizes(tmp_path) == {"L1d": 32768, "L1i": 65536, "L3": 2097152}


def test_compiled_kernels_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    for name, size in (("a.nbi", 10), ("deep/a.1.nbc", 200), ("deep/a.py", 4000)):
        (tmp_path / name).write_bytes(bytes(size))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert machine.numba_cache() == machine.Cache(folder=str(tmp_path), files=2, bytes=210, writable=True)


def test_the_engine_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWSIM_GEMM", "planted")
    assert machine.engine().why == "HWSIM_GEMM=planted"
    assert machine.engine().chosen in machine.engine().available


def test_growth_by_hand() -> None:
    """Three times the time for twice the size is an exponent of log2(3); only the last step counts."""
    times = {1: 7.0, 2: 2.0, 4: 6.0}
    points = [Row(axis="batch", value=x, seconds=Spread(min=t, median=t, max=t)) for x, t in times.items()]
    assert growth.exponent(points) == pytest.approx(1.5849625)


def test_axes_change_one_size_each() -> None:
    layers, wide = growth.configuration("layers", 5), growth.configuration("d_model", 512)
    assert (layers.encoder_layers, layers.decoder_layers, layers.d_model) == (5, 5, 256)
    assert (wide.d_model, wide.n_heads, wide.d_head, wide.d_ff, wide.encoder_layers) == (512, 8, 64, 2048, 3)
    assert growth.configuration("tokens", 99) == growth.configuration("batch", 3) == growth.CENTRE
