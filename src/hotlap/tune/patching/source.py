"""A Python file whose text is edited in single places, and whose meaning changes in those places alone.

    bytes ──> text, tokens ──> splices in the text ─────> new text ──parsed again──> the same tree?
         └──> syntax tree ───> the same changes in it ────────────────────────────────┘

Everything else stays as it was to the byte: comments, tabs, ends of lines, the encoding. Positions are those of the
text as it was before any edit.
"""

from __future__ import annotations

import ast
import bisect
import copy
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from hotlap.records import Site

#: What Python takes for the end of a line.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")


#: Tokens that stand for no text of their own.
_NOTHING = (
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.COMMENT,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


class Refused(Exception):
    """An edit cannot be made with certainty, in a sentence."""


class Source:
    """The text of a file and its syntax tree, which edits change side by side."""

    def __init__(self, path: Path) -> None:
        """Raises Refused where the file is none that Python reads."""
        self.path = path
        try:
            self.data = path.read_bytes()
            self.encoding, _ = tokenize.detect_encoding(io.BytesIO(self.data).readline)
            self.text = self.data.decode(self.encoding)
            self.tree = ast.parse(self.text)
        except (OSError, SyntaxError, ValueError, LookupError, RecursionError) as error:
            raise Refused(f"{path} cannot be read as Python: {error}") from error
        self.lines = _LINE.findall(self.text)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.splices: list[tuple[int, int, str]] = []

    def draft(self) -> Source:
        """A copy to try edits on."""
        draft = copy.copy(self)
        draft.tree = copy.deepcopy(self.tree)
        draft.splices = list(self.splices)
        return draft

    # where things are

    def holds(self, site: Site) -> bool:
        return Path(site.file).resolve() == self.path

    def at(self, line: int, column: int) -> int:
        """Place in the text of a line, from 1, and a column in bytes, as the syntax tree has them."""
        start = self.starts[line - 1]
        row = self.lines[line - 1]
        return start + len(row.encode(errors="surrogatepass")[:column].decode(errors="surrogatepass"))

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def written(self, node: ast.expr) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    @cached_property
    def tokens(self) -> list[tuple[int, int, str]]:
        """Start, end and text of all that means something."""
        found = []
        for token in tokenize.generate_tokens(iter([*self.lines, ""]).__next__):
            if token.type not in _NOTHING:
                start, end = (self.starts[line - 1] + column for line, column in (token.start, token.end))
                found.append((start, end, token.string))
        return found

    def token_before(self, place: int) -> tuple[int, int, str]:
        """The last one that ends there or before."""
        return self.tokens[bisect.bisect_right([end for _, end, _ in self.tokens], place) - 1]

    def line_start(self, place: int) -> int:
        return self.starts[bisect.bisect_right(self.starts, place) - 1]

    def line_end(self, place: int) -> int:
        """Before what ends the line."""
        number = bisect.bisect_right(self.starts, place) - 1
        return self.starts[number] + len(self.lines[number].rstrip("\r\n"))

    def indent(self, place: int) -> str | None:
        """What stands before it in its line, where that is nothing but space."""
        before = self.text[self.line_start(place) : place]
        return before if not before.strip(" \t\f") else None

    @property
    def newline(self) -> str:
        first = self.lines[0] if self.lines else ""
        return first[len(first.rstrip("\r\n")) :] or "\n"

    # the tree

    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: parent for parent in ast.walk(self.tree) for child in ast.iter_child_nodes(parent)}

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call) and hasattr(node, "lineno"))

    @cached_property
    def names(self) -> dict[str, str]:
        """What the names that the file imports stand for, e.g. "F" for "torch.nn.functional"."""
        found = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return found

    def meaning(self, node: ast.expr) -> str | None:
        """The dotted name of something imported, e.g. "torch.optim.Adam" for ``optim.Adam``."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.names:
            return None
        return ".".join([self.names[node.id], *attributes])

    # the text

    def splice(self, start: int, end: int, new: str) -> None:
        self.splices.append((start, end, new))

    def add_line(self, place: int, indent: str, line: str) -> None:
        """Before the line that begins there."""
        self.splice(place, place, f"{indent}{line}{self.newline}")

    def result(self) -> bytes:
        """The edited file.

        Raises:
            Refused: it would mean anything else than was intended.
        """
        parts, place = [], 0
        for start, end, new in sorted(self.splices, key=lambda splice: splice[:2]):
            if start < place:
                raise Refused(f"two edits of {self.path.name} meet in one place")
            parts += [self.text[place:start], new]
            place = end
        text = "".join([*parts, self.text[place:]])
        try:
            after = ast.parse(text)
        except (SyntaxError, ValueError) as error:
            raise Refused(f"the edited {self.path.name} would not be Python: {error}") from error
        if ast.dump(after) != ast.dump(self.tree):
            raise Refused(f"the edited {self.path.name} would mean something else than intended")
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise Refused(f"{self.path.name} cannot hold the edit in {self.encoding}") from error


def spelled(value: object) -> str:
    """A literal as people write it."""
    text = repr(value)
    if isinstance(value, str) and "\\" not in text and '"' not in text:
        return f'"{value}"'
    return text


def literal(value: object) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def statement(text: str) -> ast.stmt:
    """One that has no place in the file yet."""
    found = ast.parse(text).body[0]
    for node in ast.walk(found):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            if hasattr(node, name):
                delattr(node, name)
    return found


def expression(text: str) -> ast.expr:
    found = statement(text)
    assert isinstance(found, ast.Expr)
    return found.value
