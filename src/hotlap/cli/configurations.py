"""The commands on a configuration that has not run yet: what is wrong with it, and what suits this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hotlap.cli.options import Json, app
from hotlap.errors import FindingsPresent, UsageError
from hotlap.terminal import as_bytes, print_json, print_view


@app.command
def lint(
    config: Path,
    /,
    *,
    ranks: int = 1,
    memory: str | None = None,
    cores: int | None = None,
    gpu: str | None = None,
    against: Path | None = None,
    fail_on: Annotated[
        str | None,
        Parameter(help="Leave with exit code 1 if one of these is found, e.g. CONFIG07,CONFIG10, or any."),
    ] = None,
    json: Json = False,
) -> None:
    """Find what in a configuration would harm its training, before it runs.

    `hotlap lint configs/vrt_spike.yaml --ranks 3 --memory 256GiB --gpu "RTX 4090"`

    Of another project's YAML the keys are judged that are recognised: workers, prefetch, batch, precision, cache.

    Parameters
    ----------
    config
        A configuration of `hotlap train`, or another YAML.
    ranks
        Processes of the node that train: its GPUs.
    memory
        Of the node, e.g. 256GiB. [default: this machine's]
    cores
        Of the node. [default: this machine's]
    gpu
        The card that it will run on, or none. [default: this machine's]
    against
        The configuration that this one was made from: was the learning rate rescaled with the batch?
    """
    from hotlap.diagnose.rules import described
    from hotlap.tune.linted import lint_config

    for option, number in (("--ranks", ranks), ("--cores", cores)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: give a number of at least 1")
    wanted = [word.strip() for word in (fail_on or "").split(",") if word.strip()]
    codes = [described(word).code for word in wanted if word.lower() != "any"]
    found = lint_config(
        config,
        ranks=ranks,
        memory=None if memory is None else as_bytes("--memory", memory),
        cores=cores,
        gpu=gpu,
        against=against,
    )
    unknown = [code for code in codes if code not in found.checked]
    if unknown:
        raise UsageError(f"--fail-on {unknown[0]}: that is found in a run; in a configuration {_span(found.checked)}")
    if json:
        print_json(found)
    else:
        from hotlap.report.lint import linted

        print_view(linted(found))
    there = sorted({each.code for each in found.findings})
    asked = there if len(codes) < len(wanted) else [code for code in there if code in codes]
    if asked:
        raise FindingsPresent(f"found {', '.join(asked)}, which --fail-on asked for")


def _span(codes: list[str]) -> str:
    return f"are {codes[0]} to {codes[-1]}"
