"""The loop of a watch: look, show, wait; and the terminal, which is left as it was whatever happens.

Ctrl-C, SIGTERM, SIGHUP      the watch ends after the look that is under way, with its summary
SIGWINCH, SIGCONT            the same look is drawn again
SIGTSTP (Ctrl-Z)             the terminal is given back until it goes on
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Literal

import msgspec

from hotlap.errors import RunError
from hotlap.report.secrets import mask
from hotlap.watch.history import History
from hotlap.watch.sample import Sample
from hotlap.watch.sensors import Sensors
from hotlap.watch.summary import Summary, Tally
from hotlap.watch.trainings import Training
from hotlap.watch.troubles import warnings
from hotlap.watch.views import View

#: Seconds between the first two moments, which rates need.
_FIRST = 0.5


class Signals:
    """Turns signals into facts that the loop looks at, so that none comes in the middle of drawing.

    A second Ctrl-C does not wait: something hangs.
    """

    _STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    _OTHERS = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)

    def __init__(self) -> None:
        self.stopped: int | None = None
        self.redraw = False
        self.suspend = False
        #: The terminal is given back just now, and nothing may interrupt that.
        self.closing = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._end, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        for number in (*self._STOPPING, *self._OTHERS):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as with nohup
                self._before[number] = signal.signal(number, self._on)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._end)
        os.close(self._wake)

    def _on(self, number: int, frame: FrameType | None) -> None:
        if number in self._STOPPING:
            if self.stopped == number == signal.SIGINT and not self.closing:
                raise KeyboardInterrupt
            self.stopped = number
        elif number == signal.SIGTSTP:
            self.suspend = True
        else:
            self.redraw = True
        with contextlib.suppress(OSError):  # full: it will wake up anyhow
            os.write(self._wake, b".")

    def wait(self, seconds: float) -> None:
        """Until a signal comes, at most so long."""
        if self.stopped is None and select.select([self._end], [], [], max(0.0, seconds))[0]:
            os.read(self._end, 4096)


def watch(
    training: Training,
    sensors: Sensors,
    view: View,
    *,
    seconds: float,
    interval: float,
) -> tuple[Summary, int | None]:
    """Look at a training every ``interval`` seconds, for ``seconds`` (0: until it is over or somebody stops it).

    Returns the summary, and the signal that ended the watch.

    Raises:
        RunError: the training was over before the first look.
        KeyboardInterrupt: somebody stopped the watch before the first look.
    """
    history, tally = History(), Tally()
    ended: Literal["training", "time", "stopped"] = "stopped"
    with Signals() as signals:
        try:
            began = time.monotonic()
            due = began + min(_FIRST, interval)
            while signals.stopped is None:
                left = due - time.monotonic()
                if left > 0:
                    signals.wait(left)
                    _attend(signals, view, history)
                    continue
                sample = sensors.look()
                if sample is None:
                    ended = "training"
                    break
                add(sample, history, tally)
                view.show(history)
                if seconds and time.monotonic() - began >= seconds:
                    ended = "time"
                    break
                # A look that took too long is not made up for.
                due = max(due + interval, time.monotonic())
                due = min(due, began + seconds) if seconds else due
            signal_number = signals.stopped
        finally:
            with contextlib.suppress(OSError):  # the terminal is gone
                _leave(signals, view)
            steps = sensors.finish()
    if not history.samples:
        if signal_number is not None:
            raise KeyboardInterrupt
        raise RunError(f"{training.name} was over before it could be looked at")
    found = tally.summary(
        name=training.name,
        pid=training.pid,
        command=mask(training.command),
        ended=ended,
        outcome=sensors.outcome() if ended == "training" else None,
        steps=steps,
    )
    return found, signal_number


def glance(training: Training, sensors: Sensors, interval: float) -> History:
    """Look once, a moment after the beginning: rates need two.

    Raises:
        RunError: the training is over by then.
    """
    history = History()
    try:
        time.sleep(min(_FIRST, interval))
        sample = sensors.look()
    finally:
        sensors.finish()
    if sample is None:
        raise RunError(f"{training.name} was over before it could be looked at")
    add(sample, history, Tally())
    return history


def add(sample: Sample, history: History, tally: Tally) -> None:
    """What is wrong is told from this look and those before it."""
    history.add(sample)
    history.samples[-1] = told = msgspec.structs.replace(sample, warnings=warnings(history))
    tally.add(told)


def _leave(signals: Signals, view: View) -> None:
    signals.closing = True
    try:
        view.close()
    finally:
        signals.closing = False


def _attend(signals: Signals, view: View, history: History) -> None:
    if signals.suspend:
        signals.suspend = False
        _leave(signals, view)
        os.kill(os.getpid(), signal.SIGSTOP)
        signals.redraw = True
    if signals.redraw:
        signals.redraw = False
        if history.samples and view.redraws:
            view.show(history)
