"""Where looks are shown: on a terminal, as lines, as JSON."""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console
from rich.live import Live

from hotlap.report import text
from hotlap.report.blocks import encodable
from hotlap.watch import screen
from hotlap.watch.history import History
from hotlap.watch.sample import Sample
from hotlap.watch.summary import Summary


class View:
    """One that only prints: what was printed stays, whatever becomes of the window."""

    #: Whether the last look is shown again when the window has another size.
    redraws = False

    def show(self, history: History) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave the terminal as it was; ``show`` may come again."""


class OnScreen(View):
    """Draws on the terminal's other screen; what was there before comes back."""

    redraws = True

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

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class AsLines(View):
    """A line a look, and each warning when it comes up."""

    def __init__(self) -> None:
        self._about: set[str] = set()

    def show(self, history: History) -> None:
        sample = history.samples[-1]
        self._say(screen.row(sample))
        for warning in sample.warnings:
            if warning.about not in self._about:
                self._say(f"warning: {warning.text}")
        self._about = {warning.about for warning in sample.warnings}

    def _say(self, words: str) -> None:
        sys.stdout.write(encodable(text.printable(words), sys.stdout.encoding) + "\n")
        sys.stdout.flush()


class AsJson(View):
    def show(self, history: History) -> None:
        write_json(history.samples[-1])


def write_json(value: Sample | Summary) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def shows_blocks(console: Console) -> bool:
    try:
        "▁█".encode(console.encoding)
    except UnicodeEncodeError:
        return False
    return True
