"""Events in pieces: every cut, every oddity, and files that are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_traces import training

from hotlap.errors import HotlapError, RunError
from hotlap.read import traces
from hotlap.read.opening import is_trace
from hotlap.read.traces import pieces as module
from hotlap.read.traces.pieces import Pieces


def names(path: Path) -> list[str | None]:
    return [event.name for piece in Pieces(path) for event in piece]


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("form", ["compact", "indented", "array"])
def test_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, form: str) -> None:
    """The events are the same however the file is cut into pieces, and however it is laid out."""
    made = training(1)
    made.span("cpu_op", 'looks like a border }, { "traceEvents": [', 0, 1)
    made.events[0]["args"] = {"nested": [{"a": 1}, {"b": [{"c": 2}, {"d": 3}]}]}
    whole: Any = made.events if form == "array" else made.header | {"traceEvents": made.events, "tail": [{}, {}]}
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(whole, indent=2 if form == "indented" else None))
    monkeypatch.setattr(module, "PIECE", size)
    assert names(path) == [each["name"] for each in made.events]


def test_what_is_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers and characters that kineto writes against the rules cost nothing; a broken event costs itself."""
    event = '{"ph": "X", "cat": "cpu_op", "name": "%s", "ts": %d, "dur": 1, "pid": 1, "tid": 1, "args": {"x": %s}}'
    events = [event % (f"op{n}", n, x) for n, x in enumerate(["inf", "-nan", "NaN", "Infinity", '"tab\there"', "1"])]
    events.insert(3, '{"ph": "X", "cat": "cpu_op", "name": "broken", "ts": }')
    path = tmp_path / "trace.json"
    path.write_bytes(b'{"traceEvents": [' + ",\n".join(events).encode() + b', {"name": "\xff\xfe"}]}')
    for size in (1 << 20, 200):
        monkeypatch.setattr(module, "PIECE", size)
        found = Pieces(path)
        assert [event.name for piece in found for event in piece][:6] == [f"op{n}" for n in range(6)]
        assert found.unreadable == 1


@pytest.mark.parametrize("packed", [False, True])
def test_every_cut_is_noticed(tmp_path: Path, packed: bool) -> None:
    """A file that ends too early is refused in one sentence, wherever it ends."""
    data = training(1).text().encode()
    data = gzip.compress(data) if packed else data
    path = tmp_path / "trace.json"
    # What stands behind the events is not needed.
    last = len(data) if packed else data.rindex(b"]")
    for end in range(0, last, 53):
        path.write_bytes(data[:end])
        with pytest.raises(RunError) as caught:
            traces.read([path])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"  \n",
        b"{}",
        b"[]",
        b"null",
        b'{"traceEvents": []}',
        b'{"traceEvents": [1, "x", null, [], {}]}',
        b'{"traceEvents": [{"ph": "X", "cat": "kernel"}]}',
        b'{"traceEvents": {}}',
        b'[{"ph": "X", "name": "a", "ts": 1}]',
        b"step 1 loss 2.0\n" * 100,
        b"\x1f\x8b",
        b"\x1f\x8b" + b"\0" * 50,
        b"\x80PK\x03" * 100,
        b"[" * 100_000,
        b'{"traceEvents": [' + b'{"args":' * 50_000,
    ],
    ids=lambda content: repr(content[:24]),
)
def test_no_trace(tmp_path: Path, content: bytes) -> None:
    """Other files are refused in one sentence that names them."""
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"other\.json"):
        traces.read([path])


def test_no_file(tmp_path: Path) -> None:
    """What is not there, or a folder, is said to be so."""
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RunError, match="cannot read"):
            traces.read([path])
        assert not is_trace(path)


def test_is_trace(tmp_path: Path) -> None:
    """A trace is known by its beginning, packed or not, whatever its name; other JSON and logs are none."""
    for name in ("trace.json", "trace.json.gz", "log"):
        assert is_trace(training().write(tmp_path / name))
    (tmp_path / "events").write_text(json.dumps(training().events))
    assert is_trace(tmp_path / "events")
    for content in (b"", b"step 1 traceEvents", b'{"loss": 1.0}\n{"loss": 0.5}', b"[1, 2]", b"\x1f\x8bno"):
        (tmp_path / "other").write_bytes(content)
        assert not is_trace(tmp_path / "other")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(["ph", "cat", "name", "pid", "tid", "ts", "dur", "args"]), values)
    ),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["device", "stream", "correlation", "bytes"]), values)),
    st.integers(0, 2),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_values(
    tmp_path: Path, changes: list[tuple[int, str, Any]], inside: list[tuple[int, str, Any]], dropped: int
) -> None:
    """Any value in any field, and any field missing: a reading or a sentence, and what adds up adds up."""
    made = training(2)
    for index, key, value in changes:
        made.events[index % len(made.events)][key] = value
    for index, key, value in inside:
        args = made.events[index % len(made.events)].get("args")
        if isinstance(args, dict):
            args[key] = value
    for index, key, _ in changes[:dropped]:
        made.events[index % len(made.events)].pop(key, None)
    path = made.write(tmp_path / "trace.json")
    try:
        found = traces.read([path]).ranks[0]
    except HotlapError:
        return
    if found.device is not None:
        device = found.device
        parts = [device.computing, device.communication, device.copies, *device.idle.values()]
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(found.step_seconds, rel=1e-6, abs=1e-9)
