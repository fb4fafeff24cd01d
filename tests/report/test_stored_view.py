"""Two stored runs in the terminal."""

from __future__ import annotations

import io

import made_up
from made_up import replace
from rich.cells import cell_len
from rich.console import Console

from hotlap.records import Run, StoredComparison
from hotlap.report import stored
from hotlap.tune.stored import compare_stored


def shown(comparison: StoredComparison, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(stored.stored(comparison))
    lines = file.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    return file.getvalue()


def pair() -> tuple[Run, Run]:
    a = made_up.run()
    return a, replace(a, info=replace(a.info, name="another", command=["python", "train.py", "--token", "hunter2"]))


def test_the_whole_story() -> None:
    """The verdict, what differs, speed, phases, findings, losses, what cannot be told, and how to prove it."""
    out = " ".join(shown(compare_stored(*pair())).split())
    order = [
        "B's recorded steps are not faster than A's: 1.00x",
        "no proof",
        "What differs",
        "The command, as above",
        "Speed and memory",
        "A steady step",
        "recompute",
        "sum of the leaves",
        "Findings",
        "Losses",
        "bit-identical",
        "What two recordings cannot tell",
        "To prove it",
        "hotlap compare --a",
    ]
    at = [out.index(words) for words in order]
    assert at == sorted(at)
    assert "hunter2" not in out
    assert "--token ***" in out


def test_what_cannot_be_compared_is_said_first() -> None:
    """Before any figure, and what it is."""
    a, b = pair()
    b = replace(b, facts=replace(b.facts, batch_size=64))
    assert stored.headline(compare_stored(a, b)).startswith("Not comparable as they stand (batch size 32 and 64).")
    b = replace(b, info=replace(b.info, environment=replace(b.info.environment, torch="2.10.0")))
    headline = stored.headline(compare_stored(a, b))
    assert headline.startswith(
        "Not comparable as they stand (batch size 32 and 64; the version of torch was 2.9.0, and"
    )


def test_the_same_command() -> None:
    """Then what differs is elsewhere, and what to measure is not known."""
    a, _ = pair()
    assert "outside of them" in shown(compare_stored(a, replace(a, info=replace(a.info, name="again"))))


def test_narrow_terminals_and_hostile_names() -> None:
    """Nothing is wider than the terminal, and nothing steers it."""
    a, b = pair()
    hostile = "<b>[red]x[/red]\x1b[2J" + "长🚀" * 6 + "-long" * 30
    out = shown(compare_stored(a, replace(b, info=replace(b.info, name=hostile, command=[hostile]))), width=40)
    assert "\x1b" not in out
