"""What a trace says is wrong, in the words of the same findings that a profile has."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hotlap.diagnose import rule
from hotlap.diagnose.rules.base import bound, number, percent, size, time
from hotlap.diagnose.thresholds import (
    COMPUTE_SHARE,
    COPY_SHARE,
    FEW_STEPS_AT_MOST,
    LEAST_SHARE,
    MEMORY_HALF,
    RANKS_SHARE,
    RECOMPUTE_SHARE,
    SYNC_SHARE,
    WAITING_SHARE,
    WORTH_TRYING,
)
from hotlap.read.traces.ranks import Straggler, straggler
from hotlap.records import Finding, TracedDevice, TracedKernel, TracedRank, WillNotHelp

_TO_DEVICE = re.compile(r"Memcpy HtoD|CopyHostToDevice|.*Host ?-> ?Device", re.IGNORECASE)
_NAMED = 3


def findings(ranks: Sequence[TracedRank]) -> list[Finding]:
    """Return what the trace of the first rank shows, and the ranks side by side; the costliest first."""
    first, slow = ranks[0], straggler(ranks)
    found = _on_device(first, first.device, slow) if first.device else _on_host(first)
    found += [_slow_rank(first, slow)] if slow else []
    named = sorted((each for each in found if each is not None), key=lambda each: -each.seconds)
    return named or _computing(first)


def will_not_help(rank: TracedRank) -> list[WillNotHelp]:
    """Say it of a loader that was seen and is not waited for."""
    if rank.loader is None:
        return []
    waited = rank.device.idle["data_wait"] if rank.device else rank.host["data_wait"]
    most = bound(waited / rank.step_seconds)
    if most >= WORTH_TRYING:
        return []
    reason = f"The loader takes the host {time(rank.host['data_wait'])} of a step"
    reason += f", and the device does nothing for {time(waited)} of that." if rank.device else "."
    return [WillNotHelp(remedy="more workers, faster storage or a bigger cache", bound=most, reason=reason)]


def _on_device(rank: TracedRank, device: TracedDevice, slow: Straggler | None) -> list[Finding | None]:
    idle = device.idle
    exposed = device.communication
    if slow is not None and slow.rank != rank.rank:
        exposed = max(0.0, exposed - slow.wait)
    to_device = [each for each in rank.kernels if each.kind == "copy" and _TO_DEVICE.match(each.name)]
    copying = idle["copy"] + min(device.copies, sum(each.seconds for each in to_device))
    return [
        _loader(rank, idle["data_wait"]),
        _named(rank, "HOST01", idle["synchronisation"], _sync_evidence(rank, idle["synchronisation"])),
        _named(rank, "HOST07", idle["host"], _host_evidence(rank, device), least=WAITING_SHARE),
        _named(rank, "COPY01", copying, _copy_evidence(rank, copying, to_device), least=COPY_SHARE),
        _named(rank, "DISTRIBUTED01", exposed, _communication_evidence(rank, device), least=SYNC_SHARE),
        _recompute(rank, device),
    ]


def _on_host(rank: TracedRank) -> list[Finding | None]:
    return [_loader(rank, rank.host["data_wait"])]


def _loader(rank: TracedRank, seconds: float) -> Finding | None:
    waited = rank.host["data_wait"]
    evidence = [f"The host spends {_part(rank, waited)} in its DataLoader."]
    if rank.device:
        evidence.append(f"For {_part(rank, seconds)} the device does nothing meanwhile.")
    with_workers = rank.loader == "workers"
    evidence.append(
        "The loader has worker processes."
        if with_workers
        else "The loader has no workers (num_workers=0): fetching happens in the training loop."
    )
    return _named(rank, "DATA02" if with_workers else "DATA01", seconds, evidence)


def _sync_evidence(rank: TracedRank, seconds: float) -> list[str]:
    evidence = [f"For {_part(rank, seconds)} the device does nothing, after the host had waited until it ran dry."]
    for name, spent in list(rank.syncs.items())[:_NAMED]:
        evidence.append(f"{name}: the host waits {time(spent)} of a step in it.")
    return evidence


def _host_evidence(rank: TracedRank, device: TracedDevice) -> list[str]:
    evidence = [f"For {_part(rank, device.idle['host'])} the device does nothing, because the next launch comes late."]
    launched = device.launches
    if launched is not None:
        evidence.append(
            f"The host launches {number(launched.count)} kernels and copies in a step; for "
            f"{percent(launched.empty_share)} of the time none of them is waiting."
        )
    kernels = [each for each in rank.kernels if each.kind == "compute"]
    count = sum(each.calls for each in kernels)
    if count:
        mean = sum(each.seconds for each in kernels) / count
        evidence.append(f"A kernel takes {time(mean)} on average.")
    return evidence


def _copy_evidence(rank: TracedRank, seconds: float, copies: Sequence[TracedKernel]) -> list[str]:
    evidence = [f"Copying to the device takes {_part(rank, seconds)} in which nothing computes."]
    evidence += [
        f"{each.name}: {number(each.calls)} a step, {time(each.seconds)} on the device." for each in copies[:_NAMED]
    ]
    if any("Pageable" in each.name for each in copies):
        evidence.append("Batches come from pageable memory: the loader does not pin them.")
    return evidence


def _communication_evidence(rank: TracedRank, device: TracedDevice) -> list[str]:
    evidence = [f"For {_part(rank, device.communication)} only collectives run on the device."]
    if device.overlap is not None:
        evidence.append(
            f"Of {time(device.communicating)} of communication {percent(device.overlap)} runs beside computing."
        )
    return evidence


def _recompute(rank: TracedRank, device: TracedDevice) -> Finding | None:
    again, memory = rank.recompute_device, rank.memory
    peak = memory.peak_reserved if memory else None
    if again is None or peak is None or not device.memory or peak >= MEMORY_HALF * device.memory:
        return None
    evidence = [
        f"Kernels of recomputing take {_part(rank, again)}.",
        f"The allocator reserves {size(peak)} of the device's {size(device.memory)} at most.",
    ]
    return _named(rank, "CHECKPOINT01", again, evidence, least=RECOMPUTE_SHARE)


def _slow_rank(first: TracedRank, slow: Straggler) -> Finding | None:
    evidence = [
        f"The others spend {time(slow.wait)} of a step more in collectives than rank {slow.rank} (median), and all "
        "leave a collective together.",
        f"Rank {slow.rank} spends least in all of {slow.steps} steps.",
    ]
    if slow.cause:
        evidence.append(f"What is longest on rank {slow.rank} beside the others: {slow.cause}, by {time(slow.longer)}.")
    return _named(first, "DISTRIBUTED02", slow.wait, evidence, least=RANKS_SHARE)


def _computing(rank: TracedRank) -> list[Finding]:
    if rank.device:
        seconds = rank.device.computing
        evidence = [f"The device computes for {_part(rank, seconds)}."]
    else:
        seconds = rank.host["operators"] + rank.host["backward"]
        evidence = [f"Operators and backward take {_part(rank, seconds)}."]
    found = _named(rank, "COMPUTE01", seconds, evidence, least=COMPUTE_SHARE)
    return [found] if found else []


def _named(
    rank: TracedRank, code: str, seconds: float, evidence: list[str], *, least: float = LEAST_SHARE
) -> Finding | None:
    share = min(seconds / rank.step_seconds, FEW_STEPS_AT_MOST)
    if share < max(least, LEAST_SHARE):
        return None
    return rule(code).made(evidence, seconds=seconds, share=share)


def _part(rank: TracedRank, seconds: float) -> str:
    whole = rank.step_seconds
    return f"{time(seconds)} of {time(whole)} ({percent(seconds / whole)})"
