"""A metric that a training prints, with the step after which it does: ``epoch 3: PSNR 28.31 dB``.

Read where it is written, in ``sys.stdout`` and ``sys.stderr`` of this process: what stands in a file may have waited in
a buffer, and does not say when it was printed.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: A line of which no more than this is kept while it goes on.
_LONGEST = 10_000
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBER = r"[+-]?(?:(?:nan|inf(?:inity)?)(?!\w)|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?!\d|\.\d))"


def pattern(metric: str) -> re.Pattern[str]:
    """Finds the value behind a metric's name: ``psnr: 28.3``, ``PSNR (dB) = 28.3``, ``'psnr': tensor(28.3)``."""
    unit = r"(?:[(\[][^\d()\[\]\n]{0,12}[)\]])?"
    between = r"[^\w\n+\-.()\[\]]{0,12}"
    arrow = r"(?:[-=]>\s*)?"
    return re.compile(
        rf"(?i)(?<!\w){re.escape(metric)}(?!\w){between}{unit}{between}{arrow}(?:tensor\(\s*)?\(?({_NUMBER})"
    )


def values(text: str, wanted: re.Pattern[str]) -> list[float]:
    """The values in a line, in order, whatever colours it has."""
    return [float(found) for found in wanted.findall(_ESCAPES.sub("", text))]


def watch(metric: str, report: Callable[[str, float], None]) -> None:
    """Call ``report(metric, value)`` for each value, when its line is whole."""
    wanted = pattern(metric)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _watch(stream, wanted, functools.partial(report, metric))


def _watch(stream: Any, wanted: re.Pattern[str], report: Callable[[float], None]) -> None:
    write, begun = stream.write, ""

    def seen(text: str) -> Any:
        nonlocal begun
        with suppress(Exception):  # what is no text the stream refuses itself
            *whole, begun = re.split(r"[\r\n]", (begun + text)[-_LONGEST:])
            for line in whole:
                for value in values(line, wanted):
                    report(value)
        return write(text)

    stream.write = seen
