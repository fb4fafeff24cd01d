"""Editing a configuration: one scalar changes, every other byte stays."""

from __future__ import annotations

import difflib
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hotlap.errors import ConfigError
from hotlap.tune.adopt import edit_yaml, unified_diff

TEXT = """\
# how we train
seed: 1   # lucky

data:
  workers: 0        # processes
  path: "a # b"
  sizes: [1, 2]
  extra: {pin: false, name: x}

  # keep me
train:
    lr: 1e-3
    note: |
      two
      lines
    resume:           # nothing yet
shared: &shared {eps: 1}
other: *shared
"""


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.split("\n"), after.split("\n")) if line[0] in "+-"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", 2, ["- seed: 1   # lucky", "+ seed: 2   # lucky"]),
        ("data.workers", 4, ["-   workers: 0        # processes", "+   workers: 4        # processes"]),
        ("data.sizes", [1, 3], ["-   sizes: [1, 2]", "+   sizes: [1, 3]"]),
        ("data.sizes", ["a: b"], ["-   sizes: [1, 2]", "+   sizes: ['a: b']"]),
        ("data.sizes", [1, 2], []),
        ("data.path", "c", ['-   path: "a # b"', "+   path: c"]),
        ("data.path", "c # d", ['-   path: "a # b"', "+   path: 'c # d'"]),
        (
            "data.extra.pin",
            True,
            ["-   extra: {pin: false, name: x}", "+   extra: {pin: true, name: x}"],
        ),
        (
            "data.extra.name",
            "a, b",
            ["-   extra: {pin: false, name: x}", "+   extra: {pin: false, name: 'a, b'}"],
        ),
        ("train.lr", 1e-5, ["-     lr: 1e-3", "+     lr: 1.0e-05"]),
        (
            "train.resume",
            "last.pt",
            ["-     resume:           # nothing yet", "+     resume: last.pt           # nothing yet"],
        ),
        ("train.resume", None, []),
        ("train.amp", True, ["+     amp: true"]),
        ("data.prefetch", 2, ["+   prefetch: 2"]),
        ("compile", None, ["+ compile: null"]),
    ],
)
def test_only_the_one_scalar_changes(path: str, value: object, expected: list[str]) -> None:
    """Comments, order, blank lines and the spelling of everything else stay."""
    assert changed_lines(TEXT, edit_yaml(TEXT, {path: value})) == expected


def test_a_new_key_stands_at_the_end_of_its_mapping() -> None:
    """After the last value of the mapping, with the indentation of its neighbours."""
    edited = edit_yaml(TEXT, {"train.amp": True, "data.prefetch": 2, "data.pin": False, "compile": "no"})
    assert "extra: {pin: false, name: x}\n  prefetch: 2\n  pin: false\n\n  # keep me\n" in edited
    assert "# nothing yet\n    amp: true\nshared:" in edited
    assert edited.endswith("other: *shared\ncompile: 'no'\n")


@pytest.mark.parametrize(
    ("text", "edits", "expected"),
    [
        ("a: 1\r\nb: 2\r\n", {"a": 3, "c": 4}, "a: 3\r\nb: 2\r\nc: 4\r\n"),
        ("\ufeffa: 1", {"a": 2, "b": 3}, "\ufeffa: 2\nb: 3"),
        ("a:", {"b": 2, "a": 1}, "a: 1\nb: 2"),
        ("a:\n  b: 1", {"d": 3, "a.c": 2}, "a:\n  b: 1\n  c: 2\nd: 3"),
        ("a:\n- 1\n- 2 # two\n# end\n", {"b": 1}, "a:\n- 1\n- 2 # two\nb: 1\n# end\n"),
        ("a:\n  b: |+\n    x\n\nc: 1\n", {"a.d": 2}, "a:\n  b: |+\n    x\n\n  d: 2\nc: 1\n"),
        ("---\na: 1\n...\n", {"a": 2}, "---\na: 2\n...\n"),
        ("base: &b {lr: 1}\nmine:\n  <<: *b\n", {"mine.lr": 2}, "base: &b {lr: 1}\nmine:\n  <<: *b\n  lr: 2\n"),
        ("1: a\n'yes': b\n", {"1": "c", "yes": "d"}, "1: c\n'yes': d\n"),
        ("a: [8,8, 4] # n\n", {"a": [8, 4]}, "a: [8, 4] # n\n"),
        ("a: {b: [8,8]}\n", {"a.b": [8, 4, 2]}, "a: {b: [8,4,2]}\n"),
        ("a: !!float 1e-4 # x\n", {"a": 2e-4}, "a: !!float 0.0002 # x\n"),
        ("a: 0x10 # sixteen\n", {"a": 16}, "a: 0x10 # sixteen\n"),
        ("a: 48 # crop\n", {"a": {0: 24, 6: 48}}, "a: {0: 24, 6: 48} # crop\n"),
        ("a: 1\n", {"off": 1}, "a: 1\n'off': 1\n"),
    ],
)
def test_bytes_around_an_edit_stay(text: str, edits: dict[str, object], expected: str) -> None:
    """Line endings, byte order mark, missing last newline, markers and the spelling of equal values."""
    assert edit_yaml(text, edits) == expected


@pytest.mark.parametrize(
    ("text", "edits", "reason"),
    [
        ("x: 0\na: [1]", {"a": 1}, "line 2: 'a' is a list, not a single value"),
        ("a:\n- 1", {"a": [2]}, "line 1: 'a' is a list, not a single value"),
        ("a: [1,\n 2]", {"a": [2]}, "line 1: the value of 'a' goes over several lines"),
        ("b: &b 1\na: [*b]", {"a": [2]}, "line 2: 'a' holds more than plain values"),
        ("a: [[1]]", {"a": [2]}, "line 1: 'a' holds more than plain values"),
        ("a: &x [1]\nb: *x", {"a": [2]}, "line 1: the value of 'a' carries an anchor"),
        ("a: [1]", {"a": [{}]}, "'a' cannot be set to"),
        ("a: {b: 1}", {"a": 1}, "line 1: 'a' is a mapping, not a single value"),
        ("a: &x 1\nb: *x", {"a": 2}, "line 1: the value of 'a' carries an anchor"),
        ("a: !!float 1", {"a": 2}, "line 1: the value of 'a' carries a tag"),
        ("a: &x 1\nb: *x", {"b": 2}, "line 2: the value of 'b' is an alias"),
        ("a: &x {p: 1}\nb: *x", {"b.p": 2}, "line 2: 'b' is an alias"),
        ("a: &x {p: 1}\nb: *x", {"a.p": 2}, "would also change what 'b.p' means"),
        ("a: &x\n  p: 1\nb: *x", {"a.q": 2}, "would also change what 'b.q' means"),
        ("a: &x [*x]\nb: 1", {"b": 2}, "contains itself"),
        ("a: 1\n---\nb: 2", {"a": 2}, "line 2: a second document begins here"),
        ("b: 1\na: 1\na: 2", {"b": 2}, "line 3: the key 'a' is already on line 2"),
        ("{a: 1, a: 2}", {"a": 2}, "line 1: the key 'a' is already on line 1"),
        ("1: a\n'1': b", {"1": "c"}, "line 2: '1' names two keys"),
        ("a: {}", {"a.b": 1}, "line 1: 'a.b' would have to be added inside braces"),
        ("data:\n  x: 1", {"dat.y": 1}, "line 1: there is no 'dat' to hold 'dat.y'; did you mean 'data'?"),
        ("a: 1", {"a.b": 1}, "line 1: 'a' is a single value, so it cannot hold 'a.b'"),
        ("a:", {"a.b": 1}, "line 1: 'a' is empty"),
        ("a: |\n  x\n", {"a": "y"}, "line 1: the value of 'a' goes over several lines"),
        ("a: x\n  y\n", {"a": "y"}, "line 1: the value of 'a' goes over several lines"),
        ("? a\n", {"a": 1}, "changing 'a' would"),
        ("a:\n\tb: 1", {"a.b": 2}, "line 2: this is not valid YAML: a tab"),
        ("a: [1", {"a": 1}, "line 1: this is not valid YAML"),
        ("a: 1\x01", {"a": 2}, "not text that YAML can hold"),
        ("a: 1\nb: !mine 2", {"a": 2}, "line 2: a tag that only the script itself can read"),
        ("", {"a": 1}, "line 1: the configuration is not a mapping"),
        ("- 1", {"a": 1}, "line 1: the configuration is not a mapping"),
        ("a: 1", {"": 1}, "'' is not a path of keys"),
        ("a: 1", {"a": [1]}, "'a' cannot be set to"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text: str, edits: dict[str, object], reason: str) -> None:
    """With the line and the reason, in plain words."""
    with pytest.raises(ConfigError) as refusal:
        edit_yaml(text, edits)
    assert reason in str(refusal.value)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12))
KEYS = st.text("abcdefgh_", min_size=1, max_size=5)
COMMENTS = st.sampled_from(["", "  # why", " # x: y", "   #'\""])
SPELLINGS = st.sampled_from(
    ["1", "1e-3", "1.0e-3", "yes", "~", "", "'q # q'", '"d\\n"', "plain words", "0x1F", "[1, 2]"]
)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, list[str], list[str]]:
    """A YAML text, the paths of its scalars, and the paths of its mappings with a dot after each."""
    indent = " " * draw(st.integers(1, 4))
    lines: list[str] = []
    scalars: list[str] = []
    mappings = [""]

    def mapping(prefix: str, depth: int) -> None:
        for key in draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)):
            lines.extend(draw(st.lists(st.sampled_from(["", "# note", "   # a: 1"]), max_size=2)))
            if depth < 2 and draw(st.integers(0, 3)) == 0:
                lines.append(f"{indent * depth}{key}:{draw(COMMENTS)}")
                mappings.append(f"{prefix}{key}.")
                mapping(f"{prefix}{key}.", depth + 1)
            else:
                spelling = draw(SPELLINGS)
                lines.append(f"{indent * depth}{key}: {spelling}{draw(COMMENTS)}")
                if not spelling.startswith("["):
                    scalars.append(prefix + key)

    mapping("", 0)
    line_break = draw(st.sampled_from(["\n", "\r\n"]))
    return line_break.join(lines) + draw(st.sampled_from(["", line_break, line_break + "# end"])), scalars, mappings


def set_at(data: dict[str, object], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        inner = data[parent]
        assert isinstance(inner, dict)
        data = inner
    data[last] = value


@given(st.data())
def test_any_configuration_loads_as_before_but_for_the_edits(data: st.DataObject) -> None:
    """The edited keys have exactly the new values, all others theirs; only the edited lines differ."""
    text, scalars, mappings = data.draw(configurations())
    new = data.draw(st.sampled_from(mappings)) + "new"
    edits = data.draw(st.dictionaries(st.sampled_from([*scalars, new]), SCALARS, max_size=3))
    edited = edit_yaml(text, edits)

    expected = yaml.safe_load(text)
    for path, value in edits.items():
        set_at(expected, path, value)
    assert repr(yaml.safe_load(edited)) == repr(expected)

    before, after = text.split("\n"), edited.split("\n")
    touched = [tag for tag, *_ in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()]
    assert len(after) - len(before) == (new in edits)
    if new not in edits:
        assert sum(a != b for a, b in zip(before, after, strict=True)) <= len(edits)
    if not edits:
        assert touched in ([], ["equal"])


@given(SCALARS)
def test_a_value_reads_back_as_itself(value: object) -> None:
    """Exactly, and with its type: 1.0e-05 is a number, '1e-5' stays text."""
    read = yaml.safe_load(edit_yaml("a: {k: [], v: 0}", {"a.v": value}))["a"]["v"]
    assert type(read) is type(value)
    assert read == value or (isinstance(value, float) and math.isnan(value) and math.isnan(read))


def test_diff_can_be_applied(tmp_path: Path) -> None:
    """A patch for git, with the ends of lines and of the file as they are."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("needs git")
    before = "a: 1\r\nb: 2"
    after = edit_yaml(before, {"a": 3, "c": 4})
    target = tmp_path / "configs" / "my.yaml"
    target.parent.mkdir()
    target.write_bytes(before.encode())
    patch = unified_diff(before, after, "configs/my.yaml")
    subprocess.run([git, "apply", "--whitespace=nowarn", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    assert target.read_bytes() == after.encode()


def test_no_change_has_an_empty_diff() -> None:
    """Nothing to apply, nothing to show."""
    assert unified_diff("a: 1\n", "a: 1\n", Path("my.yaml")) == ""
