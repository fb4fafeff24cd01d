"""The frame of a rule: what it says about itself, and how it makes a finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hotlap.diagnose.context import Context
from hotlap.diagnose.described import Described
from hotlap.diagnose.thresholds import FEW_STEPS, FEW_STEPS_AT_MOST
from hotlap.records import Finding

#: A share of 1 would have no finite bound.
MOST_SHARE = 0.999


class Entry(Described):
    """What is told about a finding that is listed with others, of a run or of a log."""

    #: Names of the changes that could help.
    changes: ClassVar[tuple[str, ...]] = ()
    #: Whether it only informs: nothing is wrong with the training.
    information: ClassVar[bool] = False
    #: Whether it says where the time goes when nothing is wrong. Its bound is no promise, and reports leave it out.
    describes: ClassVar[bool] = False
    #: Whether it names something wrong that takes no time, or none that this record can tell: what may end a training,
    #: spoils it or slows it by an unknown amount. It comes after the causes that have seconds at stake.
    risk: ClassVar[bool] = False

    def made(
        self,
        evidence: list[str],
        *,
        seconds: float = 0.0,
        share: float = 0.0,
        risk: str | None = None,
        remedy: str | None = None,
        changes: Sequence[str] | None = None,
    ) -> Finding:
        """Make the finding as it is, whatever is at stake."""
        return Finding(
            code=self.code,
            title=self.title,
            evidence=evidence,
            seconds=seconds,
            share=share,
            bound=bound(share),
            remedy=self.remedy if remedy is None else remedy,
            changes=list(self.changes if changes is None else changes),
            risk=risk,
        )

    def warning(self, risk: str, evidence: list[str], *, remedy: str | None = None) -> Finding:
        """Make a finding that no time is at stake for. ``risk`` is a sentence on what may happen."""
        return self.made(evidence, risk=risk, remedy=remedy)


class Rule(Entry):
    """One finding in the record of a run: a class with its code, its meaning and its check."""

    def check(self, context: Context) -> Finding | None:
        """Return the finding with its evidence, or None."""
        raise NotImplementedError

    def finding(
        self,
        context: Context,
        seconds: float,
        evidence: list[str],
        *,
        least: float = 0.0,
        whole: float | None = None,
        remedy: str | None = None,
        changes: Sequence[str] | None = None,
    ) -> Finding | None:
        """Make the finding, or None where less than ``least`` or less than can be told from noise is at stake.

        ``seconds`` are a share of ``whole``, by default the mean step.
        """
        most = MOST_SHARE if len(context.steps) >= FEW_STEPS else FEW_STEPS_AT_MOST
        share = min(context.share(seconds) if whole is None else seconds / whole, most)
        if not self.information and not self.risk and share < max(least, context.least_share):
            return None
        return self.made(evidence, seconds=seconds, share=share, remedy=remedy, changes=changes)


def bound(share: float) -> float:
    """The most that removing ``share`` of a step gives, as a ratio of throughput (Amdahl)."""
    return 1 / (1 - min(share, MOST_SHARE))


def saved(speedup: float) -> float:
    """The share of some work that a ``speedup`` of it saves."""
    return max(0.0, 1 - 1 / speedup) if speedup > 0 else 0.0


def time(seconds: float) -> str:
    """Seconds as a person reads them: ``1.23 s``, ``12.3 ms``, ``45 µs``."""
    if seconds >= 0.9995:
        return f"{number(seconds)} s"
    if seconds >= 0.9995e-3:
        return f"{number(seconds * 1e3)} ms"
    return f"{seconds * 1e6:.0f} µs"


def number(value: float, digits: int = 3) -> str:
    """With so many significant digits, and all of those before the point: ``1.5``, ``310``, ``12,345``."""
    return f"{value:.{digits}g}" if value < 10**digits - 0.5 else f"{value:,.0f}"


def percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.1 else f"{share * 100:.1f} %"


def part(context: Context, seconds: float) -> str:
    """``12.3 ms of 20 ms (61 %)``."""
    return f"{time(seconds)} of {time(context.mean)} ({percent(context.share(seconds))})"


def size(count: float) -> str:
    """Bytes as a person reads them, in decimal units: ``1.23 GB``, ``45 kB``."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.9995 * factor:
            value = count / factor
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
    return f"{count:.0f} B"


def plural(count: float, noun: str) -> str:
    return f"{count:.0f} {noun}" if round(count) == 1 else f"{count:.0f} {noun}s"
