"""`hwsim centre`."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared

MOST_TOP = 20


def centre(
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    top: Annotated[float, typer.Option(help="Where the greatest score of a row is to lie, -20 to 20 nat.")] = 1.5,
    model: options.Model = None,
    calibrate: options.Calibrate = None,
    calibrate_reference: options.CalibrateReference = None,
) -> None:
    """The same model with key biases that keep scores where ITAMax sees them: for `ita` and `deeploy`, B = 5.

    The float model's translations stay what they are.

    Examples: `hwsim centre --out centred` and then `hwsim run --model centred --target ita`
    """
    from analysis.workload import load_model
    from hwsim.files import write_whole
    from reference.checkpoint import save_checkpoint
    from reference.quantize.centring import centred

    if not -MOST_TOP <= top <= MOST_TOP:
        raise ValueError(f"--top is {top:g}; it must be from {-MOST_TOP} to {MOST_TOP} nat")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"--out {out} is there already: give a new folder")
    loaded = load_model(model)
    with shared.progress("centring", None):
        network = centred(loaded.network, shared.calibration(loaded, calibrate, calibrate_reference), top)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as unfinished:
        whole = Path(unfinished) / out.name
        write_whole(whole / "vocabulary.model", (loaded.folder / "vocabulary.model").read_bytes())
        save_checkpoint(whole, network.config, network.state_dict())
        whole.replace(out)
    print(f"{out}: the same model, its keys centred at {top:g} nat")
