"""What a training will take, for the terminal: counted before it runs."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import DataEstimate, DataPlan, Remedy
from hotlap.report import text
from hotlap.report.blocks import Report, blank, bullets, heading, prose, table

VERDICT_STYLES = {"fits": "bold green", "tight": "bold yellow", "does not fit": "bold red"}
_LIMITS = (
    "Counted, not measured, from samples as they are said to be. Not in it: Python and torch in each process, the "
    "model, what a dataset holds besides its samples, and files that the kernel keeps. A worker that is started anew "
    "in every epoch begins with an empty cache of its own."
)


def data_side(found: DataEstimate) -> Report:
    """Return what samples, caches and batches come to, what each process holds, and what to change."""
    plan = found.plan
    rows = [("a sample", found.sample_bytes), (text.plural(plan.samples, "sample"), found.set_bytes)]
    if found.caches:
        rows.append((text.plural(found.caches, "cache"), found.caches_bytes))
    rows += [
        (f"{found.batches:,} batches", found.batches_bytes),
        ("at worst together", found.worst),
        ("memory of the node", plan.memory),
    ]
    cells = [(name, binary(size), text.size(size)) for name, size in rows]
    parts: list[RenderableType] = [
        prose(headline(found), style=VERDICT_STYLES[found.verdict]),
        blank(),
        *table(cells, "<>>"),
        prose(_counted(found), indent=2, style="dim"),
        *heading("What each process holds"),
        *bullets(_processes(found)),
    ]
    if found.remedies:
        parts += [*heading("What to change"), *bullets(map(_remedy, found.remedies))]
    return Report([*parts, blank(), prose(_LIMITS, indent=2, style="dim")])


def binary(size: float) -> str:
    """Return bytes in units of 2**10, as memory is sold and as the user's projects count it."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 2**power:
            return f"{size / 2**power:,.2f} {unit}"
    return f"{size:.0f} B"


def headline(found: DataEstimate) -> str:
    worst, memory = binary(found.worst), binary(found.plan.memory)
    if found.verdict == "does not fit":
        return f"The data side does not fit: {worst} at worst, and the node has {memory}."
    if found.verdict == "tight":
        return (
            f"The data side fits with {worst} of {memory}, but leaves little: Python, torch, the model and files need "
            "some, too."
        )
    return f"The data side fits: {worst} at worst, and the node has {memory}."


def _counted(found: DataEstimate) -> str:
    """What the figures are made of."""
    plan = found.plan
    sample = " + ".join(f"{'x'.join(map(str, part.shape))} {part.dtype}" for part in plan.sample)
    caches = f" {found.caches:,} caches of {binary(found.cache_bytes)}." if found.caches > 1 else ""
    batches = f"{text.plural(plan.batch_size, 'sample')} in a batch, "
    batches += (
        f"{plan.prefetch} ready and one in the making for each worker, one in use for each rank."
        if plan.workers
        else "one in the making and one in use for each rank."
    )
    return f"A sample: {sample}.{caches} {text.upper_first(batches)}"


def _processes(found: DataEstimate) -> list[str]:
    plan = found.plan
    who = (
        f"Each of the {found.processes:,} workers ({plan.workers} x {text.plural(plan.ranks, 'rank')})"
        if plan.workers
        else f"Each of the {text.plural(plan.ranks, 'rank')}, which fetch their samples themselves,"
    )
    own = f", {binary(found.cache_bytes)} of it a cache of its own" if plan.cache_each and found.caches else ""
    said = [f"{who} comes to hold {binary(found.process_bytes)}{own}."]
    if found.caches > 1:
        when = (
            f"It is full after about {text.figure(found.full_after, 2)} epochs that deal the samples anew"
            if found.full_after is not None
            else "In the end it is the whole set"
        )
        said.append(
            f"{when}. What one process has kept helps no other: together they hold the same samples up to "
            f"{found.caches:,} times."
        )
    elif found.caches:
        said.append(
            f"The cache is of the node: {text.percent(found.cached_share)} of the samples lie in it, and so many of "
            "the readings of later epochs are hits, where an epoch reads each sample once."
        )
    return said


def _remedy(remedy: Remedy) -> str:
    plan, share = remedy.plan, text.percent(remedy.cached_share)
    then = f"Then at worst {binary(remedy.worst)}."
    if remedy.kind == "one cache":
        return f"One cache for all processes of the node: {_cache(plan)} holds {share} of the samples once. {then}"
    if remedy.kind == "a cache":
        return f"There is memory for a cache: {_cache(plan)} would hold {share} of the samples. {then}"
    if remedy.kind == "smaller cache":
        key = f" (`CACHE_SIZE_GB: {_gigabytes(plan)}`)" if plan.configured else ""
        return f"A cache of half of the memory at most, {binary(plan.cache)}{key}: {share} of the samples. {then}"
    if remedy.kind == "compact":
        return (
            f"Keep samples as uint8 and convert them when they are read, where that is lossless (pictures, counts up "
            f"to 255): the same cache holds {share} of them. {then}"
        )
    workers = text.plural(plan.workers, "worker")
    return f"Fewer batches in flight: {workers} a rank and a prefetch of {plan.prefetch}. {then}"


def _cache(plan: DataPlan) -> str:
    if plan.configured:
        return f"`USE_RAM_CACHE: true` with `CACHE_SIZE_GB: {_gigabytes(plan)}`"
    return f"`hotlap.data.SampleCache(dataset, {_gigabytes(plan)})`"


def _gigabytes(plan: DataPlan) -> str:
    return f"{plan.cache / 2**30:.4g}"
