"""The commands that train nothing: they show what has been recorded, and what can be found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hotlap.cli.options import Force, Json, RunDir, app
from hotlap.errors import UsageError
from hotlap.terminal import may_write, print_json


@app.command
def report(
    path: Path,
    /,
    *,
    md: Annotated[bool, Parameter(negative="")] = False,
    png: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Force = False,
    run_dir: RunDir = None,
    json: Json = False,
) -> None:
    """Make one HTML page of a run, a tuning or a comparison; it needs no network.

    `hotlap report RUN --md | gh pr comment -F -` puts the same into a pull request.

    Parameters
    ----------
    path
        The name of a run, a tuning or a comparison, its directory, or its run.json or result.json.
    md
        Print it as Markdown for a pull request instead.
    png
        Make a card to show around instead: a picture of 1200 x 630 pixels.
    output
        Write it to this file. [default: report.html or report.png beside the result; Markdown goes to stdout]
    """
    from hotlap.records import write_whole
    from hotlap.report import load
    from hotlap.report.loading import locate

    if md and png:
        raise UsageError("--md and --png are two reports: ask for one after the other")
    if md and json and output is None:
        raise UsageError("--md and --json would both go to stdout: give the Markdown a file with -o")
    may_write("--output", output, force=force)
    path = locate(path, run_dir)
    record = load(path)
    made: str | bytes
    if md:
        from hotlap.report import markdown

        made = markdown.render(record)
        if output is None:
            from hotlap.report.blocks import encodable

            print(encodable(made, sys.stdout.encoding), end="")
            return
    elif png:
        from hotlap.report import card

        made = card.render(record)
    else:
        from hotlap.report import html

        made = html.render(record)
    inside = path if path.is_dir() else path.parent
    place = output or inside / ("report.png" if png else "report.html")
    write_whole(place, made)
    if json:
        print_json({"report": str(place), "record": record})
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
        # In the order of the families, and in each by number: that of the rules is the order in which they apply.
        families = list(dict.fromkeys(rule.code.rstrip("0123456789") for rule in everything()))
        titles = {
            rule.code: rule.title
            for rule in sorted(
                everything(), key=lambda rule: (families.index(rule.code.rstrip("0123456789")), rule.code)
            )
        }
        if json:
            print_json(titles)
        else:
            print("\n".join(f"{each:13} {title}" for each, title in titles.items()))
        return
    text = explain_code(code)
    print_json({"code": code.strip().upper(), "text": text}) if json else print(text, end="")
