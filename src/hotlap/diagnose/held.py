"""What a dataset holds, in sentences: how much of it each worker comes to have for itself."""

from __future__ import annotations

from hotlap.diagnose.rules.base import plural, size
from hotlap.records import Facts, HeldByDataset, OwnCache

#: Fewer Python objects than this are in every program.
_MANY = 10_000


def said_of_dataset(held: HeldByDataset | None, facts: Facts) -> list[str]:
    """Return a sentence for its objects, for its arrays, for what is sent to workers and for each of its caches."""
    if held is None:
        return []
    processes = max(1, held.workers) * facts.world_size
    who = plural(held.workers, "worker") + (f" x {facts.world_size} ranks" if facts.world_size > 1 else "")
    said = [_objects(held, processes, who)]
    if held.arrays:
        said.append(_arrays(held, processes))
    if held.pickled is not None:
        said.append(
            f"Its workers begin by {held.start_method}: each is sent a copy of it{_least(held.pickled_whole)} of "
            f"{size(held.pickled)} besides tensors, {who}: {size(processes * held.pickled)}."
        )
    return said + [_cache(cache, held, facts, processes, who) for cache in held.caches]


def _objects(held: HeldByDataset, processes: int, who: str) -> str:
    least = _least(held.complete)
    most = f", most of them {held.types[0].type}" if held.types and held.objects >= _MANY else ""
    text = (
        f"When its loader started, the dataset held{least} {held.objects:,} Python objects ({size(held.bytes)}{most})."
    )
    if not held.workers:
        return f"{text} There is no worker that could copy them."
    if held.start_method != "fork":
        return text
    text += f" Every worker copies them on write, as it reads them: {who}, up to {size(processes * held.bytes)}"
    text += " and more, as not all were counted." if not held.complete else "."
    if held.objects >= _MANY:
        text += " Arrays or tensors in the place of lists and dictionaries are not copied."
    return text


def _arrays(held: HeldByDataset, processes: int) -> str:
    text = f"Its tensors and arrays are{_least(held.complete)} {size(held.array_bytes)}"
    if held.workers and held.start_method == "fork":
        return f"{text}, which the workers of a rank share with it as long as nobody writes to them."
    return f"{text}."


def _least(whole: bool) -> str:
    return "" if whole else " at least"


def _cache(cache: OwnCache, held: HeldByDataset, facts: Facts, processes: int, who: str) -> str:
    there = f"{plural(cache.items, 'item')}" + (f", {size(cache.bytes)}" if cache.bytes is not None else "")
    limit = f", at most {cache.most:,}" if cache.most is not None else ""
    text = f"It has a cache of its own, {cache.name} ({cache.kind}, {there} when the loader started{limit})"
    if processes == 1:
        return f"{text}."
    text += f": each process that fetches fills one for itself, {who if held.workers else f'{processes} ranks'}"
    whole = _whole(cache, facts)
    if whole is not None:
        text += f", up to {processes} x {size(whole)} = {size(processes * whole)} where an item is a sample"
    return f"{text}. `hotlap.data.SampleCache` keeps samples once for the whole node."


def _whole(cache: OwnCache, facts: Facts) -> float | None:
    """Bytes of a full cache, if an item of it is a sample; None where samples or their number are not known."""
    items = [count for count in (facts.dataset.length, cache.most) if count is not None]
    if not items or facts.dataset.sample_bytes is None:
        return None
    return min(items) * facts.dataset.sample_bytes
