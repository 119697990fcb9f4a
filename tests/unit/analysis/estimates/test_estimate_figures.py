"""Figures of an estimate: what is drawn is what was found, axes have units, nothing sticks out."""

import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.estimates import figures, sweeps
from analysis.estimates.request import Priced, Request, priced
from analysis.plots import png
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.layers import Phase, Workload
from hwsim.accelerator.options import Options
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.workloads import workload
from reference.quantize.scheme import preset
from tests.small.programs import tiny_program


@pytest.fixture(scope="module")
def decoder() -> Estimate:
    small = workload("gpt2-small", "w4a8", source_length=6, target_length=3)
    return estimate(small, hardware("edge-256"))


@pytest.fixture
def fits() -> Callable[[Figure], Axes]:
    """Draw a figure: nothing sticks out, both axes have a unit; its axes."""

    def check(figure: Figure) -> Axes:
        content = png(figure)
        width, height = struct.unpack(">II", content[16:24])
        assert 5_000 < len(content) < 300_000
        assert 600 < width < 1_600 and 300 < height < 1_200
        box = figure.get_tightbbox()
        assert box.x0 > -0.05 and box.y0 > -0.05
        assert box.x1 < figure.get_figwidth() + 0.05 and box.y1 < figure.get_figheight() + 0.05
        (axes,) = figure.axes
        assert "(" in axes.get_ylabel() + axes.get_xlabel()
        return axes

    return check


def heights(axes: Axes, count: int) -> list[float]:
    """Of stacked bars, by place."""
    totals = [0.0] * count
    for container in axes.containers:
        for place, bar in enumerate(container):
            totals[place] += bar.get_height()
    return totals


def test_roofline_has_a_roof_for_each_precision_and_a_dot_for_each_layer(decoder, fits):
    axes = fits(figures.roofline(decoder))
    products = [layer for layer in decoder.total.layers if layer.product is not None]
    widths = {(layer.product.a_bits, layer.product.b_bits) for layer in products}
    assert widths == {(8, 4), (8, 8)}
    assert len(axes.lines) == len(axes.collections) == 2
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == len(products)
    peak, bandwidth = 2 * 256 * 0.5, 4.0  # Gop/s, GB/s
    for roof in axes.lines:
        assert roof.get_ydata()[-1] == pytest.approx(peak)
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for dots in axes.collections:
        for x, y in dots.get_offsets():
            assert y <= min(peak, bandwidth * x) * 1.001
            assert low < x < high and bottom < y < top
    assert "op/B" in axes.get_xlabel() and "Gop/s" in axes.get_ylabel()
    assert [text.get_text().split(":")[0] for text in axes.get_legend().get_texts()] == ["8 x 4 bits", "8 x 8 bits"]


def test_roofs_of_unlike_peaks_differ(fits):
    axes = fits(figures.roofline(estimate(workload("tiny11", "int4", target_length=2), hardware("edge-256"))))
    (roof,) = axes.lines
    assert roof.get_ydata()[-1] == pytest.approx(2 * 512 * 0.5)


def test_a_roofline_needs_a_product(decoder):
    rows = tuple(layer for layer in workload("tiny11").phases[0].layers if layer.product is None)
    bare = Workload(name="rows", scheme="int8", phases=(Phase(name="forward", tokens=1, layers=rows),))
    with pytest.raises(ValueError, match="no product"):
        figures.roofline(estimate(bare, hardware("edge-256")))


def test_energy_by_component_sums_to_the_phases(decoder, fits):
    axes = fits(figures.energy_by_component(decoder))
    want = [phase.cost.energy_aj / 1e15 for phase in decoder.phases]
    assert heights(axes, 2) == pytest.approx(want)
    assert "mJ" in axes.get_ylabel() and "system" in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["prefill", "decode"]


@pytest.mark.parametrize("most", [3, 500])
def test_energy_by_layer_sums_to_the_whole(decoder, fits, most):
    axes = fits(figures.energy_by_layer(decoder, most)) if most == 3 else figures.energy_by_layer(decoder, most).axes[0]
    total = sum(bar.get_width() for container in axes.containers for bar in container)
    assert total == pytest.approx(decoder.total.cost.energy_aj / 1e15)
    last = axes.get_yticklabels()[-1].get_text()
    assert last.startswith("all other layers") == (most == 3)


def test_traffic_against_scratchpads(decoder, fits):
    sizes = sweeps.against_sram(decoder.workload, decoder.hardware, Options())
    assert list(sizes) == [8, 16, 32, 64, 128, 256, 512, 1024]
    totals = [found.total.cost.dram_bytes for found in sizes.values()]
    assert totals == sorted(totals, reverse=True)  # a law of the objective
    axes = fits(figures.dram_against_sram(decoder, sizes))
    assert heights(axes, 8) == pytest.approx([total / 1e6 for total in totals])
    assert "MB" in axes.get_ylabel()
    assert axes.get_xticklabels()[-1].get_text() == "1 MiB"


def test_scratchpads_that_are_too_small_are_left_out(decoder):
    """The least tile of weights of 4 bits has 256 rows of 128 bytes, twice."""
    array = msgspec.structs.replace(decoder.hardware.array, rows=256, cols=256)
    large = msgspec.structs.replace(decoder.hardware, array=array)
    assert min(sweeps.against_sram(decoder.workload, large, Options())) == 128


def test_what_is_kept_between_layers_comes_on_top(decoder):
    kept = msgspec.structs.replace(decoder.hardware.sram, resident_kib=20)
    machine = msgspec.structs.replace(decoder.hardware, sram=kept)
    assert list(sweeps.against_sram(decoder.workload, machine, Options())) == list(sweeps.SRAM_KIB)


def test_energy_against_context_grows(decoder, fits):
    request = Request(workload="gpt2-small", config="w4a8")
    steps = sweeps.against_context(request, Priced(decoder.workload), decoder.hardware, Options())
    assert list(steps) == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    energies = [found.total.cost.energy_aj / 1e15 for found in steps.values()]
    assert energies == sorted(energies)
    axes = fits(figures.energy_against_context(decoder, steps))
    assert heights(axes, len(steps)) == pytest.approx(energies)
    assert "per token" in axes.get_ylabel() and "keys" in axes.get_xlabel()


def test_a_step_of_a_program_is_what_a_longer_sentence_adds(tmp_path: Path):
    path = tmp_path / "tiny.hwsim"
    tiny_program(preset("int8")).save(path)
    machine = hardware("edge-256")

    def decode(target: int) -> Estimate:
        return estimate(priced(Request(program=path, source_length=(5,), target_length=(target,))).workload, machine)

    request = Request(program=path, source_length=(5,), target_length=(2,))
    steps = sweeps.against_context(request, priced(request), machine, Options())
    assert list(steps) == [4, 8]
    for keys, step in steps.items():
        longer, shorter = (decode(target).phase("decode").cost for target in (keys, keys - 1))
        assert step.total.cost.energy_aj == longer.energy_aj - shorter.energy_aj
        assert step.total.cost.dram_bytes == longer.dram_bytes - shorter.dram_bytes


def test_a_users_model_has_steps_and_a_users_layers_have_none(tmp_path: Path):
    path = tmp_path / "mine.toml"
    sizes = "source_length = 4\ntarget_length = 2\n"
    model = "layers = 1\nd_model = 8\nn_heads = 2\nd_ff = 16\nvocabulary = 20\npositions = 40\n"
    path.write_text(f'name = "mine"\n{sizes}[gpt]\n{model}')
    request = Request(model_file=path)
    assert list(sweeps.against_context(request, priced(request), hardware("edge-256"), Options())) == [4, 8, 16, 32]
    path.write_text('name = "mine"\n[[layer]]\nname = "mix"\nkind = "gemm"\nm = 4\nk = 8\nn = 6\n')
    assert not sweeps.against_context(request, priced(request), hardware("edge-256"), Options())


def test_a_step_of_a_users_model_is_that_of_a_file_which_says_so(tmp_path: Path):
    def model(name: str, sizes: str) -> Path:
        text = "[gpt]\nlayers = 1\nd_model = 8\nn_heads = 2\nd_ff = 16\nvocabulary = 20\npositions = 40\n"
        (tmp_path / name).write_text(f'name = "mine"\n{sizes}{text}')
        return tmp_path / name

    request = Request(model_file=model("mine.toml", "source_length = 4\ntarget_length = 3\n"))
    steps = sweeps.against_context(request, priced(request), hardware("edge-256"), Options())
    for keys in (8, 32):
        one = model(f"{keys}.toml", f"source_length = 4\ntarget_length = 1\ncontext = {keys - 1}\n")
        told = estimate(priced(Request(model_file=one)).workload, hardware("edge-256")).phase("decode")
        assert steps[keys].phase("decode").cost == told.cost and steps[keys].phase("decode").tokens == 1


def test_what_is_not_drawn_is_said():
    request = Request(workload="bert-base", source_length=(16,))
    found = priced(request)
    files, notes = figures.pictures(request, found, estimate(found.workload, hardware("edge-256")))
    assert sorted(files) == ["dram_against_sram.png", "energy_by_component.png", "energy_by_layer.png", "roofline.png"]
    (note,) = notes
    assert note.startswith("energy_against_context.png is not drawn: bert-base")


def test_a_name_with_a_dollar_is_no_formula(decoder, fits):
    odd = msgspec.structs.replace(decoder.workload, name="cost $x_1$ " + "long " * 30)
    fits(figures.energy_by_component(msgspec.structs.replace(decoder, workload=odd)))
