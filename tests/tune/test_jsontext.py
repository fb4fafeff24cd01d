"""Editing JSON: one value changes, every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotlap.errors import ConfigError
from hotlap.tune.jsontext import edit_json

TEXT = """\
{
    "seed": 1,
    "data": {"workers" : 0, "sizes": [8,8, 4], "path": "ü \\" }"},
    "train": {
        "lr": 2e-5
    },
    "empty": {}, "list": [{"a": 1}]
}
"""


@pytest.mark.parametrize(
    ("edits", "before", "after"),
    [
        ({"seed": 2}, '"seed": 1', '"seed": 2'),
        ({"data.workers": 4}, '"workers" : 0', '"workers" : 4'),
        ({"data.sizes": [4, 4]}, "[8,8, 4]", "[4, 4]"),
        ({"data.path": "x"}, '"ü \\" }"', '"x"'),
        ({"train.lr": 1e-4}, "2e-5", "0.0001"),
        ({"train.lr": 2e-5}, "2e-5", "2e-5"),
        ({"train.amp": True, "train.n": None}, "2e-5\n", '2e-5,\n        "amp": true,\n        "n": null\n'),
        ({"data.pin": False}, '\\" }"}', '\\" }", "pin": false}'),
        ({"bf16": True}, '[{"a": 1}]\n', '[{"a": 1}],\n    "bf16": true\n'),
    ],
)
def test_only_the_one_value_changes(edits: dict[str, object], before: str, after: str) -> None:
    """Spacing, order and the spelling of everything else stay."""
    assert TEXT.count(before) == 1
    assert edit_json(TEXT, edits) == TEXT.replace(before, after)


@pytest.mark.parametrize(
    ("text", "edits", "reason"),
    [
        (TEXT, {"data": 1}, "'data' is a mapping"),
        (TEXT, {"data.sizes": 1}, "'data.sizes' is a list"),
        (TEXT, {"seed": [1]}, "'seed' is a single value"),
        (TEXT, {"dat.workers": 1}, "no 'dat' to hold 'dat.workers'; did you mean 'data'?"),
        (TEXT, {"seed.x": 1}, "no 'seed' to hold"),
        (TEXT, {"empty.x": 1}, "empty mapping"),
        (TEXT, {"seed": float("nan")}, "only true, false, null, numbers and text"),
        ('{"a": 1, "a": 2}', {"a": 3}, "'a' is there twice"),
        ('{"a": 1,}', {"a": 3}, "line 1: this is not valid JSON"),
        ("[1]", {"a": 3}, "not a mapping"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text: str, edits: dict[str, object], reason: str) -> None:
    """With the reason, in plain words."""
    with pytest.raises(ConfigError) as refusal:
        edit_json(text, edits)
    assert reason in str(refusal.value)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
LISTS = st.lists(st.integers(), max_size=3)
KEYS = st.text('abcdé"\\ {[,:', min_size=1, max_size=4)
DATA = st.dictionaries(KEYS, st.one_of(SCALARS, LISTS, st.dictionaries(KEYS, SCALARS, max_size=3)), max_size=4)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(DATA, st.data(), st.sampled_from([None, 0, 1, 4]), st.booleans())
def test_any_text_reads_as_before_but_for_the_edit(
    content: dict[str, Any], data: st.DataObject, indent: int | None, ascii_only: bool
) -> None:
    """The edited value is the new one, all others are theirs, and what stands around it is untouched."""
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
    scalars = [(key,) for key, value in content.items() if not isinstance(value, (dict, list))]
    scalars += [(key, inner) for key, value in content.items() if isinstance(value, dict) for inner in value]
    if not scalars:
        return
    path = data.draw(st.sampled_from(scalars))
    new = data.draw(SCALARS)
    edited = edit_json(text, {".".join(path): new})
    expected = json.loads(text)
    holder = expected if len(path) == 1 else expected[path[0]]
    old, holder[path[-1]] = holder[path[-1]], new
    assert json.dumps(json.loads(edited)) == json.dumps(expected)
    changed = len(json.dumps(new, ensure_ascii=text.isascii())) - len(json.dumps(old, ensure_ascii=ascii_only))
    assert len(edited) - len(text) in (changed, 0)
