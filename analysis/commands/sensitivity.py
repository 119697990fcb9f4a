"""`hwsim sensitivity`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options, shared
from analysis.output.outlet import say


def sensitivity(
    command: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for JSON, CSV and plots.")],
    force: options.Force = False,
    sentences: Annotated[int, typer.Option(min=1)] = options.SENSITIVITY_SENTENCES,
    by: Annotated[list[str] | None, typer.Option(help="group, layer or site; repeatable. Default: all three.")] = None,
    target: options.Target = None,
    bleu: Annotated[bool, typer.Option("--bleu", help="Translate at every setting too.")] = False,
    model: options.Model = None,
    text: options.Text = None,
    reference: options.Reference = None,
    calibrate: options.Calibrate = None,
    calibrate_reference: options.CalibrateReference = None,
) -> None:
    """Which group, layer or site can do with 6, 4 or 3 bits while the rest has 8.

    Without --reference losses are teacher-forced on the float model's own translations, and there is no BLEU.

    Examples: `hwsim sensitivity --by group --bleu --out sensitivity` · `hwsim sensitivity --target ita --out ita`
    """
    from analysis import report
    from analysis.output.context import context
    from analysis.report.console import FORCED_ON_OWN
    from analysis.report.study import check_kinds, study, study_files
    from analysis.translation.floating import forced_text
    from analysis.workload import check_inputs, load_model
    from hwsim.program.targets import DEFAULT_TARGET
    from hwsim.program.targets import target as named_target

    if bleu and text is not None and reference is None:
        raise ValueError("--bleu scores translations against references: give --reference, or leave it out")
    began = time.perf_counter()
    outputs = shared.reserve(command, folders={"--out": out}, force=force)
    kinds, names = check_kinds(by), [named_target(target or DEFAULT_TARGET).name]
    loaded, (source, references) = load_model(model), shared.read_text_or_source(text, reference)
    shared.tell_fewer(command, sentences, len(source))
    check_inputs(loaded, [], {"text source": source[:sentences], "text target": (references or ())[:sentences]})
    body = forced_text(loaded, source[:sentences], None if references is None else references[:sentences])
    ranges = shared.calibrated(loaded, calibrate, calibrate_reference)
    rows = study(loaded, body, ranges, kinds, bleu, shared.progress, names)
    origin = context(sys.argv, loaded.folder, time.perf_counter() - began)
    outputs.write("--out", study_files(rows, loaded, len(body), references is not None, origin))
    shared.show(report.sensitivity_table([row for row in rows if row.kind != "site"] or rows))
    if references is None:
        say(f"no reference: {FORCED_ON_OWN}")
