"""What the script's process tells the one that asked: the step, or why there is none, and what was made up for it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from contextlib import suppress
from typing import Any, NoReturn

from hotlap.estimate.imitation import NO_GPU, explained

#: In the run directory.
FILE = "step.json"
#: What is said where a card is imitated, and something went past the imitation.
_OTHERWISE = (
    'something is put on the card in a way that is not imitated: use .to("cuda"), .cuda() or device="cuda" there, or '
    "leave it out of the step that is estimated"
)
#: And where none is.
_ASKED_FOR = (
    "the script asks for a GPU, and --gpu cpu is of a run without one: name a card, or let the script choose the "
    "processor"
)
_TORCH = os.path.dirname(sys.modules["torch"].__file__ or "") + os.sep
_HOTLAP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep


class Telling:
    def __init__(self, run_dir: str, *, on_card: bool) -> None:
        self._path = os.path.join(run_dir, FILE)
        self._past = _OTHERWISE if on_card else _ASKED_FOR
        #: Values that were made up, by the line of the script that read them.
        self.answers: Counter[str] = Counter()
        self.saves = 0
        self.compiled = False

    def answered(self) -> None:
        self.answers[line() or "?"] += 1

    def explain(self, error: BaseException) -> None:
        """End the script if it is the imitation that failed, and not the script."""
        words = explained(error)
        if words is not None:
            self.stop(self._past if words == NO_GPU else words, _deepest(error))

    def stop(self, words: str, at: str | None = None) -> NoReturn:
        """End the script with a sentence."""
        self._write({"error": words, "at": at or line(), "by_itself": False})

    def ended(self, words: str) -> NoReturn:
        """The script ends by itself, and may have said why."""
        self._write({"error": words, "at": None, "by_itself": True})

    def found(self, step: dict[str, Any]) -> NoReturn:
        """End the script with its step."""
        self._write(
            {**step, "answers": dict(self.answers.most_common()), "saves": self.saves, "compiled": self.compiled}
        )

    def _write(self, said: dict[str, Any]) -> NoReturn:
        """Nothing of the script runs afterwards: it would save what is not there."""
        with open(self._path + ".part", "w") as file:
            json.dump(said, file)
        os.replace(self._path + ".part", self._path)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(0)


def line() -> str | None:
    """Where in the script we are: the innermost line that is not torch's, Python's own or installed."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if _is_own(frame.f_code.co_filename):
            return _named(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def _deepest(error: BaseException) -> str | None:
    found, trace = None, error.__traceback__
    while trace is not None:
        if _is_own(trace.tb_frame.f_code.co_filename):
            found = _named(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _is_own(path: str) -> bool:
    standard = os.path.dirname(os.__file__) + os.sep
    return not path.startswith((_TORCH, _HOTLAP, standard, "<")) and "site-packages" not in path


def _named(path: str, number: int) -> str:
    relative = os.path.relpath(path)
    return f"{path if relative.startswith('..') else relative}:{number}"
