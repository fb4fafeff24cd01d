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
from typing import TypeAlias, cast

from hotlap.read.numbers import LOOSE, number, numbers
from hotlap.records import Span, Timing

#: With the blanks behind it: taking them in is faster than looking where they begin.
_NAME = rb"[^\n:\[\]|]{1,200}"
#: From the end of the line before, which is searched for faster than the beginning of a line.
_LINE = re.compile(
    # Step 1, Total: 3610.53ms, name: 12.3ms (50.0%) [avg: 12.0ms]
    rb"\n[ \t]*(?:Step (?P<step>\d+)[ \t]*$|"
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
#: Names of the forward pass, which stands beside its parts.
WHOLE_NAMES = ("前向传播总耗时", "forward total", "total forward", "forward")
_TOOK = re.compile(r"(?:总)?耗时$")
#: Phases of a step, which stand beside the others and do not contain them.
_PHASE = re.compile("backward|optimi[sz]er|反向|更新|优化器", re.IGNORECASE)
#: Between the lines of a block.
_RULES = b"=-_*# \t\n"
#: Of a block that has no end.
_MOST_ROWS = 1000
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


#: What a line says: name, milliseconds, whether a dash marks it as a part, share in percent, mean in milliseconds.
_Row: TypeAlias = tuple[str, float, bool, "float | None", "float | None"]


class Timings:
    """All timing lines of a log, added up by name."""

    def __init__(self) -> None:
        self.roots: dict[str, _Sum] = {}
        self.totals = _Sum()
        self.steps = 0
        self.lines = 0
        #: Lines of the block that stands open, and whether a line said that it begins.
        self._block: list[_Row] = []
        self._opened = False
        #: In each block the span that the others beside it add up to, or None.
        self._wholes: set[str | None] = set()
        self._names: dict[bytes, str] = {}

    def feed_blocks(self, text: bytes) -> bytes:
        """Take the lines of blocks, and return the others. They have to stand as they do in the log."""
        if b"ms" not in text or not (self._block or self._opened or _is_block(text)):
            return text
        parts = _LINE.split(b"\n" + text)
        width = _LINE.groups + 1
        gaps = cast("list[bytes]", parts[0::width])
        steps, totals, dashes, names, each_ms, shares, means = (parts[at::width] for at in range(1, width))
        ms_shares_means = zip(numbers(each_ms), numbers(shares), numbers(means), strict=True)
        # The line end that was put before the text.
        gaps[0] = gaps[0][1:]
        for gap, step, total, name, dash, (ms, share, mean) in zip(
            gaps, steps, numbers(totals), names, dashes, ms_shares_means, strict=False
        ):
            if gap:
                self._between(gap)
            if step is not None:
                self._begin_block()
            elif total is not None:
                self._close_block(total)
            elif name is not None and ms is not None:
                self._block.append((self._name(name), ms, dash is not None, share, mean))
                if len(self._block) > _MOST_ROWS:
                    self._end_block()
        self._between(gaps[-1])
        return b"\n".join([*filter(None, gaps[:-1]), gaps[-1]])

    def feed(self, text: bytes) -> bytes:
        """Take the lines of the other forms, and return the rest."""
        if b"ms" not in text:
            return text
        if "│".encode() in text or "└─".encode() in text:
            text = _CONSOLE.sub(self._console, text)
        if "耗时".encode() in text or b"[SpikeEncoder" in text:
            text = _VERBOSE.sub(self._verbose, text)
        return text

    def end_file(self) -> None:
        """What comes is of another file: none of it belongs to the block that stands open."""
        self._end_block()

    def _between(self, gap: bytes) -> None:
        """Other text ends a block that does not say where it begins."""
        if self._block and not self._opened and gap.strip(_RULES):
            self._end_block()

    def _begin_block(self) -> None:
        self._end_block()
        self._opened = True
        self.steps += 1
        self.lines += 1

    def _close_block(self, total: float) -> None:
        """The printed total ends the block that it is of."""
        if self._block:
            self.totals.add(total)
            self.lines += 1
            self._add_block()
        self._block, self._opened = [], False

    def _end_block(self) -> None:
        """Without a total it is known for a block by its beginning, or by the means in its lines."""
        if self._opened or any(mean is not None for *_, mean in self._block):
            self._add_block()
        self._block, self._opened = [], False

    def _add_block(self) -> None:
        root: _Sum | None = None
        sides: dict[str, float] = {}
        for name, ms, dash, share, mean in self._block:
            inside = dash and root is not None
            place = root.children if inside and root is not None else self.roots
            span = place.get(name)
            if span is None:
                span = place[name] = _Sum()
            span.add(ms)
            if share is not None:
                span.share = 0.01 * share
            if mean is not None:
                span.mean = 1e-3 * mean
            if not inside:
                sides[name] = sides.get(name, 0.0) + ms
            if not dash:
                root = span
        self.lines += len(self._block)
        if sides:
            self._wholes.add(_adding_up(sides))

    def _name(self, name: bytes) -> str:
        """The name as text; the same few come in every block."""
        known = self._names.get(name)
        if known is None:
            if len(self._names) > _MEMORY:
                self._names.clear()
            known = self._names[name] = _text(name)
        return known

    def _console(self, match: re.Match[bytes]) -> bytes:
        total, name, ms, share = match.groups()
        value = number(total or ms or b"")
        if total is None and name is None:
            self._begin_block()
        elif value is not None and total is not None:
            self._close_block(value)
        elif value is not None:
            self._block.append((self._name(name), value, False, number(share) if share else None, None))
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
        whole, known_by = self._whole_of(roots)
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
            parent_is_forward=whole is not None and _by_name(whole.name),
            twice=twice,
            blocks=self.steps or max(each.lines for each in roots),
        )

    def _whole_of(self, roots: list[Span]) -> tuple[Span | None, str]:
        """The span that contains the others beside it, and why that is known."""
        if len(roots) < 2:
            return None, ""
        largest = max(roots, key=lambda each: each.seconds)
        others = sum(each.seconds for each in roots) - largest.seconds
        if _by_name(largest.name) and others <= (1 + _ADDS_UP) * largest.seconds:
            return largest, "by its name"
        if self._wholes == {largest.name}:
            return largest, "because the others beside it add up to it in every block"
        return None, ""


def _adding_up(sides: dict[str, float]) -> str | None:
    """The name of the span that the others of one block add up to."""
    if len(sides) < 3:
        return None
    name = max(sides, key=sides.__getitem__)
    others = sum(sides.values()) - sides[name]
    return name if abs(others - sides[name]) <= _ADDS_UP * sides[name] and not _PHASE.search(name) else None


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


def _text(name: bytes) -> str:
    """The name in whatever Chinese or other encoding the log was written."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return name.decode(encoding).strip()
        except UnicodeDecodeError:
            continue
    return name.decode("latin-1").strip()
