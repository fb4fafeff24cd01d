"""What is heard from dynamo, of whatever version, without dynamo."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hotlap.probe.compiling import LONGEST_REASON, Compilations, first_line


class Steps:
    """As much of ``hotlap.probe.steps.Steps`` as listens, and a clock that counts seconds."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.now = 0.0
        self.thread = None
        self.timeline = SimpleNamespace(stack=[])
        self.facts = SimpleNamespace(values={})

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def event(self, kind: str, **fields: Any) -> None:
        assert kind == "compile"
        self.lines.append(fields)


class Handler:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def run_start_callbacks(self, *args: Any) -> None:
        self.heard.append("start")

    def run_end_callbacks(self, *args: Any) -> None:
        self.heard.append("end")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> tuple[Steps, Handler, list[Any]]:
    """Listening steps, a handler that is hooked, and the accounts that dynamo has put away."""
    steps, handler, accounts = Steps(), Handler(), list[Any]()
    dynamo = ModuleType("dynamo")
    dynamo.callback_handler = handler  # type: ignore[attr-defined]
    monkeypatch.setattr("hotlap.probe.compiling._accounts", lambda: accounts)
    monkeypatch.setattr("hotlap.probe.compiling.time", SimpleNamespace(perf_counter=steps.clock))
    Compilations(steps).hook(dynamo)  # type: ignore[arg-type]
    return steps, handler, accounts


def account(number: str | None, name: str | None = "forward", reason: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        compile_id=number, co_name=name, co_filename="/home/me/net.py", co_firstlineno=3, recompile_reason=reason
    )


def call(number: str, trigger: str = "DYNAMO") -> SimpleNamespace:
    return SimpleNamespace(compile_id=number, callback_trigger=SimpleNamespace(name=trigger))


def test_a_handler_that_says_nothing_about_what_it_compiles(heard: tuple[Steps, Handler, list[Any]]) -> None:
    """As in torch 2.5: no arguments, and calls inside each other."""
    steps, handler, accounts = heard
    for _ in range(2):
        handler.run_start_callbacks()
        handler.run_start_callbacks()
        handler.run_end_callbacks()
        handler.run_end_callbacks()
        accounts.append(account(None))
    assert handler.heard == ["start", "start", "end", "end"] * 2
    newest = {line["n"]: line for line in steps.lines}
    assert [(line["t"], line["seconds"]) for line in newest.values()] == [(1.0, 1.0), (3.0, 1.0)]
    assert newest[0]["what"] == "forward (net.py:3)"


def test_the_reason_comes_with_the_account_of_the_same_number(heard: tuple[Steps, Handler, list[Any]]) -> None:
    """The backward of a function names that function, and no reason of its own."""
    steps, handler, accounts = heard
    for each in (call("0/0"), call("0/1"), call("0/1", "LAZY_BACKWARD"), call("1/0")):
        handler.run_start_callbacks(each)
        handler.run_end_callbacks(each)
        name = None if each.callback_trigger.name == "LAZY_BACKWARD" else "forward"
        accounts.append(account(each.compile_id, name, "0/0: x is longer\nmore" if each.compile_id == "0/1" else None))
    newest = list({line["n"]: line for line in steps.lines}.values())
    assert [line["backward"] for line in newest] == [False, False, True, False]
    assert [line.get("what") for line in newest] == ["forward (net.py:3)"] * 3 + [None]
    assert [line.get("reason") for line in newest] == [None, "0/0: x is longer", None, None]


def test_an_analysis_that_begins_anew_is_one_compilation(heard: tuple[Steps, Handler, list[Any]]) -> None:
    steps, handler, _ = heard
    for _ in range(3):
        handler.run_start_callbacks(call("0/0"))
        handler.run_end_callbacks(call("0/0"))
    assert {line["n"]: line["seconds"] for line in steps.lines} == {0: 3.0}


def test_an_error_of_ours_is_none_of_the_compilation(heard: tuple[Steps, Handler, list[Any]]) -> None:
    steps, handler, _ = heard
    steps.clock = None  # type: ignore[assignment,method-assign]
    handler.run_start_callbacks(call("0/0"))
    handler.run_end_callbacks(call("0/0"))
    assert handler.heard == ["start", "end"]


def test_a_reason_is_one_line_that_is_not_too_long() -> None:
    assert first_line("\n a\nb") == "a"
    assert first_line(" \n") == ""
    assert len(first_line("x" * 1000)) == LONGEST_REASON
