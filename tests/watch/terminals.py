"""A small terminal: what stands on its screen after a program has written to it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping

from rich.cells import cell_len

_SEQUENCE = re.compile(r"\x1b(?:\[([?\d;]*)([A-Za-z])|\][^\x07]*\x07|[78=>c])")


class Screen:
    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.alternate = False
        self.cursor = True
        self.styled = False
        #: Pictures that were drawn whole, and whether the last of them had anything beyond the last line or its end.
        self.drawn = 0
        self.overflowed = False
        self._beyond = False
        self.usual = ""
        self._rest = ""
        self.clear()

    def clear(self) -> None:
        self.cells = [[" "] * self.width for _ in range(self.height)]
        self.row = self.column = 0

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.cells]

    def feed(self, data: str) -> None:
        data, self._rest = self._rest + data, ""
        at = 0
        while at < len(data):
            character = data[at]
            if character == "\x1b":
                found = _SEQUENCE.match(data, at)
                if found is None:
                    self._rest = data[at:]
                    return
                self._control(found[1] or "", found[2] or "")
                at = found.end()
                continue
            at += 1
            self._put(character)

    def _put(self, character: str) -> None:
        if not self.alternate:
            self.usual += character
            return
        if character == "\n":
            self.row, self.column = self.row + 1, 0
        elif character == "\r":
            self.column = 0
        elif self.row >= self.height or self.column + cell_len(character) > self.width:
            self._beyond = self._beyond or character != " "
        elif cell_len(character):
            cells = [character, *[""] * (cell_len(character) - 1)]
            self.cells[self.row][self.column : self.column + len(cells)] = cells
            self.column += len(cells)

    def _control(self, numbers: str, letter: str) -> None:
        if letter in "hl" and numbers == "?1049":
            self.alternate = letter == "h"
            self.clear()
        elif letter in "hl" and numbers == "?25":
            self.cursor = letter == "h"
        elif letter == "H":
            row, _, column = numbers.partition(";")
            self.row, self.column = int(row or 1) - 1, int(column or 1) - 1
            self.drawn, self.overflowed, self._beyond = self.drawn + 1, self._beyond, False
        elif letter == "J":
            self.cells = [[" "] * self.width for _ in range(self.height)]
        elif letter == "m":
            colours = {str(code) for code in (*range(30, 38), *range(90, 98))}
            self.styled = self.styled or bool(colours & set(numbers.split(";")))


class OnTerminal:
    """A program on a terminal of this size."""

    def __init__(self, command: list[str], width: int, height: int, environment: Mapping[str, str], cwd: str) -> None:
        self.screen = Screen(width, height)
        self._main, child = pty.openpty()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        _resize(child, width, height)
        self.process = subprocess.Popen(
            command,
            stdin=child,
            stdout=child,
            stderr=child,
            # The terminal's size is what counts, and not that which a runner of tests was told.
            env={**_without_size(os.environ), "TERM": "xterm-256color", **environment},
            cwd=cwd,
            start_new_session=True,
            close_fds=True,
        )
        os.close(child)

    def until(self, true: Callable[[Screen], bool], seconds: float = 20.0) -> bool:
        """Read what the program writes until this is true, or its end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self._read(deadline) or true(self.screen):
                break
        return true(self.screen)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._main], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._main, 65536)
        except OSError:  # the other end is closed
            return False
        self.screen.feed(self._decoder.decode(data))
        return bool(data)

    def resize(self, width: int, height: int) -> None:
        self.screen.width, self.screen.height = width, height
        self.screen.clear()
        _resize(self._main, width, height)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        self.until(lambda _: False)
        os.close(self._main)
        return self.process.wait(20)


def _without_size(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}


def _resize(descriptor: int, width: int, height: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
