from __future__ import annotations

import io

import made_up
import msgspec
from rich.console import Console

from hotlap.records import Compilation
from hotlap.report import html
from hotlap.report.compilations import compilations


def shown(found: list[Compilation]) -> str:
    console = Console(file=io.StringIO(), width=80)
    for part in compilations(found):
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_nothing_compiled_is_not_worth_a_line() -> None:
    assert compilations([]) == []


def test_compilations_are_listed_with_step_time_place_and_reason() -> None:
    found = [
        Compilation(t=1.0, seconds=2.5, what="forward (net.py:3)"),
        Compilation(t=9.0, seconds=1.5, step=17, what="forward (net.py:3)", reason="0/0: len(x) == 3  # y = x[0]"),
        Compilation(t=11.0, seconds=0.5, step=17, what="forward (net.py:3)", backward=True),
    ]
    lines = shown(found).splitlines()
    assert "outside" in lines[3]
    assert "2.50 s" in lines[3]
    assert lines[5].strip() == "again because of: 0/0: len(x) == 3"
    assert lines[6].endswith("forward (net.py:3), backward")
    assert lines[7].strip() == "3 compilations, 4.50 s."


def test_of_many_the_longest_are_listed_in_their_order() -> None:
    found = [Compilation(t=float(i), seconds=float(i % 7), step=i) for i in range(30)]
    listed = shown(found)
    assert "30 compilations" in listed
    assert "22 shorter ones are not listed" in listed


def test_the_page_of_a_run_has_them_too() -> None:
    found = [Compilation(t=106.0, seconds=0.02, step=3, what="forward (net.py:3)", reason="0/0: x <is> longer")]
    page = html.render(msgspec.structs.replace(made_up.run(), compilations=found))
    assert "forward (net.py:3)" in page
    assert "0/0: x &lt;is&gt; longer" in page
    assert "<h2>Compilations</h2>" not in html.render(made_up.run())
