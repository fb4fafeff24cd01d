"""The checklist after a training: one verdict a line, with its evidence.

    output_dir/{config.json, log.jsonl, checkpoint.pt} -> [Check]

A line for which nothing was recorded, or nothing was asked, is n/a: never ok.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

import msgspec
import torch

from hotlap.errors import ConfigError, RunError, did_you_mean
from hotlap.train.config.goals import DATA_SHARE, GOALS, HIT_RATE, THROUGHPUT
from hotlap.train.health import Health
from hotlap.workloads import LESS_IS_BETTER

#: Losses, and looks at the machine, without which nothing can be said of their course.
_LEAST_LOSSES, _LEAST_LOOKS = 16, 5
#: Looks of which the memory's trend is taken.
_LAST_LOOKS = 20


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    verdict: Literal["ok", "failed", "n/a"]
    evidence: str


def verify(folder: Path) -> list[Check]:
    """Check a training by what it left in its ``output_dir``.

    Raises ``RunError`` where that is no training's, ``ConfigError`` for a goal that does not exist.
    """
    config, lines = _read(folder)
    looks = [msgspec.convert(line["health"], Health) for line in lines if "health" in line]
    losses = _losses(lines)
    validations = [line for line in lines if any(key.startswith("val_") for key in line)]
    goals = GOALS | config["goals"]
    metrics = {key.removeprefix("val_") for line in validations for key in line if key.startswith("val_")}
    if not metrics:  # which there are, nobody knows then
        metrics = config["goals"].keys() - {*GOALS, THROUGHPUT, HIT_RATE}
    known = {*GOALS, THROUGHPUT, HIT_RATE, *metrics}
    for name in config["goals"]:
        if name not in known:
            raise ConfigError(
                f"goals: there is no {name!r} to check{did_you_mean(name, known)}: take it out, or name one of "
                f"{', '.join(sorted(known))}"
            )
    rates = [line["samples_per_second"] for line in lines if "samples_per_second" in line]
    return [
        _finished(lines),
        _finite(lines),
        _converged(losses, goals["loss_change"]),
        _learnt(lines),
        *_quality(validations, metrics, config["goals"]),
        _checkpoint(folder, lines, config.get("log_every", 1)),
        _throughput(rates, config["goals"].get(THROUGHPUT)),
        _data_time(looks, goals["data_time_ms"], asked="data_time_ms" in config["goals"]),
        _hit_rate(looks, config["goals"].get(HIT_RATE)),
        _gpu_utilization(looks, goals["gpu_utilization"]),
        _gpu_memory(looks, goals["gpu_memory"]),
        _leak(looks, goals["memory_growth"]),
        _cpu(looks, goals["cpu"]),
        _below("disk", looks, lambda look: look.disk_wait, goals["disk_wait"], "% of the processors waited for it"),
    ]


def describe(checks: list[Check]) -> str:
    """The list for people, and what it comes to."""
    width = max(len(check.name) for check in checks)
    marks = {"ok": "ok    ", "failed": "FAILED", "n/a": "n/a   "}
    lines = [f"{marks[check.verdict]}  {check.name:<{width}}  {check.evidence}" for check in checks]
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in marks}
    return "\n".join([*lines, "", f"{counts['ok']} ok, {counts['failed']} failed, {counts['n/a']} n/a"])


def _read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        config: dict[str, Any] = msgspec.json.decode((folder / "config.json").read_bytes())
        text = (folder / "log.jsonl").read_bytes()
    except (OSError, msgspec.DecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{folder} holds no training of `hotlap train` ({reason}): give the output_dir of one, which has "
            "config.json and log.jsonl"
        ) from None
    lines = []
    for line in text.splitlines():
        try:
            lines.append(msgspec.json.decode(line))
        except msgspec.DecodeError:
            break  # cut off where the training was
    if not lines:
        raise RunError(f"{folder / 'log.jsonl'} is empty: the training ended before its first line")
    return config, lines


def _check(name: str, good: bool, evidence: str) -> Check:
    return Check(name=name, verdict="ok" if good else "failed", evidence=evidence)


def _unknown(name: str, why: str) -> Check:
    return Check(name=name, verdict="n/a", evidence=why)


def _finished(lines: list[dict[str, Any]]) -> Check:
    finished = any(line.get("finished") for line in lines)
    return _check("finished", finished, f"{'the end is' if finished else 'no end'} logged, step {lines[-1]['step']}")


def _finite(lines: list[dict[str, Any]]) -> Check:
    # msgspec writes what is no number as null.
    bad = [
        (line["step"], key)
        for line in lines
        for key, value in line.items()
        if key != "health" and (value is None or not math.isfinite(value))
    ]
    if bad:
        return _check("no NaN or Inf", False, f"{bad[0][1]} is none from step {bad[0][0]} on")
    return _check("no NaN or Inf", True, f"{len(lines)} lines of the log")


def _converged(losses: list[float | None], most: float) -> Check:
    name = "loss converged"
    known = [loss for loss in losses if loss is not None]
    if len(known) < _LEAST_LOSSES:
        return _unknown(name, f"the log has {len(known)} losses, and {_LEAST_LOSSES} are needed")
    part = len(known) // 8
    first, before, last = median(known[:part]), median(known[-2 * part : -part]), median(known[-part:])
    change = 100 * (before - last) / abs(before) if before else 0.0
    evidence = f"{first:.4g} at first, {before:.4g} and {last:.4g} in the last two eighths ({-change:+.1f} %)"
    return _check(name, last < first and abs(change) <= most, evidence)


def _losses(lines: list[dict[str, Any]]) -> list[float | None]:
    """Of lines with the same parts: a part that is there in one step of several makes the sum another."""
    known = [line for line in lines if "loss" in line]
    parts = Counter(frozenset(line) for line in known if line["loss"] is not None)
    usual = parts.most_common(1)[0][0] if parts else frozenset()
    return [line["loss"] for line in known if line["loss"] is None or frozenset(line) == usual]


def _learnt(lines: list[dict[str, Any]]) -> Check:
    """Whether the first metric is better in the end than without learning."""
    name, last = "better than not learning", lines[-1]
    simple = [(key.removeprefix("simple_"), value) for key, value in last.items() if key.startswith("simple_")]
    if not simple:
        return _unknown(name, "the log does not say what the method without learning reaches")
    metric, least = simple[0]
    values = [line[f"val_{metric}"] for line in lines if line.get(f"val_{metric}") is not None]
    if not values:
        return _unknown(name, f"no {metric} was logged")
    good = values[-1] < least if metric in LESS_IS_BETTER else values[-1] > least
    return _check(name, good, f"{metric} {values[-1]:.4g} in the end, {least:.4g} without")


def _quality(validations: list[dict[str, Any]], metrics: set[str], goals: dict[str, float]) -> Iterator[Check]:
    if not metrics:
        yield _unknown("quality", "no validation was logged")
    for metric in sorted(metrics):
        values = [line[f"val_{metric}"] for line in validations if line.get(f"val_{metric}") is not None]
        if metric not in goals:
            yield _unknown(metric, f"{values[-1]:.4g} in the end; goals names none" if values else "none was logged")
        elif not values:
            yield _check(metric, False, f"none was logged, and {goals[metric]:g} is asked")
        else:
            good = values[-1] <= goals[metric] if metric in LESS_IS_BETTER else values[-1] >= goals[metric]
            yield _check(metric, good, f"{values[-1]:.4g}, and {goals[metric]:g} is asked")


def _checkpoint(folder: Path, lines: list[dict[str, Any]], log_every: int) -> Check:
    name, path = "checkpoint loads", folder / "checkpoint.pt"
    if not path.exists():
        return _check(name, False, "there is no checkpoint.pt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        step, weights = content["progress"]["step"], content["model"]
    except Exception as error:  # whatever a broken file does to its reader
        said = (str(error).splitlines() or [type(error).__name__])[0]
        return _check(name, False, f"checkpoint.pt is cut off, or none of this trainer ({said})")
    end = max(line["step"] for line in lines)
    if step > end + log_every:  # a checkpoint may be of a step between two lines
        return _check(name, False, f"it is of step {step}, and the log ends at {end}: of another training")
    broken = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        return _check(name, False, f"{broken[0]} is not finite in it")
    return _check(name, True, f"step {step} of {lines[-1]['step']} logged, {len(weights)} tensors, all finite")


def _throughput(rates: list[float], least: float | None) -> Check:
    name = "throughput"
    if not rates:
        return _unknown(name, "none was logged")
    rate = median(rates)
    if least is None:
        return _unknown(name, f"{rate:.1f} samples/s; goals names none")
    return _check(name, rate >= least, f"{rate:.1f} samples/s, and {least:g} are asked")


def _below(name: str, looks: list[Health], figure: Callable[[Health], float | None], most: float, unit: str) -> Check:
    values = [value for look in looks if (value := figure(look)) is not None]
    if not values:
        return _unknown(name, "nothing was recorded: health_every is 0, or this system does not tell")
    return _check(name, mean(values) <= most, f"{mean(values):.1f} {unit}, at most {max(values):.1f}; {most:g} may be")


def _data_time(looks: list[Health], most: float, *, asked: bool) -> Check:
    """Where nobody asked for so many milliseconds, a small share of a long step will do."""
    found = _below("data time", looks, lambda look: look.data_time_ms, most, "ms of a step")
    if found.verdict == "n/a":
        return found
    share = 100 * mean(look.data_time_ms for look in looks) / mean(look.step_ms for look in looks)
    good = found.verdict == "ok" or (share <= DATA_SHARE and not asked)
    or_share = "" if asked else f", or {DATA_SHARE:g} % of a step: it is {share:.1f} %"
    return _check(found.name, good, f"{found.evidence}{or_share}")


def _asked(look: Health) -> int:
    return int(look.cache_hits or 0) + int(look.cache_misses or 0)


def _hit_rate(looks: list[Health], least: float | None) -> Check:
    """After the first look, which is the cache's filling, where there are others."""
    name = "cache hit rate"
    known: list[Health] = []
    for look in looks:
        if look.hit_rate is not None:
            # After a resume it is counted from 0 again.
            resumed = bool(known) and _asked(look) < _asked(known[-1])
            known = [look] if resumed else [*known, look]
    if not known:
        return _unknown(name, "nothing was asked of a cache: there is none, or its looks were not recorded")
    first, last = known[0], known[-1]
    hits, misses = (int(getattr(last, each) or 0) for each in ("cache_hits", "cache_misses"))
    if len(known) > 1:
        hits, misses = hits - int(first.cache_hits or 0), misses - int(first.cache_misses or 0)
    rate = 100 * hits / max(hits + misses, 1)
    held = f"{int(last.cache_bytes or 0) / 2**20:.0f} of {int(last.cache_budget or 0) / 2**20:.0f} MiB"
    evidence = f"{rate:.1f} % ({hits} hits, {misses} misses; {held})"
    if least is None:
        return _unknown(name, f"{evidence}; goals names none")
    return _check(name, rate >= least, f"{evidence}, and {least:g} are asked")


def _cpu(looks: list[Health], most: float) -> Check:
    if looks and looks[-1].gpu_total is None:
        return _unknown(
            "CPU", f"{mean(look.cpu for look in looks):.0f} % of all cores; the training itself computes on them"
        )
    return _below("CPU", looks, lambda look: look.cpu, most, "% of all cores")


def _gpu_utilization(looks: list[Health], least: float) -> Check:
    name = "GPU utilization"
    values = [look.gpu_utilization for look in looks if look.gpu_utilization is not None]
    if not values:
        return _unknown(name, "no GPU computed, or its driver does not tell")
    return _check(name, mean(values) >= least, f"{mean(values):.0f} %, and {least:g} are asked")


def _gpu_memory(looks: list[Health], most: float) -> Check:
    name = "GPU memory"
    known = [(look.gpu_peak, look.gpu_total) for look in looks if look.gpu_peak is not None and look.gpu_total]
    if not known:
        return _unknown(name, "no GPU computed")
    peak, total = max(known)
    share = 100 * peak / total
    return _check(
        name, share <= most, f"{peak / 2**30:.1f} of {total / 2**30:.1f} GiB ({share:.0f} %); {most:g} may be"
    )


def _leak(looks: list[Health], most: float) -> Check:
    """By Theil and Sen: the median of the slopes between all pairs, which single jumps do not move.

    Without what the cache of samples holds, which is to grow until it is full.
    """
    name = "no memory leak"
    known = [look for look in looks if look.process_memory is not None]
    sizes = [max(int(look.process_memory or 0) - int(look.cache_bytes or 0), 1) for look in known][-_LAST_LOOKS:]
    if len(sizes) < _LEAST_LOOKS:
        return _unknown(name, f"the log has {len(sizes)} looks at memory, and {_LEAST_LOOKS} are needed")
    from scipy.stats import theilslopes

    slope, _, low, _ = theilslopes(sizes, alpha=0.95)
    growth = 100 * slope * (len(sizes) - 1) / sizes[0]
    evidence = f"{sizes[0] / 2**20:.0f} MiB, then {sizes[-1] / 2**20:.0f} MiB over {len(sizes)} looks ({growth:+.1f} %)"
    return _check(name, not (low > 0 and growth > most), evidence)
