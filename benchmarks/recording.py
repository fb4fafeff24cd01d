"""docs/images/demo.svg: the output of `make demo` as it came, like a recording of the terminal.

    python benchmarks/recording.py

    results/demo.txt ──> rows of a terminal, and when each is at the bottom ──> one SVG, whose rows move by CSS

Progress comes at the recorded times, faster; the result in pages, each as long as it takes to read. Nothing is fetched:
fonts are those of the reader. Where nothing moves (print, reduced motion), the first page of the result is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from machine import RESULTS

from hotlap.records import write_whole

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.svg"
COLUMNS, ROWS = 106, 30
#: Pixels of a character and of a row.
WIDE, HIGH, EDGE = 8.0, 18, 14
#: Seconds of the recording in one of the picture, and for how long a page of the result stands.
FASTER, PAGE = 25.0, 6.0

_STAMP = re.compile(r"\[ *(\d+) s\] ")
_COLOURS = [
    (re.compile(r"\$ "), "p"),
    (re.compile(r"Faster: |Same training: yes|\[ *\d+ s\] .*, kept: |  \S.* kept  |\+(?!\+\+)"), "g"),
    (re.compile(r"\[ *\d+ s\] .*, dropped: |  \S.* dropped  |Not tried|  - .*not tried"), "d"),
    (re.compile(r"Warnings|  - Machine too noisy"), "y"),
    (re.compile(r"-(?!--)"), "r"),
]
_GROUND = "#242933"
_STYLE = """
text { font: 13.2px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d8dee9;
  white-space: pre; }
.p { fill: #88c0d0; font-weight: bold; } .g { fill: #a3be8c; } .d { fill: #929db3; } .y { fill: #ebcb8b; }
.r { fill: #d08770; }
"""


def recording(output: str) -> str:
    """Return the picture of a terminal's output, in SVG."""
    lines = [(row, _class(line)) for line in output.splitlines() for row in _wrapped(line)]
    rows = [row for row, _ in lines]
    moments = _moments(rows)
    still = moments[-_pages(rows)][1]
    # The rows move up where there are more than fit, and what hides those to come moves down.
    moves = _moving("s", moments, still, _up) + _moving("c", moments, still, _down)
    width, height = COLUMNS * WIDE + 2 * EDGE, ROWS * HIGH + 2 * EDGE
    texts = "\n".join(
        f'<text y="{number * HIGH - 5}"{colour} textLength="{len(row) * WIDE:g}">{escape(row)}</text>'
        for number, (row, colour) in enumerate(lines, 1)
        if row
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" role="img"
 height="{height}" aria-label="A terminal in which hotlap tune runs: {escape(_headline(rows))}">
<style>{_STYLE}{moves}</style>
<rect width="{width:g}" height="{height}" rx="8" fill="{_GROUND}"/>
<svg x="{EDGE}" y="{EDGE}" width="{COLUMNS * WIDE:g}" height="{ROWS * HIGH}"><g class="s">
{texts}
<rect class="c" width="100%" height="{len(rows) * HIGH}" fill="{_GROUND}"/>
</g></svg>
</svg>
"""


def _wrapped(line: str) -> list[str]:
    return [line[at : at + COLUMNS] for at in range(0, len(line), COLUMNS)] or [""]


def _moments(rows: list[str]) -> list[tuple[float, int]]:
    """When which row comes to stand at the bottom: seconds of the picture, and the row's number."""
    moments = [(0.0, 1)]
    for number, row in enumerate(rows, 1):
        stamp = _STAMP.match(row)
        if stamp:
            moments.append((max(int(stamp[1]) / FASTER + 1, moments[-1][0] + 0.15), number))
    last = moments[-1][1]
    began = moments[-1][0] + 1
    moments += [(began + PAGE * page, min(last + ROWS * (page + 1), len(rows))) for page in range(_pages(rows))]
    return moments


def _pages(rows: list[str]) -> int:
    last = max(number for number, row in enumerate(rows, 1) if _STAMP.match(row))
    return -((last - len(rows)) // ROWS)


def _moving(name: str, moments: list[tuple[float, int]], still: int, place: Callable[[int], int]) -> str:
    """The style of what is at ``place`` of the last row that has come; nothing moves between two moments."""
    length = moments[-1][0] + PAGE
    frames = "\n".join(
        f"{100 * at / length:.3f}%, {100 * until / length - 0.001:.3f}% {{ transform: translateY({place(row)}px); }}"
        for (at, row), (until, _) in zip(moments, [*moments[1:], (length, 0)], strict=True)
    )
    return f""".{name} {{ transform: translateY({place(still)}px); }}
@media (prefers-reduced-motion: no-preference) {{ .{name} {{ animation: {name} {length:.1f}s step-end infinite; }} }}
@keyframes {name} {{
{frames}
}}
"""


def _up(row: int) -> int:
    return -max(0, row - ROWS) * HIGH


def _down(row: int) -> int:
    return row * HIGH


def _class(line: str) -> str:
    return next((f' class="{name}"' for pattern, name in _COLOURS if pattern.match(line)), "")


def _headline(rows: list[str]) -> str:
    first = next(number for number, row in enumerate(rows) if row.startswith("Faster: "))
    return " ".join(rows[first : first + 2])


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    write_whole(PICTURE, recording((RESULTS / "demo.txt").read_text()))
