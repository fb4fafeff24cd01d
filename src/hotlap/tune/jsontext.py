"""Change single values of a JSON text and leave every other byte alone.

The positions of all values are found by one walk; the new ones are spliced in, and the result is read again to see that
nothing else differs.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from hotlap.errors import ConfigError, did_you_mean

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

Path = tuple[str | int, ...]


def read_json(text: str) -> dict[str, Any]:
    """Return the mapping that a JSON text holds.

    Raises:
        ConfigError: it is not JSON, or not a mapping.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"line {error.lineno}: this is not valid JSON ({error.msg})") from None
    except RecursionError:
        raise ConfigError("the configuration is nested too deeply: edit it by hand") from None
    if not isinstance(data, dict):
        raise ConfigError("line 1: the configuration is not a mapping of keys to values, so no key can be changed")
    return data


def edit_json(text: str, edits: dict[str, object]) -> str:
    """Return ``text`` with the value at each dotted path set to a new one, every other byte as it was.

    A value is a bool, int, float, str, None or a list of them. One that is already there keeps its spelling. A missing
    key is added after the last one of its mapping, which must exist and hold one.

    Raises:
        ConfigError: the text cannot be edited safely.
    """
    expected = read_json(text)
    spans: dict[Path, tuple[int, int]] = {}
    _walk(text, _skip(text, 0), (), spans)
    splices = []
    for path, value in edits.items():
        splice = _splice(text, spans, path.split("."), value)
        if splice is not None:
            splices.append(splice)
            _set(expected, path.split("."), value)
    edited = text
    # From the end, so that earlier positions stay true; what is added in one place keeps its order.
    for start, end, new in sorted(splices, key=lambda splice: splice[0])[::-1]:
        edited = edited[:start] + new + edited[end:]
    if json.dumps(read_json(edited), sort_keys=True) != json.dumps(expected, sort_keys=True):
        raise ConfigError(f"changing {', '.join(map(repr, edits))} would change other keys too: edit it by hand")
    return edited


def _splice(
    text: str, spans: dict[Path, tuple[int, int]], segments: list[str], value: object
) -> tuple[int, int, str] | None:
    path = ".".join(segments)
    for depth in range(1, len(segments)):
        above = spans.get(tuple(segments[:depth]))
        if above is None or text[above[0]] != "{":
            siblings = [str(key[-1]) for key in spans if key[:-1] == tuple(segments[: depth - 1]) and key]
            hint = did_you_mean(segments[depth - 1], siblings)
            raise ConfigError(f"there is no {'.'.join(segments[:depth])!r} to hold {path!r}{hint}: add it by hand")
    spelled = _spelled(path, value, ascii_only=text.isascii())
    span = spans.get(tuple(segments))
    if span is None:
        return _added(text, spans, segments, spelled)
    written = text[span[0] : span[1]]
    present = json.loads(written)
    if isinstance(present, dict) or isinstance(present, list) != isinstance(value, list):
        kind = "a mapping" if isinstance(present, dict) else "a list" if isinstance(present, list) else "a single value"
        raise ConfigError(f"{path!r} is {kind}, so it cannot be set to {value!r}: edit it by hand")
    if repr(present) == repr(value):
        return None
    if isinstance(value, list) and ", " not in written:
        spelled = spelled.replace(", ", ",") if not any(isinstance(each, str) for each in value) else spelled
    return (*span, spelled)


def _added(text: str, spans: dict[Path, tuple[int, int]], segments: list[str], spelled: str) -> tuple[int, int, str]:
    """After the last key of its mapping, on a line of its own where that one has one."""
    above = tuple(segments[:-1])
    siblings = [span for key, span in spans.items() if len(key) == len(segments) and key[:-1] == above]
    if not siblings:
        raise ConfigError(f"{'.'.join(segments)!r} would have to be added to an empty mapping: add it by hand")
    last_end = max(end for _, end in siblings)
    first_key = spans[above][0] + 1
    gap = text[first_key : _skip(text, first_key)]
    gap = gap if "\n" in gap else " "
    return last_end, last_end, f",{gap}{json.dumps(segments[-1])}: {spelled}"


def _spelled(path: str, value: object, *, ascii_only: bool) -> str:
    each = value if isinstance(value, list) else [value]
    for part in each:
        finite = not isinstance(part, float) or math.isfinite(part)
        if not (part is None or isinstance(part, (bool, int, float, str))) or not finite:
            raise ConfigError(f"{path!r} cannot be set to {value!r}: only true, false, null, numbers and text")
    return json.dumps(value, ensure_ascii=ascii_only)


def _set(data: dict[str, Any], segments: list[str], value: object) -> None:
    for segment in segments[:-1]:
        data = data[segment]
    data[segments[-1]] = value


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()


def _walk(text: str, place: int, path: Path, spans: dict[Path, tuple[int, int]]) -> int:
    """Note where the value at ``place`` and all in it begin and end; return its end. The text is valid JSON."""
    begun = place
    if text[place] not in "{[":
        _, place = _DECODER.raw_decode(text, place)
    else:
        closing = "}" if text[place] == "{" else "]"
        place = _skip(text, place + 1)
        number = 0
        while text[place] != closing:
            part: str | int = number
            if closing == "}":
                part, place = _DECODER.raw_decode(text, place)
                place = _skip(text, _skip(text, place) + 1)
            inner = (*path, part)
            if inner in spans:
                raise ConfigError(f"the key {part!r} is there twice: remove one of them")
            place = _skip(text, _walk(text, place, inner, spans))
            number += 1
            if text[place] == ",":
                place = _skip(text, place + 1)
        place += 1
    spans[path] = (begun, place)
    return place
