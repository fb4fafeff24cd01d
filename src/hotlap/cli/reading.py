"""The commands that train nothing: they show what has been recorded, and what can be found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hotlap.cli.options import Force, Json, app
from hotlap.terminal import may_write, print_json


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
