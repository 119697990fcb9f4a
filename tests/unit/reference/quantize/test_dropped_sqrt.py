"""`sqrt_mode = "dropped"`: the power of two that divides instead, the error that it makes, and the note of it."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import cli
from analysis.translation.steppers import MachineStepper
from hwsim.machine import Machine, operation_of
from hwsim.program import Program
from hwsim.program.loading import load
from hwsim.program.operations import Requantize, ShiftRight
from reference.checkpoint import save_checkpoint
from reference.data import ParallelText
from reference.lower import lower
from reference.models.translation import Transformer, TransformerConfig
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import make_plan
from reference.quantize.plan.products import dropped_factor
from reference.quantize.scheme import Scheme
from reference.train import make_batch
from tests.oracle.requantize import shift_of_head_dropped
from tests.small.sentences import sentences

SCORES = "encoder.0.self_attention.scores"
NOTE = "sqrt_mode dropped: scores are {} times their real value"
BY_HAND = {
    1: (0, "1.0000"),
    2: (0, "1.4142"),  # log2(sqrt(2)) = 1/2 goes to the even 0, and 3/2 to 2
    3: (1, "0.8660"),
    4: (1, "1.0000"),
    6: (1, "1.2247"),
    8: (2, "0.7071"),
    10: (2, "0.7906"),
    16: (2, "1.0000"),
    20: (2, "1.1180"),
    32: (2, "1.4142"),
    64: (3, "1.0000"),
    128: (4, "0.7071"),
}
"""d_head -> k, and sqrt(d_head) / 2^k."""


def model(d_head: int, vocabulary_size: int = 20) -> Transformer:
    torch.manual_seed(3)
    sizes = {"d_model": 8, "n_heads": 2, "d_ff": 12, "encoder_layers": 1, "decoder_layers": 1, "max_positions": 32}
    config = TransformerConfig(vocabulary_size=vocabulary_size, d_head=d_head, **sizes)
    return Transformer(config).eval()


def dropped(d_head: int) -> Program:
    """A small program whose scores have 12 bits."""
    ours, batch = model(d_head), make_batch([(row, row) for row in sentences(4)])
    plan = make_plan(ours, Scheme(name="dropped", sqrt_mode="dropped"), calibrate(ours, [batch]))
    return lower(ours, plan, name="dropped")


def shift_of(program: Program) -> int:
    """Bits that the accumulator of scores is shifted by; a shift of none may have no operation."""
    made = operation_of(program, SCORES)
    assert isinstance(made, Requantize)
    shifted = operation_of(program, made.input)
    return shifted.shift if isinstance(shifted, ShiftRight) else 0


@pytest.mark.parametrize("d_head", BY_HAND)
def test_the_power_of_two_by_hand(d_head: int) -> None:
    k, factor = BY_HAND[d_head]
    assert shift_of_head_dropped(d_head) == k
    assert f"{dropped_factor(d_head):.4f}" == factor
    assert shift_of(dropped(d_head)) == k


@pytest.mark.parametrize("d_head", [2, 4, 6, 8, 10])
def test_scores_are_wrong_by_what_is_said(d_head: int) -> None:
    """sum(q * k) / sqrt(d_head) times the factor, within the two roundings of (3) and (1)."""
    program, values = dropped(d_head), {}
    MachineStepper(Machine(program), sentences(4), values.__setitem__)
    made = operation_of(program, SCORES)
    assert isinstance(made, Requantize)
    q, k = (real(program, values, f"encoder.0.self_attention.{part}") for part in ("query", "key"))
    heads = [x.reshape(*x.shape[:2], 2, d_head).swapaxes(1, 2) for x in (q, k)]
    exact = heads[0] @ heads[1].swapaxes(-1, -2) / d_head**0.5
    info = program.tensors[SCORES]
    assert info.scale is not None and isinstance(made.requantization.multiplier, int)
    assert isinstance(made.requantization.shift, int)
    error = (1 + made.requantization.multiplier / 2**made.requantization.shift) / 2 * info.scale
    inside = (values[SCORES] > info.format.min) & (values[SCORES] < info.format.max)
    wrong = real(program, values, SCORES) - exact * float(BY_HAND[d_head][1])
    assert inside.sum() > 100 and np.abs(wrong[inside]).max() <= error + 1e-4 * np.abs(exact).max()
    if BY_HAND[d_head][1] != "1.0000":
        assert np.abs(real(program, values, SCORES) - exact)[inside].max() > 3 * error


def real(program: Program, values: dict[str, np.ndarray], site: str) -> np.ndarray:
    info = program.tensors[site]
    assert info.scale is not None
    return info.scale * (values[site].astype(np.float64) - info.zero_point)


@pytest.mark.parametrize(
    ("d_head", "mode"), [(2, "dropped"), (6, "dropped"), (4, "dropped"), (6, "shift"), (6, "merged")]
)
def test_the_note(
    d_head: int,
    mode: str,
    vocabulary: Path,
    small_text: ParallelText,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command says the factor, word for word, in this mode only."""
    network = model(d_head, vocabulary_size=64)
    save_checkpoint(tmp_path / "model", network.config, network.state_dict())
    shutil.copy(vocabulary, tmp_path / "model" / "vocabulary.model")
    (tmp_path / "mine.toml").write_text(f'name = "mine"\nsqrt_mode = "{mode}"\n')
    for name, lines in (("text.en", small_text.head(4).source), ("text.de", small_text.head(4).target)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    options = {
        "--scheme": "mine.toml",
        "--model": "model",
        "--calibrate": "text.en",
        "--calibrate-reference": "text.de",
        "--out": "mine.hwsim",
    }
    files = [part for option, name in options.items() for part in (option, str(tmp_path / name))]
    monkeypatch.setattr("sys.argv", ["hwsim", "quantize", *files])
    with contextlib.suppress(SystemExit):  # what went wrong would have no note
        cli.main()
    said = capsys.readouterr().out.splitlines()
    notes = [line for line in said if "sqrt" in line]
    assert notes == ([NOTE.format(BY_HAND[d_head][1])] if mode == "dropped" else [])
    if mode == "dropped":
        assert said[-1] == notes[0] and shift_of(load(tmp_path / "mine.hwsim")) == BY_HAND[d_head][0]
