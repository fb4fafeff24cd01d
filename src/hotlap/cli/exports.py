"""The command that hands a recorded run to other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hotlap.cli.options import Force, Json, RunDir, app
from hotlap.errors import UsageError, did_you_mean
from hotlap.terminal import may_write, print_json


@app.command(usage="Usage: hotlap export RUN --to FORMAT [OPTIONS]")
def export(
    run: Path,
    /,
    *,
    to: Annotated[str, Parameter(help="perfetto, prometheus, tensorboard, wandb or csv.")],
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Force = False,
    run_dir: RunDir = None,
    json: Json = False,
) -> None:
    """Write a recorded run for the tools that people already look at. Nothing is sent anywhere.

    `hotlap export profile-20260101-0900 --to perfetto`

    perfetto: the phases of every step, for ui.perfetto.dev and chrome://tracing. prometheus: text for node_exporter's
    textfile collector. tensorboard: what each step recorded, and the findings. wandb: the same as an offline run, for
    which wandb must be installed; `wandb sync` uploads it. csv: a line for each step.

    Parameters
    ----------
    run
        The name of a run, its directory, or its run.json.
    output
        The file to write; for tensorboard and wandb the folder that it goes into. [default: inside the run's directory]
    """
    from hotlap.export import FORMATS, default_place
    from hotlap.export import export as write
    from hotlap.report.loading import load_run

    form = next((each for each in FORMATS if each == to), None)
    if form is None:
        raise UsageError(f"--to {to}: use one of {', '.join(FORMATS)}{did_you_mean(to, FORMATS)}")
    if form in ("tensorboard", "wandb"):
        if output is not None and output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file: give a folder, which may hold other runs too")
    else:
        may_write("--output", output, force=force)
    record, directory = load_run(run, run_dir)
    done = write(record, directory, form, output or default_place(form, directory))
    if form == "wandb":
        print(f"hotlap: nothing was sent; `wandb sync {done.path}` uploads it", file=sys.stderr)
    if json:
        print_json({"export": str(done.path), "to": form, "run": record.info.name, "steps": done.steps})
    else:
        print(done.path)
