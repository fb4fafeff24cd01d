"""Text as GitHub's Markdown, in which nothing that a record says can become markup, a mention or a link.

Words are escaped, names and commands stand in code, which is never interpreted. What GitHub looks for after the
Markdown (``@name``, ``#12``, ``GH-12``) is broken by a space without width.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hotlap.report import text

_SPECIAL = re.compile(r"[\\`*_\[\]~$]")
#: What would begin a list, a heading, a quotation or a table at the beginning of a line.
_BEGINNING = re.compile(r"^(?:[#+\-=:]|\d+(?=[.)](?:\s|$)))")
_LINK = re.compile(r"(?<=:)//|(?<=www)\.", re.IGNORECASE)
_SOUGHT = re.compile(r"@|#(?=\d)|(?<=GH)-(?=\d)", re.IGNORECASE)
_BACKTICKS = re.compile(r"`+")
_CODE = re.compile(r"`([^`]+)`")
_NO_WIDTH = "\u200b"


def words(content: str) -> str:
    """Return a sentence; what stands in backticks is set as code."""
    content = _one_line(content)
    if "``" in content or content.count("`") % 2:  # none of ours: what would be code is not clear
        return name(content)
    shown, end = [], 0
    for match in _CODE.finditer(content):
        shown += [_escaped(content[end : match.start()], first=end == 0), code(match[1])]
        end = match.end()
    return "".join([*shown, _escaped(content[end:], first=end == 0)])


def name(content: str) -> str:
    """Return words in which backticks are no more than backticks."""
    return _escaped(_one_line(content), first=True)


def code(content: str) -> str:
    """Return a name or a command, as it is."""
    content = _one_line(content) or " "
    if "|" in content:  # which ends a cell of a table, inside of backticks too
        return f"<code>{_escaped(content)}</code>"
    fence = _fence(content, 1)
    room = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{room}{content}{room}{fence}"


def block(lines: Sequence[str], language: str = "") -> list[str]:
    """Return lines of code to copy."""
    content = text.shorten(text.printable("\n".join(lines), keep="\n")).split("\n")
    fence = _fence("\n".join(content), 3)
    return [fence + language, *content, fence]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> list[str]:
    """Return a table of cells that are Markdown already; ``<`` or ``>`` for each column in ``sides``."""
    lines = [header, [":--" if side == "<" else "--:" for side in sides], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def folded(summary: str, lines: Sequence[str]) -> list[str]:
    """Return a part that is closed until somebody opens it; nothing where there are no lines."""
    if not lines:
        return []
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def _one_line(content: str) -> str:
    return text.shorten(" ".join(text.printable(content).split()))


def _escaped(content: str, first: bool = False) -> str:
    content = _SPECIAL.sub(lambda match: f"\\{match[0]}", content)
    content = _LINK.sub(lambda match: "/\\/" if match[0] == "//" else "\\.", content)
    if first:
        content = _BEGINNING.sub(lambda match: f"\\{match[0]}" if not match[0].isdigit() else match[0] + "\\", content)
    content = _SOUGHT.sub(lambda match: match[0] + _NO_WIDTH, content)
    content = content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return content.replace("|", "&#124;")


def _fence(content: str, least: int) -> str:
    longest = max((len(match[0]) for match in _BACKTICKS.finditer(content)), default=0)
    return "`" * max(least, longest + 1)
