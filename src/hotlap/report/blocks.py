"""What terminal reports are built of: lines, prose and headings that know how to wrap, and nothing of what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from hotlap.report import text

#: Prose wider than this is hard to read.
_MEASURE = 100
#: Cells for the first column of a table, so that what belongs to a long name stays in sight.
_NAME = 24
#: One cell each, so that a table stays aligned.
STAND_INS = {"█": "#", "▏": "|", "…": "~", "×": "x", "µ": "u", "·": ".", "–": "-", "—": "-", "−": "-", "→": ">"}


@dataclass(frozen=True)
class Report:
    """Blocks below each other, in the characters that the output can show."""

    blocks: Sequence[RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in Segment.split_lines(console.render(Group(*self.blocks), options)):
            # Spaces that only fill a line would wrap where the text is pasted.
            while line and not line[-1].text.strip():
                line.pop()
            for i, segment in enumerate(line, 1):
                shown = encodable(segment.text, options.encoding)
                yield Segment(shown.rstrip() if i == len(line) else shown, segment.style, segment.control)
            yield Segment.line()


def encodable(content: str, encoding: str) -> str:
    """Return the text with a stand-in, as wide, for each character that the encoding lacks."""
    if _fits(content, encoding):
        return content
    return "".join(
        character if _fits(character, encoding) else STAND_INS.get(character, "?" * cell_len(character))
        for character in content
    )


def heading(title: str) -> list[RenderableType]:
    return [blank(), Text(text.printable(title), style="bold underline", no_wrap=True, overflow="ellipsis")]


def table(rows: Sequence[Sequence[str]], columns: str, *, header: bool = False, indent: int = 2) -> list[Text]:
    """Return rows aligned in columns: ``<`` or ``>`` for each of them in ``columns``."""
    widths = [max(cell_len(text.printable(cell)) for cell in column) for column in zip(*rows, strict=True)]
    widths[0] = min(widths[0], _NAME)
    lines = [" " * indent + "  ".join(map(fit, row, widths, columns)) for row in rows]
    return [line(content, style="dim" if header and i == 0 else "") for i, content in enumerate(lines)]


def fit(content: str, width: int, side: str = "<") -> str:
    """Return the text in exactly this many cells, cut off where it is longer."""
    content = text.printable(content)
    length = cell_len(content)
    if length > width:
        return set_cell_size(content, width - 1) + "…"
    return content + " " * (width - length) if side == "<" else " " * (width - length) + content


def filled(share: float | None, cells: int) -> str:
    """Return a bar of so many cells for a share of 1."""
    return "█" * round(cells * min(max(share or 0.0, 0.0), 1.0)) or "▏"


def bullets(lines: Iterable[str], indent: int = 2) -> list[RenderableType]:
    return [labelled(" " * indent + "- ", line) for line in lines]


def line(content: str, style: str = "") -> Text:
    return Text(text.printable(content).rstrip(), style=style, no_wrap=True, overflow="ellipsis")


def prose(content: str, *, indent: int = 0, style: str = "") -> RenderableType:
    words = Text(text.printable(content, keep="\n"), style=style, overflow="fold")
    return Constrain(Padding(words, (0, 0, 0, indent)), _MEASURE)


def labelled(label: str, content: str, style: str = "") -> RenderableType:
    """Return prose that starts after a label and goes on under its own beginning."""
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(
        Text(text.printable(label), style=style), Text(text.printable(content, keep="\n"), style=style, overflow="fold")
    )
    return Constrain(grid, _MEASURE)


def blank() -> Text:
    return Text("")


def _fits(content: str, encoding: str) -> bool:
    try:
        content.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
