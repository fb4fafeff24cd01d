"""The same diagnosis from what a training left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hotlap.cli.options import Json, app
from hotlap.errors import UsageError
from hotlap.terminal import print_json, print_view


@app.command(usage="Usage: hotlap read FILE...\n       hotlap read A B --compare")
def read(*files: Path, compare: Annotated[bool, Parameter(negative="")] = False, json: Json = False) -> None:
    """Say where the time goes, and why, from traces of torch.profiler: one, or one of each rank.

    `hotlap read trace.json.gz`

    `hotlap read before.json.gz after.json.gz --compare`

    Parameters
    ----------
    files
        Traces as `export_chrome_trace` and `tensorboard_trace_handler` write them, packed or not.
    compare
        Show two traces side by side, and what differs most.
    """
    from hotlap.read import traces
    from hotlap.report import read_traces

    if not files:
        raise UsageError("name at least one file, as in `hotlap read trace.json.gz`")
    if compare and len(files) != 2:
        raise UsageError(
            f"--compare takes two traces, and there {'is one' if len(files) == 1 else f'are {len(files)}'}"
        )
    if compare:
        both = traces.compare(traces.read(files[:1]), traces.read(files[1:]))
        print_json(both) if json else print_view(read_traces.comparison(both))
    else:
        reading = traces.read(files)
        print_json(reading) if json else print_view(read_traces.reading(reading))
