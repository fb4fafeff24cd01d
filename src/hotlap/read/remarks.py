"""Lines that come once or seldom: settings, caches, evaluations, warnings, the end of a training.

[train] Gradient accumulation steps: 6          settings: batch size, ranks, accumulation
Cache hit rate: 45.2% (4520 hits / 5480 misses)
{"step":0,"batch_size":4,...}                   the same, of hotlap train
step 3000: train loss 4.0390, val loss 4.0427   evaluations
{'train_runtime': 2219.0, 'train_samples_per_second': 1.474, ...}
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hotlap.read.numbers import COUNT, LOOSE, count, number
from hotlap.read.points import Points
from hotlap.records import CacheUse

_GB, _MB = 2.0**30, 2.0**20
#: Settings by their names in the lines and the configuration of ``hotlap train``.
OWN_SETTINGS = {
    "batch": "batch_size",
    "accumulation": "accumulation_steps",
    "world": "ranks",
    "total steps": "total_steps",
}
#: Different warnings that are kept.
_ALARMS = 5


class Remarks:
    def __init__(self) -> None:
        self.settings: dict[str, tuple[int, str]] = {}
        self.cache: dict[str, float] = {}
        self.hit_rate = Points("")
        self.evaluations = 0
        self.evaluated_at: list[float] = []
        self.quality: dict[str, Points] = {}
        self.alarms: dict[str, str] = {}
        self.nan_steps = Points("")
        self.runtime: dict[str, float] = {}
        self.searched: list[tuple[int, float, float]] = []
        #: Whether the training says itself that its data time holds the wait.
        self.says_wait = False
        self.lines = 0

    def feed(self, text: bytes) -> bytes:
        """Take what is understood, and return the text as it is: these lines are few."""
        for keys, pattern, take in _KINDS:
            if any(key in text for key in keys):
                for match in pattern.finditer(text):
                    self.lines += 1
                    take(self, match)
        return text

    def cache_use(self) -> CacheUse | None:
        if not self.cache:
            return None
        known = self.cache
        hits, misses = known.get("hits"), known.get("misses")
        # Printed shares are rounded; the counts are not.
        rate = hits / (hits + misses) if hits is not None and misses is not None and hits + misses > 0 else None
        return CacheUse(
            hits=_whole(hits),
            misses=_whole(misses),
            hit_rate=rate if rate is not None else known.get("rate"),
            items=_whole(known.get("items")),
            bytes=known.get("bytes"),
            limit=known.get("limit"),
            preloaded=_whole(known.get("preloaded")),
        )


def _setting(name: str) -> Callable[[Remarks, re.Match[bytes]], None]:
    def take(remarks: Remarks, match: re.Match[bytes]) -> None:
        value = count(match[1])
        if value:
            remarks.settings.setdefault(name, (value, match[0].decode(errors="replace").strip()))

    return take


def _began(remarks: Remarks, match: re.Match[bytes]) -> None:
    """Where a training goes on with other settings, the last count."""
    for name, key in OWN_SETTINGS.items():
        value = count(match[key] or b"")
        if value:
            remarks.settings[name] = value, f"{key}, at the start"


def _cached(**factors: float) -> Callable[[Remarks, re.Match[bytes]], None]:
    def take(remarks: Remarks, match: re.Match[bytes]) -> None:
        found = {name: number(match[name] or b"") for name in factors}
        remarks.cache.update({name: value * factors[name] for name, value in found.items() if value is not None})
        if "hits" in remarks.cache and remarks.cache.get("hits", 0) + remarks.cache.get("misses", 0) > 0:
            hits = remarks.cache["hits"]
            remarks.hit_rate.extend([float(remarks.lines)], [hits / (hits + remarks.cache.get("misses", 0.0))])

    return take


def _of_all(remarks: Remarks, match: re.Match[bytes]) -> None:
    hits, everything = number(match[1]), number(match[2])
    if hits is not None and everything:
        remarks.cache |= {"hits": hits, "misses": everything - hits}
    for name, group in (("bytes", 3), ("limit", 4)):
        size = number(match[group] or b"")
        if size is not None:
            remarks.cache[name] = size * _GB


def _evaluation(remarks: Remarks, match: re.Match[bytes]) -> None:
    step = count(match[1])
    if step is None:
        return
    # Each rank may say it.
    if step in remarks.evaluated_at[-64:]:
        return
    remarks.evaluations += 1
    remarks.evaluated_at.append(float(step))
    del remarks.evaluated_at[:-4096]
    for name, text in re.findall(rb"([A-Za-z_][\w ]*?)[= ](" + LOOSE + rb")(?=[\s,|]|$)", match[2]):
        value = number(text)
        if value is not None and len(remarks.quality) < 32:
            points = remarks.quality.setdefault(name.decode(errors="replace").strip().removeprefix("val_"), Points(""))
            points.extend([float(step)], [value])


def _validation(remarks: Remarks, match: re.Match[bytes]) -> None:
    remarks.evaluations += 1
    for name, text in re.findall(rb'"val_(\w+)": ?(' + LOOSE + rb")(?=[,}])", match[2]):
        value = number(text)
        if value is not None and len(remarks.quality) < 32:
            remarks.quality.setdefault(name.decode(), Points("")).extend([float(match[1])], [value])


def _alarm(remarks: Remarks, match: re.Match[bytes]) -> None:
    said = match[1].decode(errors="replace").strip()
    if len(remarks.alarms) < _ALARMS:
        # The same warning with other figures is the same.
        remarks.alarms.setdefault(re.sub(r"[\d.]+", "#", said), said)


def _nan(remarks: Remarks, match: re.Match[bytes]) -> None:
    step = count(match[1])
    if step is not None:
        remarks.nan_steps.extend([float(step)], [1.0])


def _ended(remarks: Remarks, match: re.Match[bytes]) -> None:
    for name, text in re.findall(rb"'(\w+)': '?(" + LOOSE + rb")'?(?=[,}])", match[0]):
        value = number(text)
        if value is not None:
            remarks.runtime[name.decode()] = value


def _searched(remarks: Remarks, match: re.Match[bytes]) -> None:
    size, use, rate = count(match[1]), number(match[2]), number(match[3])
    if size and use is not None and rate is not None and len(remarks.searched) < 1000:
        remarks.searched.append((size, use / 100, rate))


def _says_wait(remarks: Remarks, match: re.Match[bytes]) -> None:
    remarks.says_wait = True


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.MULTILINE)


_HITS = rb"(?P<hits>" + COUNT + rb") hits / (?P<misses>" + COUNT + rb") misses"
#: What stands in such lines, how they look, and what is made of them.
_KINDS: tuple[tuple[tuple[bytes, ...], re.Pattern[bytes], Callable[[Remarks, re.Match[bytes]], None]], ...] = (
    (
        (b"ccumulation",),
        _compiled(rb"(?i)^[^\n]{0,200}?gradient[ _]accumulation[ _]steps\s*[:=]\s*(\d+)(?=[\s,]|$)"),
        _setting("accumulation"),
    ),
    (
        (b"otal train batch size",),
        _compiled(rb"^[^\n]{0,200}?Total train batch size [^\n=]{0,80}= ?(" + COUNT + rb")(?=\s|$)"),
        _setting("global batch"),
    ),
    (
        (b"batch_size", b"atch size per", b"BATCH_SIZE"),
        _compiled(
            rb"(?i)^[^\n]{0,200}?(?<!train_)(?<!val_)(?<!eval_)(?<!test_)\b(?:instantaneous )?batch[_ ]size"
            rb"(?: per (?:gpu|device))?\s*[:=]\s*(\d+)(?=[\s,(]|$)"
        ),
        _setting("batch"),
    ),
    (
        (b"world_size", b"World size", b"world size", b"WORLD_SIZE"),
        _compiled(rb"(?i)^[^\n]{0,200}?\bworld[_ ]size\s*[:=]\s*(\d+)(?=[\s,)]|$)"),
        _setting("world"),
    ),
    (
        (b'"accumulation_steps"',),
        _compiled(
            rb'^\{"step": ?0, ?"batch_size": ?(?P<batch_size>\d+), ?'
            rb'"accumulation_steps": ?(?P<accumulation_steps>\d+), ?'
            rb'"ranks": ?(?P<ranks>\d+), ?"total_steps": ?(?P<total_steps>\d+)\}'
        ),
        _began,
    ),
    (
        (b"a step: batch_size ",),
        _compiled(
            rb"^a step: batch_size (?P<batch_size>\d+), accumulation_steps (?P<accumulation_steps>\d+), "
            rb"ranks (?P<ranks>\d+); total_steps (?P<total_steps>\d+)$"
        ),
        _began,
    ),
    (
        (b"EPOCHS mode",),
        _compiled(rb"^[^\n]{0,200}?EPOCHS mode: \d+ epochs \S+ \d+ steps/epoch = (\d+) total steps"),
        _setting("total steps"),
    ),
    (
        (b"Cache Stats",),
        _compiled(
            rb"Cache Stats:[^\n]*(?:\n[^\n]*?- Size: (?P<items>\d+) items)?"
            rb"(?:\n[^\n]*?- Memory: (?P<bytes>" + LOOSE + rb") / (?P<limit>" + LOOSE + rb") MB)?"
            rb"(?:\n[^\n]*?- Hit Rate: [\d.]+% \((?P<hits>"
            + COUNT
            + rb") hits / (?P<misses>"
            + COUNT
            + rb") misses\))?"
        ),
        _cached(items=1, bytes=_MB, limit=_MB, hits=1, misses=1),
    ),
    (
        (b"ache hit rate",),
        _compiled(rb"[Cc]ache hit rate: (?P<rate>" + LOOSE + rb")% \(" + _HITS + rb"\)"),
        _cached(rate=0.01, hits=1, misses=1),
    ),
    (
        (b"Cache stats: hits=",),
        _compiled(rb"Cache stats: hits=(\d+)/(\d+) \([\d.]+%\)(?:, size=(" + LOOSE + rb")GB/(" + LOOSE + rb")GB)?"),
        _of_all,
    ),
    (
        (b"Cache preloaded:",),
        _compiled(rb"Cache preloaded: (?P<preloaded>\d+) items, " + LOOSE + rb"GB / (?P<limit>" + LOOSE + rb")GB"),
        _cached(preloaded=1, limit=_GB),
    ),
    ((b"[val] step",), _compiled(rb"\[val\] step (\d+) \| ([^\n]*)"), _evaluation),
    ((b'"val_',), _compiled(rb'^\{"step": ?(\d+), ?("val_[^\n]*\})'), _validation),
    ((b"  val_",), _compiled(rb"(?<!\w)step (\d+)/\d+  (val_[^\n]*?)  \d+ s left"), _evaluation),
    ((b": train loss ",), _compiled(rb"(?<!\w)step (\d+): (train loss [^\n]*)"), _evaluation),
    ((b"PSNR=",), _compiled(rb"(?<!\w)Epoch (\d+): (PSNR=[^\n]*)"), _evaluation),
    (
        (b"Memory Ceiling", b"critically high"),
        _compiled(rb"^[^\n]{0,40}?((?:WARNING: System memory|\[Memory Ceiling\])[^\n]*)"),
        _alarm,
    ),
    ((b"NaN/Inf detected",), _compiled(rb"Step (\d+): NaN/Inf detected"), _nan),
    (
        (b"no longer a finite number from step",),
        _compiled(rb"loss is no longer a finite number from step (\d+) on"),
        _nan,
    ),
    ((b"'train_runtime'",), _compiled(rb"\{'train_runtime': [^\n}]*\}"), _ended),
    (
        (b"GPU util",),
        _compiled(
            rb"Batch size (\d+): GPU util (" + LOOSE + rb")%, throughput (" + LOOSE + rb") samples/sec(?=[,\s]|$)"
        ),
        _searched,
    ),
    ((b"data_time is the wait",), _compiled(rb"\[train\] data_time is the wait for the loader[^\n]*"), _says_wait),
)
