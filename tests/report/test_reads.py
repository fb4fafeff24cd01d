"""The section about reads is there when there are any, and says what their seconds mean on this device."""

from __future__ import annotations

from made_up import diagnosis, replace, run
from rich.console import Console

from hotlap.records import Sync, Syncs
from hotlap.report import terminal

READ = Sync(file="/home/me/project/a/train.py", line=41, function="fit", what="item()", count=1, seconds=3e-3, seen=4)
SYNCS = Syncs(watched=4, lines=[READ, replace(READ, file="/opt/lib.py", what="str()", count=0.25, seconds=4e-4)])


def shown(syncs: Syncs | None, device: str) -> str:
    made = run()
    console = Console(width=100)
    with console.capture() as capture:
        console.print(terminal.profile(replace(made, facts=replace(made.facts, device=device)), diagnosis(syncs=syncs)))
    return capture.get()


def test_reads_are_shown_with_their_lines() -> None:
    page = shown(SYNCS, "cuda")
    assert "Reads from the device" in page
    rows = [line.split() for line in page.splitlines()]
    assert ["item()", "1.00", "3.00", "ms", "a/train.py:41", "in", "fit"] in rows
    assert ["str()", "0.250", "0.40", "ms", "/opt/lib.py:41", "in", "fit"] in rows
    assert "the wait until the device had computed" in page


def test_on_a_cpu_nothing_is_said_to_wait() -> None:
    page = shown(SYNCS, "cpu")
    assert "Tensors read in Python" in page
    assert "Nothing is waited for on a CPU" in page


def test_without_reads_there_is_no_section() -> None:
    for none in (None, Syncs(watched=3, lines=[])):
        assert "Reads from" not in shown(none, "cuda")
