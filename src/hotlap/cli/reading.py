"""The commands that train nothing: they show what has been recorded, and what can be found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hotlap.cli.options import Force, Json, app
from hotlap.errors import UsageError
from hotlap.terminal import may_write, print_json, print_view


@app.command
def report(
    path: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make one HTML page of a run, a tuning or a comparison; it needs no network.

    Parameters
    ----------
    path
        A run directory, or a result.json.
    output
        Write the page to this file. [default: report.html beside the result]
    """
    from hotlap.records import write_whole
    from hotlap.report import load, load_report

    page = load_report(path)
    inside = path if path.is_dir() else path.parent
    place = inside / "report.html" if output is None else output
    if output is not None:
        may_write("--output", output, force=force)
    write_whole(place, page)
    if json:
        print_json({"report": str(place), "record": load(path)})
    else:
        print(place)


@app.command(usage="Usage: hotlap read [OPTIONS] FILE...")
def read(
    *files: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    batch_size: int | None = None,
    world_size: Annotated[int | None, Parameter(alias="--ranks")] = None,
    json: Json = False,
) -> None:
    """Say what the logs of one training show, what follows from that, and what cannot be told from them.

    `hotlap read train.log timing.log --batch-size 1 --ranks 3`

    Lines of BasicSR, detectron2, Hugging Face, Lightning, mmengine, nanoGPT, timm, tqdm, ultralytics and more are known
    by what they look like, also mixed.

    Parameters
    ----------
    files
        Logs of the same training, compressed by gzip or not; `-` is standard input.
    batch_size
        Samples of a micro-batch on one rank, where the log does not say it.
    world_size
        How many ranks trained, where the log does not say it.
    """
    from hotlap.diagnose import diagnose_log
    from hotlap.read import STDIN, kind
    from hotlap.read import read as read_logs
    from hotlap.report import readings

    for option, number in (("--batch-size", batch_size), ("--world-size", world_size)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: give a number of at least 1")
    for path in files:
        if str(path).startswith("-") and path != STDIN:
            raise UsageError(f"{path}: there is no such option (see `hotlap read --help`)")
    if not files:
        raise UsageError("there is no file: name logs, as in `hotlap read train.log`, or `-` for standard input")
    traces = [str(path) for path in files if kind(path) == "trace"]
    if traces:
        raise UsageError(f"{', '.join(traces)}: this is a trace of the PyTorch profiler; hotlap read takes logs")
    found = read_logs(files, batch_size=batch_size, world_size=world_size)
    diagnosis = diagnose_log(found)
    if json:
        print_json({"reading": found, "diagnosis": diagnosis})
    else:
        print_view(readings.reading(found, diagnosis))


@app.command
def explain(code: str | None = None, /, *, json: Json = False) -> None:
    """Say what a finding means, how it is measured, what to do and what it cannot tell.

    Parameters
    ----------
    code
        The code of a finding, e.g. DATA01. Without one, all of them are listed.
    """
    from hotlap.diagnose import everything
    from hotlap.diagnose import explain as explain_code

    if code is None:
        if json:
            print_json({rule.code: rule.title for rule in everything()})
        else:
            print("\n".join(f"{rule.code:13} {rule.title}" for rule in everything()))
        return
    text = explain_code(code)
    print_json({"code": code.strip().upper(), "text": text}) if json else print(text, end="")
