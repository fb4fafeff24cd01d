"""`hotlap compare` of two runs that were recorded before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from hotlap.errors import FindingsPresent, UsageError
from hotlap.records import Run
from hotlap.terminal import print_json, print_view


def compare_runs(runs: Sequence[Path], cases: Sequence[str], run_dir: Path | None, json: bool) -> None:
    """Print what differs between two stored runs; ``cases`` are those of ``--fail-on``.

    Raises:
        FindingsPresent: one of the cases is there.
        UsageError: there are not two runs, or they are the same.
    """
    from hotlap.report import stored as shown
    from hotlap.report.loading import load_run
    from hotlap.tune.statistics import MINIMUM_GAIN
    from hotlap.tune.stored import compare_stored, regression

    if len(runs) != 2:
        raise UsageError(
            f"compare takes two stored runs, and there {'is one' if len(runs) == 1 else f'are {len(runs)}'}"
        )
    (a, one), (b, other) = (load_run(run, run_dir) for run in runs)
    if one.resolve() == other.resolve():
        raise UsageError(f"{runs[0]} and {runs[1]} are the same run")
    comparison = compare_stored(_masked(a), _masked(b))
    print_json(comparison) if json else print_view(shown.stored(comparison))
    seen = [comparison.judgement.replace(" ", "-")]
    seen += ["not-faster"] if comparison.judgement in ("slower", "unclear") else []
    seen += [] if comparison.same_losses else ["other-training"]
    there = [case for case in cases if case in seen]
    if there:
        raise FindingsPresent(f"B is recorded as {' and '.join(there)}, which --fail-on asked for")
    reason = regression(comparison, MINIMUM_GAIN)
    if "regression" in cases and reason is not None:
        raise FindingsPresent(f"B may be a regression, which --fail-on asked for: {reason}")


def _masked(run: Run) -> Run:
    """What is compared goes into JSON, too, so secrets are masked before."""
    from hotlap.report.secrets import mask, mask_prose

    info = run.info
    changes = mask([f"{name}={value}" for name, value in info.changes.items()])
    shown = {name: value for name, _, value in (each.partition("=") for each in changes)}
    reason = None if info.reason is None else mask_prose(info.reason)
    info = msgspec.structs.replace(info, command=mask(info.command), changes=shown, reason=reason)
    return msgspec.structs.replace(run, info=info)
