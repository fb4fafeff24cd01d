from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotlap.errors import ConfigError
from hotlap.workloads.apt.files import read_pairs
from hotlap.workloads.apt.pairs import TAGS, Pair

#: One concept as the project lays it out.
RAIN = {
    "concept": "下雨",
    "level_1": {"字卡": "下雨", "emoji": "🌧️"},
    "level_2": {"短语": "下雨了"},
    "level_3": {"数学": "S = VP"},
    "level_4": {"拼音": "xià yǔ"},
    "level_5": {"英文": "It rains"},
    "level_6": {"中文": "今天下雨。"},
    "level_7": {"日文": "雨が降る"},
    "level_8": {"韩文": "비가 와요"},
}
SOURCES = {
    "[EMOJI]": "🌧️",
    "[PHRASE]": "下雨了",
    "[PY]": "xià yǔ",
    "[EN]": "It rains",
    "[JP]": "雨が降る",
    "[KR]": "비가 와요",
}
PAIRS = [Pair("下雨", tag, SOURCES[tag], "今天下雨。") for tag in TAGS.values()]

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: Any) -> Path:
        path = tmp_path / "hlbd.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def test_the_text_layout(write: Write) -> None:
    """The list after ``samples =`` is read, whatever prose stands around it."""
    text = (
        f"Levels [1] to [8]\nsamples are below.\n\nsamples = [\n{json.dumps(RAIN, ensure_ascii=False)}\n]\nthe end [.\n"
    )
    assert read_pairs(write(text)) == PAIRS


def test_the_v2_layout(write: Write) -> None:
    assert read_pairs(write({"metadata": {"version": "2.0"}, "samples": [RAIN, RAIN]})) == PAIRS * 2


def test_the_hardcore_layout(write: Write) -> None:
    """Its records are pairs without a tag, and the module is the concept."""
    data = {"geometry": [{"input": "三角形有几条边？", "output": "3"}], "sums": [{"input": "1 + 1 = ?", "output": "2"}]}
    assert read_pairs(write({"metadata": {}, "data": data})) == [
        Pair("geometry", "", "三角形有几条边？", "3"),
        Pair("sums", "", "1 + 1 = ?", "2"),
    ]


def test_flat_fields_and_numbered_texts(write: Write) -> None:
    """Levels may be texts, by name or by the project's number."""
    flat = {"concept": "下雨", "english": "It rains", "level_4": "xià yǔ", "level_3": "S = VP", "zh": "今天下雨。"}
    assert read_pairs(write([flat])) == [PAIRS[2], PAIRS[3]]


def test_a_level_nested_twice(write: Write) -> None:
    """The project's text file has such records."""
    assert read_pairs(write([RAIN | {"level_8": {"韩文": {"韩文": "비가 와요"}}}])) == PAIRS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([RAIN, RAIN | {"level_9": {"法文": "il pleut"}}], "sample 1: the field 法文 is unknown; known are"),
        ([{"concept": "下雨", "englsh": "rain"}], "sample 0: the field englsh is unknown; did you mean 'english'?"),
        ([{"concept": "下雨", "english": "rain"}], r"sample 0: the field chinese \(level_6, 中文\) is missing"),
        ([RAIN | {"concept": ""}], "sample 0: the field concept is ''"),
        ([{"chinese": "雨"}], "sample 0: the field concept is missing"),
        ([RAIN | {"level_5": {"英文": 3}}], "sample 0: the field 英文 is 3"),
        (["rain"], "sample 0: 'rain' is not a record"),
        ({"data": {"sums": [{"input": "1"}]}}, "sums 0: the field output is missing"),
        ({"data": {"sums": [{"input": "1", "outptu": "1"}]}}, "sums 0: the field outptu is unknown; did you mean"),
        ({"data": {"sums": {}}}, "module sums: it should be a list"),
        ({"samples": {}}, "has no samples = "),
        ({"rows": []}, "has no samples = "),
        ([], "has no pair"),
        ('samples = [\n{"concept": 下雨}\n]', "line 2: this is not JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(write: Write, content: Any, message: str) -> None:
    """The sentence names the file, the record and the field."""
    with pytest.raises(ConfigError, match=rf"hlbd\.json.*{message}"):
        read_pairs(write(content))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_pairs(tmp_path / "nothing.json")
    (tmp_path / "gbk.json").write_bytes("下雨".encode("gbk"))
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        read_pairs(tmp_path / "gbk.json")
