"""The frame of a rule about a log: it knows what was printed and what follows from that, and nothing else."""

from __future__ import annotations

from hotlap.diagnose.rules.base import MOST_SHARE, Entry, time
from hotlap.records import Figure, Finding, Reading


class LogRule(Entry):
    """One finding in what a training printed."""

    def check(self, reading: Reading) -> Finding | None:
        """Return the finding with its evidence, or None."""
        raise NotImplementedError

    def at_stake(
        self, reading: Reading, seconds: float, evidence: list[str], *, whole: float | None = None
    ) -> Finding | None:
        """Make a finding with so many seconds of each step at stake; None where the step's time is not known.

        They are a share of ``whole``, by default the mean step.
        """
        step = mean_step(reading) if whole is None else whole
        if not step or seconds <= 0:
            return None
        return self.made(evidence, seconds=seconds, share=min(MOST_SHARE, seconds / step))

    def note(self, evidence: list[str]) -> Finding:
        """Make a finding that says how the log is to be read."""
        return self.made(evidence)


def mean_step(reading: Reading) -> float | None:
    """Seconds of a step that shares are taken of: the mean of the lines that the data time is in, if there is one."""
    return reading.mean_seconds or reading.step_seconds.value


def about(figure: Figure) -> str:
    """``6 s (5.45 s to 6.67 s by the digits that were printed)``."""
    if figure.value is None:
        return "n/a"
    if figure.low is None or figure.high is None or figure.high - figure.low < 0.02 * figure.value:
        return time(figure.value)
    return f"{time(figure.value)} ({time(figure.low)} to {time(figure.high)} by the digits that were printed)"
