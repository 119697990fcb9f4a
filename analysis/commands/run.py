"""`hwsim run`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say


def run(
    command: typer.Context,
    sentences: Annotated[int, typer.Option(min=1, help="How many test sentences.")] = options.DEFAULT_SENTENCES,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            help="int8, int6, int4, w4a8 or native, under every target; repeatable. Default: the first four for "
            "fullyqt, native for other targets.",
        ),
    ] = None,
    scheme: options.Scheme = None,
    target: options.Targets = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write. Default: runs/DATE-TIME.")] = None,
    force: options.Force = False,
    model: options.Model = None,
    text: options.Text = None,
    reference: options.Reference = None,
    calibrate: options.Calibrate = None,
    calibrate_reference: options.CalibrateReference = None,
    beam: options.Beam = 1,
    accelerator: options.Accelerator = None,
    sensitivity: Annotated[bool, typer.Option(help="Measure the sensitivity of each group too.")] = True,
) -> None:
    """Translate, prove every code equal, price, and write a report: the main job.

    Examples: `hwsim run` · `hwsim run --sentences 1000 --config int8` · `hwsim run --target ita --target tflm` ·
    `hwsim run --text my.en --reference my.de --scheme mine.toml --out report`

    Without --reference there is no BLEU, and losses are teacher-forced on the float model's own translations.
    """
    from analysis import report
    from analysis.output.context import context
    from analysis.report.study import study
    from analysis.run import run as run_all
    from analysis.translation.floating import forced_text
    from analysis.workload import check_inputs, load_model
    from hwsim.accelerator.presets import PRESETS, hardware
    from hwsim.accelerator.prices import prices_of

    began = time.perf_counter()
    outputs = shared.reserve(
        command,
        folders={"--out": out},
        fresh={} if out else {"--out": Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")},
        force=force,
    )
    schemes, machine = (
        shared.choose_schemes(config, scheme, target),
        hardware(PRESETS[0] if accelerator is None else accelerator),
    )
    prices_of(machine)  # an energy table that does not fit is refused before the work
    loaded = load_model(model)
    source, translations = shared.read_text_or_source(text, reference)
    shared.tell_fewer(command, sentences, len(source))
    body, references = source[:sentences], None if translations is None else translations[:sentences]
    most = max(sentences, options.SENSITIVITY_SENTENCES if sensitivity else 0)  # all that is read later
    check_inputs(loaded, schemes, {"text source": source[:most], "text target": (translations or ())[:most]})
    ranges = shared.calibrated(loaded, calibrate, calibrate_reference)
    with shared.progress("translating and comparing", len(body) * (1 + len(schemes))) as advance:
        result = run_all(
            loaded, schemes, body, references, ranges, beam_width=beam, accelerator=machine, advance=advance
        )
    rows = []
    if sensitivity:
        names = list(dict.fromkeys(one.target for one in schemes))
        most = options.SENSITIVITY_SENTENCES
        forced = forced_text(loaded, source[:most], None if translations is None else translations[:most])
        rows = study(loaded, forced, ranges, ("group",), False, shared.progress, names)
    origin = context(sys.argv, loaded.folder, time.perf_counter() - began)
    folder = outputs.write("--out", report.report_files(result, rows, origin))
    shared.show(report.summary_table(result), *([report.sensitivity_table(rows)] if rows else []))
    say(f"report: {folder / 'report.html'}")
    if not all(one.equality.equal for one in result.configurations):
        raise SystemExit(1)
