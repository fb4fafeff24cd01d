"""Which samples a cache should keep: simulated on the order in which they will be read.

never_evict   what comes first stays           c hits, of a share c that fits, where each sample is read once an epoch
fifo          the one stored first goes              as little there; all but the first reading where readings of one
lru           the one not read for longest goes      come close together    (lru: c + (1 - c) ln(1 - c) once an epoch)
belady        the one read again latest goes, or is not kept at all: the best that there is, where the order is known
frequency     one read more often than the rarest takes its place

All sizes are those of the samples; an order is the keys in the order of their reading, over several epochs.
"""

from __future__ import annotations

import heapq
import itertools
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
    return _oldest_goes(budget, order, sizes, renewed=True)


def fifo(budget: float, order: Sequence[Key], sizes: Mapping[Key, float]) -> list[bool]:
    return _oldest_goes(budget, order, sizes, renewed=False)


def _oldest_goes(budget: float, order: Sequence[Key], sizes: Mapping[Key, float], *, renewed: bool) -> list[bool]:
    """A sample is as old as its storing, or, ``renewed``, as its last reading."""
    kept: OrderedDict[Key, None] = OrderedDict()
    room, hits = budget, []
    for key in order:
        hits.append(key in kept)
        if key in kept:
            if renewed:
                kept.move_to_end(key)
        elif sizes[key] <= budget:
            while sizes[key] > room:
                room += sizes[kept.popitem(last=False)[0]]
            kept[key] = None
            room -= sizes[key]
    return hits


class _Ranked:
    """What is kept, by rank: the lowest goes, where one of a higher rank wants its room."""

    def __init__(self, budget: float, sizes: Mapping[Key, float]) -> None:
        self._budget, self._room, self._sizes = budget, budget, sizes
        self._ranks: dict[Key, float] = {}
        #: (rank, when it was given, key); where that is no longer the rank of the key, it is skipped.
        self._heap: list[tuple[float, int, Key]] = []
        self._given = itertools.count()

    def __contains__(self, key: Key) -> bool:
        return key in self._ranks

    def rank(self, key: Key, rank: float) -> None:
        self._ranks[key] = rank
        heapq.heappush(self._heap, (rank, next(self._given), key))

    def drop(self, key: Key) -> None:
        del self._ranks[key]
        self._room += self._sizes[key]

    def offer(self, key: Key, rank: float, above: float) -> None:
        """Keep it, if those whose rank is below ``above`` leave it enough room."""
        size, room = self._sizes[key], self._room
        if size > self._budget:
            return
        out: list[tuple[float, int, Key]] = []
        while room < size and self._heap and self._heap[0][0] < above:
            lowest = heapq.heappop(self._heap)
            if self._ranks.get(lowest[2]) == lowest[0]:
                out.append(lowest)
                room += self._sizes[lowest[2]]
        if room < size:
            for each in out:
                heapq.heappush(self._heap, each)
            return
        for each in out:
            del self._ranks[each[2]]
        self._room = room - size
        self.rank(key, rank)


def belady(budget: float, order: Sequence[Key], sizes: Mapping[Key, float]) -> list[bool]:
    """With bypass: what would be read again later than all that is kept is not stored."""
    later: dict[Key, deque[int]] = defaultdict(deque)
    for place, key in enumerate(order):
        later[key].append(place)
    kept = _Ranked(budget, sizes)
    hits = []
    for key in order:
        hits.append(key in kept)
        later[key].popleft()
        again = later[key][0] if later[key] else None
        if key in kept:
            if again is None:
                kept.drop(key)
            else:
                kept.rank(key, -again)
        elif again is not None:
            kept.offer(key, -again, above=-again)
    return hits


def frequency(budget: float, order: Sequence[Key], sizes: Mapping[Key, float]) -> list[bool]:
    """Where the order is not known: what was read more often before takes the place of what was read less often."""
    read: Counter[Key] = Counter()
    kept = _Ranked(budget, sizes)
    hits = []
    for key in order:
        hits.append(key in kept)
        before = read[key]
        read[key] += 1
        if key in kept:
            kept.rank(key, read[key])
        else:
            kept.offer(key, read[key], above=before)
    return hits


POLICIES: dict[str, Policy] = {
    "never_evict": never_evict,
    "fifo": fifo,
    "lru": lru,
    "belady": belady,
    "frequency": frequency,
}


def hit_rate(policy: Policy, budget: float, order: Sequence[Key], sizes: Mapping[Key, float], warm: int = 0) -> float:
    """Share of hits among the readings after the first ``warm``."""
    hits = policy(budget, order, sizes)[warm:]
    return sum(hits) / len(hits) if hits else math.nan


def lru_in_theory(share: float) -> float:
    """Hits of least recently used, where each sample is read once an epoch in an order drawn anew (after the first)."""
    return 1.0 if share >= 1 else share + (1 - share) * math.log(1 - share)
