"""The data side of a training: how batches come, what one takes, and for how long the step waits for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from hotlap.records import Diagnosis, Facts, LoaderStart
from hotlap.report import charts, text


def waits(diagnosis: Diagnosis) -> str:
    """Return for how long a step waits, in a sentence."""
    total = math.fsum(diagnosis.phases.values())
    wait = diagnosis.phases.get("data_wait", 0.0)
    share = text.percent(wait / total if total > 0 else None)
    return f"A step waits {text.seconds(wait)} for its data, {share} of {text.seconds(total)} (means)."


def chart(diagnosis: Diagnosis, facts: Facts) -> Markup:
    """Return a step and the fetching of its batches on one axis; nothing where no fetch was seen."""
    if not facts.fetch_seconds:
        return Markup("")
    total = math.fsum(diagnosis.phases.values())
    wait = diagnosis.phases.get("data_wait", 0.0)
    fetch = {"fetching": facts.fetch_seconds}
    if facts.fetch_samples_seconds is not None and facts.fetch_collate_seconds is not None:
        known = {"samples": facts.fetch_samples_seconds, "collating": facts.fetch_collate_seconds}
        fetch = {**known, "rest": facts.fetch_seconds - math.fsum(known.values())}
    where = f"in one of {facts.workers} workers" if (facts.workers or 0) > 1 else "in the training loop"
    where = "in the worker" if facts.workers == 1 else where
    bars = [("a step", {"data_wait": wait, "rest": total - wait}), (f"fetching one batch, {where}", fetch)]
    return charts.stacks(bars, "A step and the fetching of a batch", "time")


def sentences(diagnosis: Diagnosis, starts: Sequence[LoaderStart] = ()) -> list[str]:
    """Return what is known beside the facts: starts of the loader, and what the dataset holds."""
    said = []
    own = [start for start in starts if not start.validation]
    if own:
        fresh = sum(start.fresh for start in own)
        again = f", {fresh} of them with new worker processes" if fresh else ""
        spent = math.fsum(start.seconds + (start.first_batch or 0.0) for start in own)
        said.append(
            f"The loader was started {text.plural(len(own), 'time')}{again}; until the first batch was there, that "
            f"took {text.seconds(spent)} in all."
        )
    return said + diagnosis.memory.dataset_said
