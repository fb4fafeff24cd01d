"""Write what was proven into the user's configuration: change single values, leave every other byte alone.

    text -> compose (where each value stands) -> splice the new scalars -> read again -> only those keys differ?

A round trip through a YAML library would re-indent, re-quote and lose comments. So only the characters of the one
scalar are replaced, and what cannot be done safely that way is refused with the line and the reason.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hotlap.errors import ConfigError, did_you_mean

#: What PyYAML takes for the end of a line.
_LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")

#: A tag that many write before 1e-4, which PyYAML would take for text.
_FLOAT = "!!float "

#: A value in the loaded data by the keys that lead to it, with its type: 1, 1.0 and True are three different values.
_Leaves = dict[tuple[Any, ...], tuple[type, Any]]


class _Splice(NamedTuple):
    start: int
    end: int
    new: str
    #: Column of an added line; what is spliced into a line comes before any line added after it.
    depth: float = math.inf


class _Document:
    """A YAML text, the positions of its values, and its data."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.loader = yaml.SafeLoader(text)
            root = self.loader.get_single_node()
            self.ends = list(_text_ends(text))
            if root is not None:
                _refuse_duplicates(root)
            # Loaded apart: constructing resolves merge keys inside the nodes.
            self.leaves = dict(_leaves(yaml.safe_load(text)))
        except yaml.YAMLError as error:
            raise ConfigError(_plain_words(error)) from error
        except RecursionError as error:
            raise ConfigError("an alias in the configuration contains itself: edit it by hand") from error
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError("line 1: the configuration is not a mapping of keys to values, so no key can be changed")
        self.root: yaml.MappingNode = root

    def splice(self, path: str, value: object, dotted: bool) -> tuple[tuple[Any, ...], _Splice | None]:
        """Return the keys that ``path`` leads along, as loaded, and the splice that makes its value ``value``."""
        segments = path.split(".")
        if not all(segments):
            raise ConfigError(f"{path!r} is not a path of keys such as 'data.workers'")
        keys: list[Any] = []
        node = self.root
        depth = 0
        while depth < len(segments):
            # A reader of dotted keys takes "a.b" for the b in a section a.
            longest = len(segments) - depth if dotted else 1
            parts = [".".join(segments[depth : depth + taken]) for taken in range(1, longest + 1)]
            found = [(part, entry) for part in parts if (entry := _entry(node, part, path)) is not None]
            segment, entry = found[0] if found else (parts[0], None)
            depth += segment.count(".") + 1
            here = ".".join(segments[:depth])
            if entry is None:
                if depth == len(segments) or dotted:
                    rest = ".".join(segments[depth - 1 :])
                    return (*keys, rest), self._added(node, path, rest, value)
                known = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                raise ConfigError(
                    f"line {_line(node)}: there is no {here!r} to hold {path!r}{did_you_mean(segment, known)}: "
                    "add it by hand"
                )
            key, child = entry
            keys.append(self.loader.construct_object(key, deep=True))
            if depth == len(segments):
                return tuple(keys), self._replaced(key, child, path, tuple(keys), value)
            if not isinstance(child, yaml.MappingNode):
                raise ConfigError(f"line {_line(key)}: {here!r} is {_kind(child)}, so it cannot hold {path!r}")
            if _is_alias(key, child):
                raise ConfigError(
                    f"line {_line(key)}: {here!r} is an alias, so changing {path!r} would change other keys too: "
                    "write it out by hand"
                )
            node = child
        raise AssertionError("a path has at least one segment")

    def _replaced(
        self, key: yaml.Node, node: yaml.Node, path: str, keys: tuple[Any, ...], value: object
    ) -> _Splice | None:
        flow_list = isinstance(value, list) and isinstance(node, yaml.SequenceNode) and bool(node.flow_style)
        if not isinstance(node, yaml.ScalarNode) and not flow_list:
            raise ConfigError(f"line {_line(key)}: {path!r} is {_kind(node)}, not a single value: edit it by hand")
        if _is_alias(key, node):
            raise ConfigError(f"line {_line(key)}: the value of {path!r} is an alias: write it out by hand")
        if _below(self.leaves, keys) == dict(_leaves(value, keys)):
            return None
        start, end = node.start_mark.index, node.end_mark.index
        if self.text.startswith(_FLOAT, start) and isinstance(value, float):
            start += len(_FLOAT)
        written = self.text[start:end]
        if written.startswith(("&", "!")):
            mark = "an anchor" if written.startswith("&") else "a tag"
            raise ConfigError(f"line {_line(key)}: the value of {path!r} carries {mark}: edit it by hand")
        if getattr(node, "style", None) in ("|", ">") or _LINE_BREAK.search(written):
            raise ConfigError(f"line {_line(key)}: the value of {path!r} goes over several lines: edit it by hand")
        if flow_list:
            assert isinstance(value, list)
            if any(not isinstance(each, yaml.ScalarNode) or not start < each.start_mark.index for each in node.value):
                raise ConfigError(f"line {_line(key)}: {path!r} holds more than plain values: edit it by hand")
            return _Splice(start, end, _flow_list(path, value, written))
        return _Splice(start, end, _scalar(path, value) if written else f" {_scalar(path, value)}")

    def _added(self, mapping: yaml.MappingNode, path: str, key: str, value: object) -> _Splice:
        if mapping.flow_style:
            raise ConfigError(f"line {_line(mapping)}: {path!r} would have to be added inside braces: add it by hand")
        column = mapping.value[0][0].start_mark.column
        line = " " * column + f"{_scalar(path, key)}: {_scalar(path, value)}"
        first_break = _LINE_BREAK.search(self.text)
        line_break = first_break.group() if first_break else "\n"
        first, last = mapping.start_mark.index, mapping.end_mark.index
        position = max(end for end in self.ends if first <= end <= last)
        if position and _LINE_BREAK.fullmatch(self.text[position - 1]):
            return _Splice(
                position, position, line + line_break, column
            )  # after a block of text, which ends with its line
        following = _LINE_BREAK.search(self.text, position)
        position = following.start() if following else len(self.text)
        return _Splice(position, position, line_break + line, column)


def edit_yaml(text: str, edits: dict[str, object], *, dotted: bool = False) -> str:
    """Return ``text`` with the scalar at each dotted key path set to a new value, every other byte as it was.

    A value is a bool, int, float, str or None, and is written so that PyYAML reads back just that; a list of those may
    take the place of a list in brackets on one line. A value that is already there keeps its spelling. A missing key is
    added as the last line of its mapping, which must exist, or, for a reader of ``dotted`` keys, as `section.key: 1`.

    Raises:
        ConfigError: the text cannot be edited safely (lists, aliases, anchors, several documents, duplicate keys, ...).
    """
    before = _Document(text)
    expected = dict(before.leaves)
    splices = []
    for path, value in edits.items():
        keys, splice = before.splice(path, value, dotted)
        expected = {place: leaf for place, leaf in expected.items() if place[: len(keys)] != keys}
        expected |= _leaves(value, keys)
        if splice is not None:
            splices.append(splice)
    edited = text
    # From the end, so that earlier positions stay true; where two meet, the more deeply nested one comes first.
    for splice in sorted(splices, key=lambda each: (each.start, -each.depth))[::-1]:
        edited = edited[: splice.start] + splice.new + edited[splice.end :]
    _check(edited, expected, edits)
    return edited


def unified_diff(before: str, after: str, path: str | Path) -> str:
    """Return the patch from ``before`` to ``after`` for ``git apply`` or ``patch -p1``; empty when nothing changed."""
    name = str(path).lstrip("/")
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _check(edited: str, expected: _Leaves, edits: dict[str, object]) -> None:
    names = ", ".join(repr(path) for path in edits)
    try:
        actual = _Document(edited).leaves
    except ConfigError as error:
        raise ConfigError(f"changing {names} would break the configuration ({error}): edit it by hand") from error
    for keys in actual.keys() | expected.keys():
        if actual.get(keys) != expected.get(keys):
            path = ".".join(map(str, keys))
            raise ConfigError(f"changing {names} would also change what {path!r} means: edit it by hand")


def _below(leaves: _Leaves, keys: tuple[Any, ...]) -> _Leaves:
    return {place: leaf for place, leaf in leaves.items() if place[: len(keys)] == keys}


def _flow_list(path: str, values: list[object], written: str) -> str:
    """With or without a space after each comma, as it was."""
    gap = ", " if "," not in written or ", " in written else ","
    return f"[{gap.join(_scalar(path, value) for value in values)}]"


def _scalar(path: str, value: object) -> str:
    """Spell a value as PyYAML does inside brackets, which is safe outside of them too."""
    plain: object
    if value is None or isinstance(value, bool):
        plain = value
    elif isinstance(value, str):
        plain = str(value)
    elif isinstance(value, int):
        plain = int(value)
    elif isinstance(value, float):
        plain = float(value)
    elif isinstance(value, dict) and value:
        return "{" + ", ".join(f"{_scalar(path, key)}: {_scalar(path, each)}" for key, each in value.items()) + "}"
    else:
        raise ConfigError(f"{path!r} cannot be set to {value!r}: only true, false, null, numbers and text")
    # Other YAML readers take 3e-4 for a number where PyYAML reads text; text of several lines must fit in one.
    quote = isinstance(plain, str) and (_is_number(plain) or _LINE_BREAK.search(plain) is not None)
    listed = yaml.safe_dump(
        [plain],
        default_flow_style=True,
        default_style='"' if quote else None,
        width=math.inf,
        allow_unicode=True,
    )
    return listed.strip("\n")[1:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _entry(mapping: yaml.MappingNode, segment: str, path: str) -> tuple[yaml.Node, yaml.Node] | None:
    found = [(key, value) for key, value in mapping.value if isinstance(key, yaml.ScalarNode) and key.value == segment]
    if len(found) > 1:
        raise ConfigError(f"line {_line(found[1][0])}: {path!r} names two keys: edit it by hand")
    return found[0] if found else None


def _is_alias(key: yaml.Node, value: yaml.Node) -> bool:
    """An alias is composed to the node that it points to, which stands before its key."""
    return bool(value.start_mark.index < key.end_mark.index)


def _text_ends(text: str) -> Iterator[int]:
    """Where values end; the end of a block collection is left out, since it is only noticed at the next token."""
    for event in yaml.parse(text, yaml.SafeLoader):
        start, end = event.start_mark, event.end_mark
        if start is None or end is None:
            continue
        closes = isinstance(event, yaml.CollectionEndEvent) and end.index > start.index
        if closes or isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            yield end.index


def _refuse_duplicates(root: yaml.Node) -> None:
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
            continue
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            waiting.extend((key, value))
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (first := lines.get((key.tag, key.value))) is not None:
                raise ConfigError(
                    f"line {_line(key)}: the key {key.value!r} is already on line {first}: remove one of them"
                )
            lines[key.tag, key.value] = _line(key)


def _leaves(data: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], tuple[type, Any]]]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _leaves(value, (*keys, key))
    elif isinstance(data, list) and data:
        for index, value in enumerate(data):
            yield from _leaves(value, (*keys, index))
    else:
        yield keys, _leaf(data)


def _leaf(value: Any) -> tuple[type, Any]:
    if isinstance(value, float):
        return float, repr(float(value))  # by its spelling: nan is not equal to itself, and -0.0 is equal to 0.0
    for plain in (bool, int, str):
        if isinstance(value, plain):
            return plain, plain(value)
    return type(value), value


def _plain_words(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"the configuration is not text that YAML can hold: {' '.join(str(error).split())}"
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}: " if mark else ""
    problem = str(error.problem)
    if "'\\t'" in problem:
        problem = "a tab stands where YAML wants spaces"
    elif "another document" in problem:
        return f"{where}a second document begins here: only a configuration of one document can be edited"
    elif "constructor for the tag" in problem:
        return f"{where}a tag that only the script itself can read ({problem}): edit it by hand"
    return f"{where}this is not valid YAML: {problem}"


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a single value" if node.value else "empty"
