"""Reading the HLBD project's own files into pairs.

    text        ... prose ...  samples = [{"concept": ..., "level_1": {...}, ...}, ...]
    V2          {"metadata": {...}, "samples": [{"concept": ..., "level_1": {...}, ...}, ...]}
    Hardcore    {"metadata": {...}, "data": {"geometry": [{"input": ..., "output": ...}, ...], ...}}

A record of the first two gives one pair for each level that it has, all to its Chinese. Its levels are there as the
project writes them, {"level_4": {"拼音": "xià yǔ"}}, or flat, {"pinyin": "xià yǔ"}. Two levels are known and give no
pair: the character card, which is the concept again, and the syntax ("S = NP + VP"). A record of Hardcore is a pair
without a tag, and its module is the concept. Layouts as published by the project APT-Transformer (chen0430tw).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotlap.errors import ConfigError, did_you_mean
from hotlap.workloads.apt.pairs import TAGS, TARGET, Pair

#: Our level for each name that the project's files, or somebody's own, use; "" for those that give no pair.
FIELDS = {
    "emoji": "emoji",
    "表情": "emoji",
    "phrase": "phrase",
    "短语": "phrase",
    "pinyin": "pinyin",
    "拼音": "pinyin",
    "py": "pinyin",
    "english": "english",
    "英文": "english",
    "en": "english",
    "chinese": "chinese",
    "中文": "chinese",
    "zh": "chinese",
    "japanese": "japanese",
    "日文": "japanese",
    "jp": "japanese",
    "ja": "japanese",
    "korean": "korean",
    "韩文": "korean",
    "kr": "korean",
    "ko": "korean",
    "card": "",
    "字卡": "",
    "math": "",
    "数学": "",
}
#: A level that is a plain text is told by its number, the project's own.
NUMBERED = {
    "level_1": "emoji",
    "level_2": "phrase",
    "level_3": "",
    "level_4": "pinyin",
    "level_5": "english",
    "level_6": "chinese",
    "level_7": "japanese",
    "level_8": "korean",
}


def read_pairs(path: Path) -> list[Pair]:
    """Read every pair of a file in one of the three layouts, in its order."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give a file of HLBD") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text in UTF-8: save it as UTF-8") from None
    content = _content(path, text)
    if isinstance(content, dict) and isinstance(content.get("data"), dict):
        pairs = [pair for name, records in content["data"].items() for pair in _hardcore(path, name, records)]
    else:
        records = content.get("samples") if isinstance(content, dict) else content
        if not isinstance(records, list):
            raise ConfigError(
                f"{path} has no samples = [...], no key samples with a list, and no key data with modules: "
                "give a file in one of the three layouts of HLBD"
            )
        pairs = [pair for number, record in enumerate(records) for pair in _levels(path, f"sample {number}", record)]
    if not pairs:
        raise ConfigError(f"{path} has no pair: give a file with at least one record")
    return pairs


def _content(path: Path, text: str) -> Any:
    """What the file holds as JSON: all of it, or the list after ``samples =``."""
    assignment = re.search(r"^\s*samples\s*=\s*(?=\[)", text, re.MULTILINE)
    try:
        if assignment:
            return json.JSONDecoder().raw_decode(text, assignment.end())[0]
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: this is not JSON ({error.msg}): correct that line, or give another file"
        ) from None


def _hardcore(path: Path, module: str, records: Any) -> Iterator[Pair]:
    if not isinstance(records, list):
        raise ConfigError(f"{path}, module {module}: it should be a list of records: write [{{...}}, ...]")
    for number, record in enumerate(records):
        place = f"{module} {number}"
        fields = _mapping(path, place, record)
        unknown = [name for name in fields if name not in ("input", "output")]
        if unknown:
            raise _unknown(path, place, unknown[0], ("input", "output"))
        source, target = (_text(path, place, name, fields.get(name)) for name in ("input", "output"))
        yield Pair(module, "", source, target)


def _levels(path: Path, place: str, record: Any) -> Iterator[Pair]:
    found: dict[str, str] = {}
    fields = _mapping(path, place, record)
    concept = _text(path, place, "concept", fields.get("concept"))
    for name, value in _flat(fields):
        if name == "concept":
            continue
        level = FIELDS.get(name, NUMBERED.get(name))
        if level is None:
            raise _unknown(path, place, name, (*FIELDS, *NUMBERED))
        if level:
            found[level] = _text(path, place, name, value)
    if TARGET not in found:
        raise ConfigError(
            f"{path}, {place}: the field chinese (level_6, 中文) is missing, which every pair leads to: add it"
        )
    for level, tag in TAGS.items():
        if level in found:
            yield Pair(concept, tag, found[level], found[TARGET])


def _flat(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The innermost names and values: the project's text file has {"韩文": {"韩文": ...}} in places."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, value


def _mapping(path: Path, place: str, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ConfigError(f"{path}, {place}: {record!r} is not a record: write it as {{field: value}}")
    return record


def _text(path: Path, place: str, name: str, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    was = "is missing" if value is None else f"is {value!r}"
    raise ConfigError(f"{path}, {place}: the field {name} {was}, and it should be a text: write one, or take it out")


def _unknown(path: Path, place: str, name: str, known: tuple[str, ...]) -> ConfigError:
    hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
    return ConfigError(f"{path}, {place}: the field {name} is unknown{hint}: rename it or take it out")
