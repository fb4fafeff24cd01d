"""What `hotlap read` says of traces beside HolisticTraceAnalysis, and what both take for it.

    python benchmarks/read_traces.py TRACE... [--hta PYTHON] [--gigabytes 1] [--hta-gigabytes 0.25] [--repeats 3]

``--hta`` is the Python of an environment that has HolisticTraceAnalysis; without it only hotlap is measured. Each
trace is read by fresh processes of both, in turns; the first is also repeated until it has so many gigabytes. Both
look at the same kernels, those whose launch is in the trace, and HolisticTraceAnalysis is told to keep the last step
and nanoseconds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import RESULTS, circumstances, keep, sentence

from hotlap.read.traces.columns import COMMUNICATION, END, KIND, NAME, START, columns
from hotlap.read.traces.device import busy, stream_gaps
from hotlap.read.traces.intervals import length
from hotlap.read.traces.steps import calls, main_device

HTA = """
import json, logging, sys, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from importlib.metadata import version
from hta.trace_analysis import TraceAnalysis
found = TraceAnalysis(trace_files={0: sys.argv[1]}, include_last_profiler_step=True)
time = found.get_temporal_breakdown(visualize=False).iloc[0]
idle = found.get_idle_time_breakdown(ranks=[0], visualize=False)[0]
kernels = found.get_gpu_kernel_breakdown(
    visualize=False, include_memory_kernels=True, num_kernels=10**9, duration_ratio=1.0)[1]
overlap = found.get_comm_comp_overlap(visualize=False).iloc[0]["comp_comm_overlap_pctg"]
found.get_queue_length_summary(ranks=[0])
print(json.dumps({
    "version": version("HolisticTraceAnalysis"), "pandas": version("pandas"),
    "kernel_time": float(time["kernel_time(us)"]), "idle_time": float(time["idle_time(us)"]),
    "compute_time": float(time["compute_time(us)"]), "non_compute_time": float(time["non_compute_time(us)"]),
    "overlap": None if overlap != overlap else float(overlap) / 100,
    "idle": {f"{int(row.stream)} {row.idle_category}": float(row.idle_time) for row in idle.itertuples()},
    "kernels": {row["name"]: float(row["sum (us)"]) for _, row in kernels.iterrows()},
}))
"""


def ours(path: Path) -> dict[str, Any]:
    """The same figures, in microseconds."""
    rows = columns(path)
    device = rows.device[rows.device[:, 5] == main_device(rows.device)]
    called = calls(device, rows.runtime)[:, 0]
    device, called = device[~np.isnan(called)], called[~np.isnan(called)]
    parts = busy(device)
    whole = device[:, END].max() - device[:, START].min()
    idle = whole - length(parts.any)
    communicating = length(parts.communication)
    spent = device[:, END] - device[:, START]
    return {
        "kernel_time": whole,
        "idle_time": idle,
        "compute_time": length(parts.computing),
        "non_compute_time": whole - idle - length(parts.computing),
        "overlap": 1 - length(parts.communication_alone) / communicating
        if (device[:, KIND] == COMMUNICATION).any()
        else None,
        "idle": {
            f"{gaps.stream} {name}": getattr(gaps, name) * 1e6
            for gaps in stream_gaps(device, called)
            for name in ("host_wait", "kernel_wait", "other")
        },
        "kernels": {
            rows.names[int(name)]: float(spent[device[:, NAME] == name].sum()) for name in np.unique(device[:, NAME])
        },
    }


def measured(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, int, str]:
    """Seconds, bytes of the largest resident memory, and what it printed."""
    read, write = os.pipe()
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        os.dup2(write, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.execvpe(command[0], command, {**os.environ, **(environment or {})})
    os.close(write)
    with os.fdopen(read) as output:
        printed = output.read()
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(command)[:200]} failed")
    return time.monotonic() - began, used.ru_maxrss * 1024, printed


def cost(runs: list[tuple[float, int, str]]) -> dict[str, Any]:
    seconds = [each[0] for each in runs]
    return {"seconds": median(seconds), "of": seconds, "bytes": max(each[1] for each in runs), "printed": runs[0][2]}


def repeated(source: Path, target: Path, size: int) -> int:
    """Write the trace again and again, one after the other in time, until it has so many bytes."""
    opener = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rb") as file:
        whole = json.loads(file.read(), strict=False)
    events = [each for each in whole.pop("traceEvents") if each.get("ph") != "M"]
    begin = min(each["ts"] for each in events)
    span = max(each["ts"] + each.get("dur", 0) for each in events) - begin + 1000
    steps = len({each["name"] for each in events if _STEP.match(each["name"])})
    parts = [_NUMBERS.split(json.dumps(_marked(each))) for each in events]
    with target.open("w") as file:
        file.write(json.dumps(whole)[:-1] + ', "traceEvents": [\n')
        written, turn = 0, 0
        while written < size:
            moves = {"t": turn * span, "c": turn * 10_000_000, "s": turn * steps}
            lines = ["".join(_moved(each, moves)) for each in parts]
            written += file.write((",\n" if turn else "") + ",\n".join(lines))
            turn += 1
        file.write("\n]}\n")
    return target.stat().st_size


_STEP = re.compile(r"ProfilerStep#(\d+)")
#: A number that another turn changes, with what it is: a time, a call, a step.
_NUMBERS = re.compile(r'(?:"@|~)([tcs])(-?[\d.e+]+)(?:@"|~)')


def _marked(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with its numbers marked; that of a step stands inside of its name."""
    marked = {**event, "ts": f"@t{event['ts']}@"}
    if "id" in event:
        marked["id"] = f"@c{event['id']}@"
    if "correlation" in event.get("args", ()):
        marked["args"] = {**event["args"], "correlation": f"@c{event['args']['correlation']}@"}
    if _STEP.match(event["name"]):
        marked["name"] = _STEP.sub(r"ProfilerStep#~s\1~", event["name"])
    return marked


def _moved(parts: list[str], moves: dict[str, float]) -> Iterator[str]:
    for at in range(0, len(parts) - 1, 3):
        text, kind, number = parts[at : at + 3]
        yield text
        yield str((float(number) if "." in number else int(number)) + moves[kind])
    yield parts[-1]


def agreement(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Their figures, and by how many per cent of the time between the first and the last kernel ours differ."""
    whole = mine["kernel_time"]
    found = {
        name: {"hotlap": mine[name], "hta": theirs[name], "differ": abs(mine[name] - theirs[name]) / whole}
        for name in ("kernel_time", "idle_time", "compute_time", "non_compute_time")
    }
    if mine["overlap"] is not None and theirs["overlap"] is not None:
        difference = abs(mine["overlap"] - theirs["overlap"])
        found["overlap"] = {"hotlap": mine["overlap"], "hta": theirs["overlap"], "differ": difference}
    for name in sorted(mine["idle"] | theirs["idle"]):
        a, b = mine["idle"].get(name, 0.0), theirs["idle"].get(name, 0.0)
        found[f"idle, stream {name}"] = {"hotlap": a, "hta": b, "differ": abs(a - b) / whole}
    names = mine["kernels"] | theirs["kernels"]
    worst = max(abs(mine["kernels"].get(name, 0.0) - theirs["kernels"].get(name, 0.0)) for name in names)
    found["kernels"] = {"hotlap": len(mine["kernels"]), "hta": len(theirs["kernels"]), "differ": worst / whole}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--hta")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--hta-gigabytes", type=float, default=0.25)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    before = circumstances()
    keep("read_traces", before | run(options))
    text = table(json.loads((RESULTS / "read_traces.json").read_text()))
    (RESULTS / "read_traces.md").write_text(text)
    print(text)


def run(options: argparse.Namespace) -> dict[str, Any]:
    hotlap = [sys.executable, "-m", "hotlap", "read", "--json"]
    # Whole nanoseconds, as they are in the trace: otherwise each kernel loses up to two microseconds.
    exact = {"HTA_DISABLE_NS_ROUNDING": "1"}
    traces, versions = [], {"numpy": version("numpy"), "msgspec": version("msgspec")}
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(path, True) for path in options.traces]
        for gigabytes, both in ((options.hta_gigabytes, True), (options.gigabytes, False)):
            if gigabytes and (options.hta or not both):
                target = Path(folder) / f"repeated to {gigabytes:g} GB.json"
                repeated(options.traces[0], target, int(gigabytes * 1e9))
                jobs.append((target, both))
        for path, both in jobs:
            repeats = options.repeats if path in options.traces else 1
            name = path.name if path in options.traces else f"the first, {path.stem}"
            found: dict[str, Any] = {"trace": name, "file_bytes": path.stat().st_size}
            runs: list[Any] = []
            others: list[Any] = []
            for _ in range(repeats):
                runs.append(measured([*hotlap, str(path)]))
                if options.hta and both:
                    others.append(measured([options.hta, "-c", HTA, str(path.resolve())], exact))
            mine = cost(runs)
            reading = json.loads(mine.pop("printed"))["ranks"][0]
            found |= {"bytes": reading["bytes"], "events": reading["events"], "hotlap": mine}
            if others:
                theirs = cost(others)
                printed = json.loads(theirs.pop("printed").strip().splitlines()[-1])
                versions |= {"HolisticTraceAnalysis": printed["version"], "pandas": printed["pandas"]}
                found |= {"hta": theirs, "agreement": agreement(ours(path), printed)}
            traces.append(found)
            print(json.dumps(found)[:300], file=sys.stderr)
    return {"libraries": versions, "traces": traces}


def table(kept: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {number}" for name, number in kept["libraries"].items())
    lines = ["# Reading traces", "", sentence(kept), f"Libraries: {libraries}.", "", __doc__.split("\n\n")[2], ""]
    lines += [
        "| trace | unpacked | events | hotlap | HTA | hotlap memory | HTA memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in kept["traces"]:
        mine, theirs = each["hotlap"], each.get("hta")
        other = (f"{theirs['seconds']:.2f} s", f"{theirs['bytes'] / 1e6:.0f} MB") if theirs else ("not run", "not run")
        lines.append(
            f"| {each['trace']} | {each['bytes'] / 1e6:.0f} MB | {each['events']:,} | {mine['seconds']:.2f} s | "
            f"{other[0]} | {mine['bytes'] / 1e6:.0f} MB | {other[1]} |"
        )
    lines += ["", "Seconds are the median of the repeats of the whole command, memory is the largest resident size."]
    for each in kept["traces"]:
        if "agreement" not in each:
            continue
        lines += ["", f"## {each['trace']}", "", "| figure, in µs | hotlap | HTA | differ by |", "|---|---|---|---|"]
        for name, row in each["agreement"].items():
            digits = 4 if name == "overlap" else 0
            lines.append(f"| {name} | {row['hotlap']:,.{digits}f} | {row['hta']:,.{digits}f} | {row['differ']:.3%} |")
    lines += [
        "",
        "Differences are shares of the time between the first and the last kernel. `kernels` is the number of",
    ]
    lines += ["names, with the largest difference of one's sum; `overlap` is a share."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
