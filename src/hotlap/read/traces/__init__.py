"""Traces of torch.profiler (Chrome JSON, plain or packed): where a step's time goes, and why.

    file ──pieces──> events ──columns──> arrays ──steps, host, device, operators──> TracedRank
    TracedRank of each rank ──findings──> TraceReading        two of those ──compare──> TraceComparison

A gigabyte is read in pieces: what is held are numbers of what is looked at. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hotlap.errors import UsageError
from hotlap.read.traces.comparison import compare
from hotlap.read.traces.findings import findings, will_not_help
from hotlap.read.traces.rank import read_rank
from hotlap.records import TracedRank, TraceReading

__all__ = ["compare", "read"]


def read(paths: Sequence[Path]) -> TraceReading:
    """Read the trace of a training, of one rank or of several.

    Raises:
        RunError: one cannot be read, is cut off, or is no trace.
        UsageError: several do not say which ranks they are.
    """
    ranks = [read_rank(path) for path in paths]
    if len(ranks) > 1:
        ranks = _in_order(ranks)
    return TraceReading(ranks=ranks, findings=findings(ranks), will_not_help=will_not_help(ranks[0]))


def _in_order(ranks: list[TracedRank]) -> list[TracedRank]:
    numbers: dict[int, str] = {}
    hint = "read one at a time, or two side by side with --compare"
    for each in ranks:
        if each.rank is None:
            raise UsageError(
                f"{each.path} does not say which rank it is, neither inside nor in its name (rank0): {hint}"
            )
        if each.rank in numbers:
            raise UsageError(f"{numbers[each.rank]} and {each.path} are both of rank {each.rank}: {hint}")
        numbers[each.rank] = each.path
    return sorted(ranks, key=lambda each: each.rank or 0)
