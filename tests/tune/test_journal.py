"""What was measured stays measured, wherever a tuning was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotlap.errors import RunError
from hotlap.records import Environment
from hotlap.tune.journal import open_journal


def never() -> int:
    raise AssertionError("it was measured already")


def test_what_is_recorded_is_not_measured_again(tmp_path: Path) -> None:
    """Neither in the same process nor in a later one; the type comes back as it was."""
    journal = open_journal("tune-x", tmp_path, fresh=False)
    assert journal.once("a", int, lambda: 3) == 3
    assert journal.once("a", int, never) == 3
    journal.close()
    again = open_journal("tune-x", tmp_path, fresh=False)
    assert again.resumed == 1
    assert again.spent() >= json.loads(journal.path.read_text())["spent"]
    assert again.once("a", int, never) == 3
    again.close()


def test_a_journal_cut_off_anywhere_loses_its_last_line_at_most(tmp_path: Path) -> None:
    """Every length of the file that a kill could leave."""
    journal = open_journal("tune-x", tmp_path, fresh=False)
    journal.once("a", int, lambda: 1)
    journal.once("b", int, lambda: 2)
    journal.close()
    whole = journal.path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole) + 1):
        journal.path.write_bytes(whole[:length])
        cut = open_journal("tune-x", tmp_path, fresh=False)
        assert cut.resumed == (length >= first) + (length == len(whole))
        assert cut.once("b", int, lambda: 2) == 2
        cut.close()
        reopened = open_journal("tune-x", tmp_path, fresh=False)
        assert reopened.once("b", int, never) == 2
        reopened.close()


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """They would measure each other's noise."""
    journal = open_journal("tune-x", tmp_path, fresh=False)
    with pytest.raises(RunError, match="by another hotlap"):
        open_journal("tune-x", tmp_path, fresh=False)
    journal.close()


def test_a_finished_or_unwanted_one_is_left_and_a_new_one_begun(tmp_path: Path) -> None:
    """A finished one has a result; `fresh` leaves an unfinished one behind for good."""
    first = open_journal("tune-x", tmp_path, fresh=False)
    first.once("a", int, lambda: 1)
    first.close()
    fresh = open_journal("tune-x", tmp_path, fresh=True)
    assert fresh.resumed == 0
    assert fresh.directory != first.directory
    fresh.close()
    again = open_journal("tune-x", tmp_path, fresh=False)
    assert again.directory == fresh.directory
    again.close()
    (fresh.directory / "result.json").write_text("{}")
    following = open_journal("tune-x", tmp_path, fresh=False)
    assert following.directory not in (first.directory, fresh.directory)
    following.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file where a folder belongs."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        open_journal("tune-x", tmp_path / "file", fresh=False)


def test_what_goes_on_in_another_environment_says_what_changed(tmp_path: Path) -> None:
    """The first one is kept, however often it goes on."""
    first = Environment(hotlap="0", python="3", cpu="EPYC", kernel="6.1", governor="performance")
    journal = open_journal("tune-x", tmp_path, fresh=False)
    assert journal.changed_since(first) == []
    journal.close()
    for _ in range(2):
        again = open_journal("tune-x", tmp_path, fresh=False)
        other = Environment(hotlap="0", python="3", cpu="EPYC", kernel="6.2", governor="powersave")
        assert again.changed_since(other) == [
            "measured in several goes: the kernel was 6.1, and is 6.2",
            "measured in several goes: the governor of the cores' clocks was performance, and is powersave",
        ]
        assert again.changed_since(first) == []
        again.close()


@pytest.mark.parametrize(("unfinished", "goes_on"), [(True, True), (False, False)])
def test_what_a_budget_had_no_time_for_another_one_has(tmp_path: Path, unfinished: bool, goes_on: bool) -> None:
    """With all its seconds; a result that is complete is measured anew."""
    journal = open_journal("tune-x", tmp_path, fresh=False)
    journal._opened -= 100.0
    journal.once("a", int, lambda: 1)
    journal.close()
    (journal.directory / "result.json").write_text(json.dumps({"unfinished": unfinished}))
    again = open_journal("tune-x", tmp_path, fresh=False)
    assert (again.directory == journal.directory) == goes_on
    assert ("a" in again.entries) == goes_on
    assert again.spent() < 50.0
    again.close()
    fresh = open_journal("tune-x", tmp_path, fresh=True)
    assert fresh.entries == {}
    fresh.close()
