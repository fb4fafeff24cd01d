"""Figures of the results that are kept, by the names that ``claims.yaml`` and ``symptoms.md.template`` use."""

from __future__ import annotations

import json
import re
from statistics import fmean
from typing import Any

import msgspec
from machine import RESULTS

from hotlap.diagnose.docs import anchor
from hotlap.diagnose.rules import everything
from hotlap.estimate.cards import find
from hotlap.records import Effect, Tuning, read_record
from hotlap.tune.statistics import effect

GIB = 2**30
#: The documents' figures: seconds of a step and of its forward pass, bytes of a sample, hours at 0.5 samples/s.
STEP, FORWARD, SAMPLE, HOURS = 3 / 0.5, 1.80528, 720 * 1280 * (3 + 3 + 32) * 4, 88.5


def effects() -> dict[str, dict[str, Effect]]:
    """What was measured of single levers (``apt``, ``vrt``, ``restoration``), and of whole tunings (``tuned``)."""
    demo = read_record(RESULTS / "demo.result.json", Tuning)
    assert demo.effect is not None
    whole = _result("apt")["results"]["whole"]["speedup"]
    return {
        "apt": _levers("apt"),
        "vrt": _levers("vrt_spike"),
        "restoration": {trial.change.id: trial.effect for trial in _levers_tried().trials if trial.effect is not None},
        "tuned": {"restoration": demo.effect, "APT": msgspec.convert(whole, Effect)},
    }


def figures() -> dict[str, dict[str, str]]:
    """Every figure as the page writes it, by group and name."""
    skipped = _levers_tried().skipped
    return {
        **{group: {name: _ratio(it) for name, it in found.items()} for group, found in effects().items()},
        "bounds": {it.change.id: f"{it.change.bound:.3f}" for it in skipped if it.change.bound is not None},
        "planted": {name: f"{it['right']} of {len(it['runs'])}" for name, it in _result("planted")["results"].items()},
        "cards": {"all": ", ".join(f"{name} {_gib(find(name).memory or 0)} GiB" for name in _CARDS)},
        "memory": _memory(),
        "estimates": _errors(),
        "apt_whole": _apt(),
        "learnt": _learnt(),
        "preset": _presets(),
        "tokens": {row["way"]: _times(row) for row in _result("data/tokens")["rows"]},
        "warm": {f"{_share(it['share'])}, {it['way']}": _times(it) for it in _result("data/warm_epoch")["rows"]},
        "finding": {it.code: f"[{it.code}](findings.md#{anchor(f'{it.code} {it.title}')})" for it in everything()},
        **_false_alarms(),
        **_cache(),
        **_derived(),
    }


def _levers_tried() -> Tuning:
    """A tuning of the restoration training on the machine of ``vrt_spike.json``."""
    return read_record(RESULTS / "restoration_levers.result.json", Tuning)


_CARDS = ("RTX 4090", "RTX 4080", "RTX 4070", "GTX 1080")


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _levers(of: str) -> dict[str, Effect]:
    """The levers in the journal of a benchmark, which has them before its page does."""
    found = {}
    for line in (RESULTS / of / "journal.jsonl").read_text().splitlines():
        entry = json.loads(line)
        name = re.fullmatch(r"lever (.+?) \{.*\} \d+", entry["key"])
        if name and not entry["value"]["failed"]:
            found[name[1]] = effect(entry["value"]["pairs"], 0.95)
    return found


def _learnt() -> dict[str, str]:
    """PSNR of VRT-Spike's whole trainings, of each seed."""
    found: dict[str, list[str]] = {}
    for line in (RESULTS / "vrt_spike" / "journal.jsonl").read_text().splitlines():
        entry = json.loads(line)
        name = re.fullmatch(r"whole (.+) \d+ \d+", entry["key"])
        if name:
            found.setdefault(name[1], []).append(f"{entry['value']['psnr']:.2f}")
    # A name in the page's texts has no brackets and no colon.
    short = {name.partition(":")[0]: values for name, values in found.items() if not name.startswith("crops")}
    short["progressive"] = found["crops of 24 pixels for 6 of 15 epochs, then 48"]
    return {name: ", ".join(values) for name, values in short.items()}


def _presets() -> dict[str, str]:
    """PSNR of VRT-Spike's configurations for other needs, at a size for a CPU."""
    return {row["name"]: f"{row['runs'][0]['psnr']:.2f}" for row in _result("vrt_spike")["results"]["presets"]}


def _memory() -> dict[str, str]:
    counted = _result("estimate/account")["estimates"]

    def of(network: str, batch: int, checkpointing: str, bits: int = 32) -> Any:
        return counted[f"{network}, 128, {batch}, float32, {checkpointing}"][f"{bits} bits"]

    def kept(network: str, checkpointing: str) -> float:
        return float(of(network, 1, checkpointing)["categories"]["activation"])

    return {
        "parameters": f"{counted['published, 128, 1, float32, off']['parameters'] / 1e6:.1f}",
        "parameters of 12 GB": f"{12e9 / 8 / 1e9:.1f}",
        "state": _gib(of("published", 1, "off")["state"]),
        "state in 8 bits": _gib(of("published", 1, "off", 8)["state"]),
        "kept": _gib(kept("published", "off")),
        "kept, checkpointed": _gib(kept("published", "both")),
        "left": _percent(kept("published", "both") / kept("published", "off"), 0),
        "documents: kept": _gib(kept("documents", "off")),
        "documents: kept, checkpointed": _gib(kept("documents", "both")),
        "documents: now": _gib(of("documents", 1, "off")["reserved"]),
        "documents: attention": _gib(of("documents", 1, "attention")["reserved"]),
        "best": _gib(of("published", 3, "off", 8)["reserved"]),
        "three samples, checkpointed": _gib(of("published", 3, "both")["reserved"]),
    }


def _errors() -> dict[str, str]:
    """How far estimates of memory were from the real peaks."""
    known = _result("estimate/memory")
    return {
        "trainings": str(len(known["trainings"])),
        "median": _percent(known["median_error"], 0),
        "worst": _percent(known["worst_error"], 0),
    }


def _apt() -> dict[str, str]:
    whole = _result("apt")["results"]["whole"]

    def mean(which: str, field: str) -> float:
        return fmean(pair[which][field] for pair in whole["pairs"])

    def span(which: str) -> str:
        seconds = [pair[which]["seconds"] for pair in whole["pairs"]]
        return f"{min(seconds):.0f} to {max(seconds):.0f} s"

    step = mean("baseline", "seconds") / mean("baseline", "step")
    wait = mean("baseline", "data_time_ms") / 1000
    return {
        "before": span("baseline"),
        "after": span("tuned"),
        "adopted": ", ".join(f"`{change}`" for change in whole["tuning"]["adopted"]),
        "right before": _percent(mean("baseline", "training_exact_match"), 1),
        "right after": _percent(mean("tuned", "training_exact_match"), 1),
        "held out before": _percent(mean("baseline", "exact_match"), 1),
        "held out after": _percent(mean("tuned", "exact_match"), 1),
        "wait": f"{wait * 1000:.1f}",
        "step": f"{step * 1000:.0f}",
        "share": _percent(wait / step, 2),
        "bound": f"{_bound(wait / step):.3f}",
    }


def _false_alarms() -> dict[str, dict[str, str]]:
    identical, noises = _result("identical"), _result("false_alarms")["noises"]
    return {
        "identical": {
            "times": str(identical["times"]),
            "faster": str(identical["called_faster"]),
            "slower": str(identical["called_slower"]),
        },
        "noise": {
            "tunings": str(sum(noise["tunings"] for noise in noises)),
            "claims": str(sum(noise["false_claims"] for noise in noises)),
        },
    }


def _cache() -> dict[str, dict[str, str]]:
    half = next(row for row in _result("data/hit_rates")["rows"] if row["share"] == 0.5)
    small = {row["share"]: row for row in _result("data/spike_case")["rows"] if row["way"] == "SampleCache"}
    return {
        "hits": {
            "ours": _percent(fmean(half["third_epoch"]), 1),
            "one LRU": _percent(fmean(half["lru_in_one_worker"]), 1),
            "formula": _percent(half["lru_formula"], 1),
            "LRU in each worker": _percent(fmean(half["lru_in_each_worker"]), 1),
            "at 17": _percent(fmean(small[0.17]["hit_rates"]), 1),
        },
        "epoch": {_share(share): _times(row) for share, row in small.items()},
    }


def _derived() -> dict[str, dict[str, str]]:
    """What follows from the documents' own figures."""
    samples = HOURS * 3600 * 0.5
    return {
        "step": {
            "seconds": f"{STEP:.1f}",
            "least": f"{3 / 0.55:.2f}",
            "most": f"{3 / 0.45:.2f}",
            "total": f"{1805.28 + 1799.99 + 5.26:.2f}",
            "forward": _percent(FORWARD / STEP, 0),
            "without forward": f"{_bound(FORWARD / STEP):.2f}",
        },
        "hours": {
            "samples": f"{samples:,.0f}",
            "then": f"{samples / 3.6 / 3600:.1f}",
            "by throughput": f"{3.6 / 0.5:.1f}",
            "by hours": f"{HOURS / 7.0:.1f}",
        },
        "stages": {
            "stage 8": _percent(586.90 / 1789.72, 1),
            "stage 2": _percent(271.33 / 1789.72, 1),
            "stage 1": _percent(154.02 / 1789.72, 1),
            "8 of the step": _percent(0.5869 / STEP, 1),
            "halved": f"{_bound(0.5869 / 2 / STEP):.2f}",
        },
        "frames": {
            "MiB": f"{SAMPLE / 2**20:.2f}",
            "GiB": f"{SAMPLE * 2222 / GIB:.1f}",
            "MB": f"{SAMPLE / 1e6:.2f}",
            "GB": f"{SAMPLE * 2222 / 1e9:.1f}",
            "caches": f"{36 * 3 * 50:,}",
        },
        "wait": {"of 6 s": _percent(0.01 / STEP, 2), "bound": f"{_bound(0.01 / STEP):.3f}"},
    }


def _bound(share: float) -> float:
    return 1 / (1 - share)


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"


def _ratio(found: Effect) -> str:
    return f"{found.ratio:.2f}x [{found.low:.2f}, {found.high:.2f}], {found.n} pairs"


def _times(row: dict[str, Any]) -> str:
    """The median and interval of how many times as fast a way of the data side is."""
    middle, low, high = row["times_as_fast"][:3]
    return f"{middle:.2f}x [{low:.2f}, {high:.2f}]"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _gib(size: float) -> str:
    return f"{size / GIB:.3g}"
