"""Which samples a cache should keep: simulated on the order in which they will be read.

never_evict   what comes first stays           c hits, of a share c that fits, where each sample is read once an epoch
lru           the one not read for longest goes           c + (1 - c) ln(1 - c) there: at half of the data 15 %
belady        the one read again latest goes, or is not kept at all: the best that there is, where the order is known
frequency     one read more often than the rarest takes its place

All sizes are those of the samples; an order is the keys in the order of their reading, over several epochs.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence

Key = Hashable
#: Of a budget in bytes, an order, and the size of each key: whether each reading finds its sample.
Policy = Callable[[float, Sequence[Key], Mapping[Key, float]], list[bool]]


def never_evict(budget: float, order: Sequence[Key], sizes: Mapping[Key, float]) -> list[bool]:
    kept: set[Key] = set()
    hits = []
    for key in order:
        hits.append(key in kept)
        if key not in kept and sizes[key] <= budget:
            kept.add(key)
            budget -= sizes[key]
    return hits


def lru(budget: float, order: Sequence[Key], sizes: Mapping[Key, float]) -> list[bool]:
    kept: OrderedDict[Key, None] = OrderedDict()
    hits = []
    for key in order:
        hits.append(key in kept)
        if key in kept:
            kept.move_to_end(key)
        elif sizes[key] <= budget + sum(sizes[each] for each in kept):
            while sizes[key] > budget:
                budget += sizes[kept.popitem(last=False)[0]]
            kept[key] = None
            budget -= sizes[key]
    return hits


def belady(budget: float, order: Sequence[Key], sizes: Mapping[Key, float]) -> list[bool]:
    """With bypass: what would be read again later than all that is kept is not stored."""
    later: dict[Key, deque[int]] = defaultdict(deque)
    for place, key in enumerate(order):
        later[key].append(place)
    kept: dict[Key, int] = {}
    #: (-next reading, key) of what is kept; entries of old readings are left in it and skipped.
    heap: list[tuple[float, int, Key]] = []
    hits = []
    for place, key in enumerate(order):
        later[key].popleft()
        again = later[key][0] if later[key] else None
        hits.append(key in kept)
        if key in kept:
            if again is None:
                budget += sizes[key]
                del kept[key]
            else:
                kept[key] = again
                heapq.heappush(heap, (-again, place, key))
            continue
        if again is None:
            continue
        out: list[tuple[float, int, Key]] = []
        room = budget
        while room < sizes[key] and heap:
            latest = heapq.heappop(heap)
            if kept.get(latest[2]) != -latest[0]:
                continue
            if -latest[0] <= again:
                heapq.heappush(heap, latest)
                break
            out.append(latest)
            room += sizes[latest[2]]
        if room < sizes[key]:
            for each in out:
                heapq.heappush(heap, each)
            continue
        for each in out:
            del kept[each[2]]
        budget = room - sizes[key]
        kept[key] = again
        heapq.heappush(heap, (-again, place, key))
    return hits


def frequency(budget: float, order: Sequence[Key], sizes: Mapping[Key, float]) -> list[bool]:
    """Where the order is not known: what was read more often before takes the place of what was read less often."""
    read: Counter[Key] = Counter()
    kept: set[Key] = set()
    #: (readings when it was put here, when that was, key); looked at again before it goes.
    heap: list[tuple[int, int, Key]] = []
    hits = []
    for place, key in enumerate(order):
        hits.append(key in kept)
        before = read[key]
        read[key] += 1
        if key in kept:
            continue
        out: list[tuple[int, int, Key]] = []
        room = budget
        while room < sizes[key] and heap and heap[0][0] < before:
            rarest = heapq.heappop(heap)
            if rarest[0] < read[rarest[2]]:
                heapq.heappush(heap, (read[rarest[2]], place, rarest[2]))
                continue
            out.append(rarest)
            room += sizes[rarest[2]]
        if room < sizes[key]:
            for each in out:
                heapq.heappush(heap, each)
            continue
        kept.difference_update(each[2] for each in out)
        budget = room - sizes[key]
        kept.add(key)
        heapq.heappush(heap, (read[key], place, key))
    return hits


POLICIES: dict[str, Policy] = {"never_evict": never_evict, "lru": lru, "belady": belady, "frequency": frequency}


def hit_rate(policy: Policy, budget: float, order: Sequence[Key], sizes: Mapping[Key, float], warm: int = 0) -> float:
    """Share of hits among the readings after the first ``warm``."""
    hits = policy(budget, order, sizes)[warm:]
    return sum(hits) / len(hits) if hits else math.nan


def lru_in_theory(share: float) -> float:
    """Hits of least recently used, where each sample is read once an epoch in an order drawn anew (after the first)."""
    return 1.0 if share >= 1 else share + (1 - share) * math.log(1 - share)
