"""The same diagnosis from what a training left behind: what it printed, or a trace of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hotlap.cli.options import Json, app
from hotlap.errors import UsageError
from hotlap.terminal import print_json, print_view


@app.command(usage="Usage: hotlap read [OPTIONS] FILE...\n       hotlap read A B --compare")
def read(
    *files: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    batch_size: int | None = None,
    world_size: Annotated[int | None, Parameter(alias="--ranks")] = None,
    compare: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Say what logs or traces of a training show, what follows from that, and what cannot be told from them.

    `hotlap read train.log timing.log --batch-size 1 --ranks 3`

    `hotlap read trace.json.gz`

    `hotlap read before.json.gz after.json.gz --compare`

    What a file is, its content tells. Of logs, lines of BasicSR, detectron2, Hugging Face, Lightning, mmengine,
    nanoGPT, timm, tqdm, ultralytics and more are known by what they look like, also mixed. Traces are those of
    torch.profiler.

    Parameters
    ----------
    files
        Logs of the same training, or a trace, or one of each rank, compressed by gzip or not; `-` is a log on standard
        input.
    batch_size
        Samples of a micro-batch on one rank, where the log does not say it.
    world_size
        How many ranks trained, where the log does not say it.
    compare
        Show two traces side by side, and what differs most.
    """
    from hotlap.read import STDIN, kind

    for option, number in (("--batch-size", batch_size), ("--world-size", world_size)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: give a number of at least 1")
    for path in files:
        if str(path).startswith("-") and path != STDIN:
            raise UsageError(f"{path}: there is no such option (see `hotlap read --help`)")
    if not files:
        raise UsageError(
            "there is no file: name logs, as in `hotlap read train.log`, or a trace, as in `hotlap read trace.json`; "
            "`-` is a log on standard input"
        )
    traces = [path for path in files if kind(path) == "trace"]
    if compare and len(files) != 2:
        raise UsageError(
            f"--compare takes two traces, and there {'is one' if len(files) == 1 else f'are {len(files)}'}"
        )
    if compare and len(traces) < 2:
        raise UsageError("--compare takes two traces: for two logs, read one after the other")
    if traces and len(traces) < len(files):
        raise UsageError(
            f"{', '.join(map(str, traces))}: a trace beside logs; read them by themselves, for each is a diagnosis of "
            "its own"
        )
    if not traces:
        _logs(files, batch_size, world_size, json)
    elif batch_size is not None or world_size is not None:
        raise UsageError("--batch-size and --world-size are for logs: a trace needs neither")
    elif compare:
        _side_by_side(files, json)
    else:
        _traces(files, json)


def _logs(files: Sequence[Path], batch_size: int | None, world_size: int | None, json: bool) -> None:
    from hotlap.diagnose import diagnose_log
    from hotlap.read import read as read_logs
    from hotlap.report import readings

    found = read_logs(files, batch_size=batch_size, world_size=world_size)
    diagnosis = diagnose_log(found)
    if json:
        print_json({"reading": found, "diagnosis": diagnosis})
    else:
        print_view(readings.reading(found, diagnosis))


def _traces(files: Sequence[Path], json: bool) -> None:
    from hotlap.read import traces
    from hotlap.report import read_traces

    reading = traces.read(files)
    print_json(reading) if json else print_view(read_traces.reading(reading))


def _side_by_side(files: Sequence[Path], json: bool) -> None:
    from hotlap.read import traces
    from hotlap.report import read_traces

    both = traces.compare(traces.read(files[:1]), traces.read(files[1:]))
    print_json(both) if json else print_view(read_traces.comparison(both))
