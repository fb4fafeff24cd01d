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
import sys
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Literal, Protocol

import msgspec
from rich.console import Console
from rich.live import Live

from hotlap.errors import RunError
from hotlap.report import text
from hotlap.report.blocks import encodable
from hotlap.watch import screen
from hotlap.watch.history import History
from hotlap.watch.sample import Sample
from hotlap.watch.sensors import Sensors
from hotlap.watch.summary import Summary, Tally
from hotlap.watch.trainings import Training
from hotlap.watch.troubles import warnings

#: Seconds between the first two moments, which rates need.
_FIRST = 0.5


class View(Protocol):
    def show(self, history: History) -> None: ...
    def again(self, history: History) -> None:
        """The window has another size, or another program has drawn on it."""

    def suspend(self) -> None: ...
    def close(self) -> None: ...


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
            if self.stopped == number == signal.SIGINT:
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
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Summary, int | None]:
    """Look at a training every ``interval`` seconds, for ``seconds`` (0: until it is over or somebody stops it).

    Returns the summary, and the signal that ended the watch.

    Raises:
        RunError: the training was over before the first look.
        KeyboardInterrupt: somebody stopped the watch before the first look.
    """
    history, tally = History(), Tally()
    ended: Literal["training", "time", "stopped"] = "stopped"
    try:
        with Signals() as signals:
            began = clock()
            due = began + min(_FIRST, interval)
            while signals.stopped is None:
                left = due - clock()
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
                if seconds and clock() - began >= seconds:
                    ended = "time"
                    break
                # A look that took too long is not made up for.
                due = max(due + interval, clock())
                due = min(due, began + seconds) if seconds else due
            signal_number = signals.stopped
    finally:
        with contextlib.suppress(OSError):  # the terminal is gone
            view.close()
        steps = sensors.finish()
    if not history.samples:
        if signal_number is not None:
            raise KeyboardInterrupt
        raise RunError(f"{training.name} was over before it could be looked at")
    found = tally.summary(
        name=training.name,
        pid=training.pid,
        command=training.command,
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


def _attend(signals: Signals, view: View, history: History) -> None:
    if signals.suspend:
        signals.suspend = False
        view.suspend()
        os.kill(os.getpid(), signal.SIGSTOP)
        signals.redraw = True
    if signals.redraw:
        signals.redraw = False
        if history.samples:
            view.again(history)


class OnScreen:
    """Draws on the terminal's other screen; what was there before comes back."""

    def __init__(self, console: Console, header: screen.Header) -> None:
        self._console = console
        self._header = header
        self._live: Live | None = None

    def show(self, history: History) -> None:
        width, height = self._console.size
        drawn = screen.screen(self._header, history, width, height, blocks=shows_blocks(self._console))
        if self._live is None:
            self._live = Live(
                drawn,
                console=self._console,
                screen=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
        else:
            self._live.update(drawn, refresh=True)

    def again(self, history: History) -> None:
        self.show(history)

    def suspend(self) -> None:
        self.close()

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class AsLines:
    """A line a look, and each warning when it comes up."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._about: set[str] = set()

    def show(self, history: History) -> None:
        sample = history.samples[-1]
        self._say(screen.row(sample))
        for warning in sample.warnings:
            if warning.about not in self._about:
                self._say(f"warning: {warning.text}")
        self._about = {warning.about for warning in sample.warnings}

    def _say(self, words: str) -> None:
        self._console.print(encodable(text.printable(words), self._console.encoding), markup=False, soft_wrap=True)
        self._console.file.flush()

    def again(self, history: History) -> None:
        pass

    def suspend(self) -> None:
        pass

    def close(self) -> None:
        pass


class AsJson:
    def show(self, history: History) -> None:
        write_json(history.samples[-1])

    def again(self, history: History) -> None:
        pass

    def suspend(self) -> None:
        pass

    def close(self) -> None:
        pass


def write_json(value: Sample | Summary) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def shows_blocks(console: Console) -> bool:
    try:
        "▁█".encode(console.encoding)
    except UnicodeEncodeError:
        return False
    return True
