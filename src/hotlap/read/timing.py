"""Timing logs: blocks of named spans, a block a step, in which a span may stand beside those that it contains.

Step 1                                        roots, with the parts of each indented below it
前向传播总耗时 : 1805.28ms ( 50.0%)            contains the other roots: the printed total counts it again
VRT处理        : 1799.99ms ( 49.9%)
  - Stage8     :  965.12ms
Total----------: 3610.53ms
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hotlap.read.numbers import LOOSE, number
from hotlap.records import Span, Timing

_NAME = rb"[^\n:\[\]|]{1,200}?"
_LINE = re.compile(
    # Step 1, Total: 3610.53ms, name: 12.3ms (50.0%) [avg: 12.0ms]
    rb"^[ \t]*(?:Step (?P<step>\d+)[ \t]*$|"
    rb"Total[-\s]*(?::|\xef\xbc\x9a)[ \t]*(?P<total>" + LOOSE + rb")[ \t]?ms|"
    rb"(?P<dash>- )?(?P<name>" + _NAME + rb")[ \t]*(?::|\xef\xbc\x9a)[ \t]*(?P<ms>" + LOOSE + rb")[ \t]?ms"
    rb"(?:[ \t]*\([ \t]*(?P<share>" + LOOSE + rb")%\))?(?:[ \t]*\[avg:[ \t]*(?P<avg>" + LOOSE + rb")ms\])?[ \t]*$)",
    re.MULTILINE,
)
#: ``[VRT] Stage 1 (1x分辨率)耗时: 234.56ms``: who, and what of it.
_VERBOSE = re.compile(
    rb"^[ \t]*\[(?P<who>[^\]\n]{1,100})\][ \t]*(?P<what>[^\n:]{1,200}?)[ \t]*:[ \t]*(?P<ms>" + LOOSE + rb")ms[^\n]*",
    re.MULTILINE,
)
#: ``│ VRT处理 ███░░  150.0ms 24.2%`` between ``┌─ Timing Profile`` and ``└─ Total``.
_CONSOLE = re.compile(
    "^[ \\t]*(?:┌─ Timing Profile[^\\n]*|└─ Total:[ \\t]*(?P<total>".encode()
    + LOOSE
    + ")ms[^\\n]*|│[ \\t]*(?P<name>[^\\n│█░▓▒]{1,200}?)[ \\t]+[█░▓▒ \\t]*(?P<ms>".encode()
    + LOOSE
    + rb")ms(?:[ \t]+(?P<share>"
    + LOOSE
    + rb")%)?[^\n]*)",
    re.MULTILINE,
)
_TOTAL = re.compile(rb"^[ \t]*Total[- \t]*(?::|\xef\xbc\x9a)[ \t]*[\d.]+[ \t]?ms", re.MULTILINE)
#: Names that are remembered.
_MEMORY = 10_000
#: Names of the whole that stand beside their parts.
WHOLE_NAMES = ("前向传播总耗时", "forward total", "total forward", "forward")
_TOOK = re.compile(r"(?:总)?耗时$")
#: A span whose time the others beside it make up to within this share contains them.
_ADDS_UP = 0.02


@dataclass
class _Sum:
    seconds: float = 0.0
    lines: int = 0
    share: float | None = None
    mean: float | None = None
    children: dict[str, _Sum] = field(default_factory=dict)

    def add(self, ms: float) -> None:
        self.seconds += 1e-3 * ms
        self.lines += 1


class Timings:
    """All timing lines of a log, added up by name."""

    def __init__(self) -> None:
        self.roots: dict[str, _Sum] = {}
        self.totals = _Sum()
        self.steps = 0
        self.lines = 0
        self._root: _Sum | None = None
        self._inside = False
        self._names: dict[bytes, str] = {}

    def feed(self, text: bytes) -> bytes:
        """Take the lines that are of a timing log, and return the others."""
        if b"ms" not in text:
            return text
        if "│".encode() in text or "└─".encode() in text:
            text = _CONSOLE.sub(self._console, text)
        if "耗时".encode() in text or b"[SpikeEncoder" in text:
            text = _VERBOSE.sub(self._verbose, text)
        if self._inside or _is_block(text):
            self._inside = True
            parts = _LINE.split(text)
            width = _LINE.groups + 1
            for row in zip(*(parts[at::width] for at in range(1, width)), strict=True):
                self._line(row)
            # What is left of a line that was taken is its end.
            text = b"".join([gap for gap in parts[0::width] if gap != b"\n"])
        return text

    def _line(self, row: tuple[bytes | None, ...]) -> None:
        step, total, dash, name, ms, share, mean = row
        self.lines += 1
        if step is not None:
            self.steps += 1
            self._root = None
            return
        value = number(total or ms or b"")
        if value is None or (total is None and name is None):
            return
        if total is not None:
            self.totals.add(value)
            return
        place = self._root.children if dash and self._root is not None else self.roots
        span = place.setdefault(self._name(name or b""), _Sum())
        span.add(value)
        span.share = _scaled(share, 0.01) if share else span.share
        span.mean = _scaled(mean, 1e-3) if mean else span.mean
        if not dash:
            self._root = span

    def _name(self, name: bytes) -> str:
        """The name as text; the same few come in every block."""
        known = self._names.get(name)
        if known is None:
            if len(self._names) > _MEMORY:
                self._names.clear()
            known = self._names[name] = _text(name)
        return known

    def _console(self, match: re.Match[bytes]) -> bytes:
        self.lines += 1
        total, name, ms, share = match.groups()
        value = number(total or ms or b"")
        if value is None:
            self.steps += total is None and name is None
        elif total is not None:
            self.totals.add(value)
        else:
            span = self.roots.setdefault(_text(name), _Sum())
            span.add(value)
            span.share = _scaled(share, 0.01) if share else span.share
        return b""

    def _verbose(self, match: re.Match[bytes]) -> bytes:
        who, what, ms = match.groups()
        value = number(ms)
        self.lines += 1
        if value is None:
            return b""
        owner, part = _text(who), _TOOK.sub("", _text(what)).strip()
        if owner == "主模型":
            self.roots.setdefault(part, _Sum()).add(value)
            return b""
        if owner.startswith("VRT"):
            whole = "VRT处理"
            part = part if owner == "VRT" else f"{owner.removeprefix('VRT')} {part}"
        else:
            whole = owner
        self.roots.setdefault(whole, _Sum()).children.setdefault(part, _Sum()).add(value)
        return b""

    def timing(self) -> Timing | None:
        """What was seen of a step, nothing counted twice; None where nothing was timed."""
        roots = [_span(name, each) for name, each in self.roots.items()]
        roots = [each for each in roots if each.seconds > 0]
        if not roots:
            return None
        total = self.totals.seconds / self.totals.lines if self.totals.lines else None
        whole, known_by = _whole_of(roots, total)
        plain = sum(each.seconds for each in roots)
        twice = 0.0
        if whole is not None:
            inside = [each for each in roots if each is not whole]
            twice = sum(each.seconds for each in inside)
            children = sorted([*whole.children, *inside], key=lambda each: -each.seconds)
            roots = [_with_children(whole, children)]
        roots.sort(key=lambda each: -each.seconds)
        return Timing(
            roots=roots,
            total=total,
            seen=plain - twice,
            parent=None if whole is None else whole.name,
            parent_known_by=known_by,
            twice=twice,
            blocks=self.steps or max(each.lines for each in roots),
        )


def _whole_of(roots: list[Span], total: float | None) -> tuple[Span | None, str]:
    """The span that contains the others beside it, and why that is known."""
    if len(roots) < 2:
        return None, ""
    largest = max(roots, key=lambda each: each.seconds)
    others = sum(each.seconds for each in roots) - largest.seconds
    if _by_name(largest.name) and others <= (1 + _ADDS_UP) * largest.seconds:
        return largest, "by its name"
    if abs(others - largest.seconds) <= _ADDS_UP * largest.seconds and len(roots) > 2:
        return largest, "because the others beside it add up to it"
    return None, ""


def _by_name(name: str) -> bool:
    return name.lower() in WHOLE_NAMES


def _span(name: str, found: _Sum) -> Span:
    children = [_span(each, inside) for each, inside in found.children.items()]
    return Span(
        name=name,
        # Lines of its own may be missing where parts of it were timed.
        seconds=found.seconds / found.lines if found.lines else sum(child.seconds for child in children),
        lines=found.lines or max((child.lines for child in children), default=0),
        printed_share=found.share,
        printed_mean=found.mean,
        children=sorted((child for child in children if child.seconds > 0), key=lambda child: -child.seconds),
    )


def _with_children(span: Span, children: list[Span]) -> Span:
    return Span(
        name=span.name,
        seconds=span.seconds,
        lines=span.lines,
        printed_share=span.printed_share,
        printed_mean=span.printed_mean,
        children=children,
    )


def _is_block(text: bytes) -> bool:
    return b"ms [avg:" in text or (b"Total" in text and _TOTAL.search(text) is not None)


def _scaled(text: bytes, factor: float) -> float | None:
    value = number(text)
    return None if value is None else factor * value


def _text(name: bytes) -> str:
    """The name in whatever Chinese or other encoding the log was written."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return name.decode(encoding).strip()
        except UnicodeDecodeError:
            continue
    return name.decode("latin-1").strip()
