"""Which training is watched, and a clear sentence where that is not certain."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotlap.errors import RunError, UsageError
from hotlap.watch import trainings
from hotlap.watch.proc import stat
from hotlap.watch.processes import Tree, group_memory
from hotlap.watch.trainings import Training, find

SLEEP = "import sys, time; print('up', flush=True); time.sleep(60)"
#: A process with a child that works, and one that has ended without its parent noticing.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True)\\nwhile True: pass"], stdout=subprocess.PIPE)
child.stdout.readline()
gone = subprocess.Popen(["true"])
os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


def worked(pid: int, seconds: float) -> None:
    """Return when it has had a processor for so long from now on."""

    def so_far() -> float:
        found = stat(pid)
        assert found is not None
        return found.seconds

    until = so_far() + seconds
    while so_far() < until:
        time.sleep(0.01)


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A process that was started as if by hotlap, with its run directory."""
    directory = tmp_path / "runs" / "profile-1"
    directory.mkdir(parents=True)
    (directory / "probe.json").write_text("{}")
    with subprocess.Popen(
        [sys.executable, "-c", SLEEP],
        env={**os.environ, "HOTLAP_PROBE": str(directory / "probe.json")},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield directory, process.pid
        process.kill()


def test_a_run_is_found_by_its_name_its_directory_and_its_process(recorded: tuple[Path, int]) -> None:
    """All three say the same."""
    directory, pid = recorded
    expected = Training(pid, [sys.executable, "-c", SLEEP], directory)
    assert find("profile-1", directory.parent) == expected
    assert find(str(directory), None) == expected
    assert find(str(pid), None) == expected
    assert expected.name == "profile-1"


def test_a_process_that_hotlap_did_not_start_has_no_record() -> None:
    """It can be watched all the same."""
    found = find(str(os.getpid()), None)
    assert found.name == f"process {os.getpid()}"
    assert found.directory is None


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("profile-2", "there is no run 'profile-2' in .*; did you mean 'profile-1'"),
        ("nothing", "there is no run 'nothing' in"),
        ("4194305", "there is no process 4194305"),
    ],
)
def test_what_is_not_there_gets_a_sentence(tmp_path: Path, target: str, words: str) -> None:
    """With what is close, or what to do."""
    (tmp_path / "profile-1").mkdir()
    with pytest.raises(UsageError, match=words):
        find(target, tmp_path)


def test_a_run_that_is_over_cannot_be_watched(tmp_path: Path) -> None:
    """Its report can be made; a folder that is no run has none."""
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match=r"is over \(ended\): `hotlap report"):
        find(str(tmp_path), None)
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunError, match="is no run directory"):
        find(str(tmp_path), None)


def test_without_a_name_there_must_be_exactly_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """None: what to do. Several: which they are."""
    one = Training(7, ["python", "a.py"], None)
    lines = Training(9, ["python", "-c", "a\nb"], None)
    two = Training(8, ["python", "b.py", "--api-key", "sk-abcdefghijklmnop"], Path("runs/profile-1"))
    for there, words in (
        ([], "no running training was found: start one in another terminal with `hotlap profile -- python train.py`"),
        (
            [one, two],
            "2 trainings are running; say which one:\n"
            "  hotlap watch 7          python a.py\n"
            "  hotlap watch profile-1  python b.py",
        ),
        (
            [one, lines],
            "2 trainings are running; say which one:\n  hotlap watch 7  python a.py\n  hotlap watch 9  python -c 'a b'",
        ),
    ):
        monkeypatch.setattr(trainings, "running", lambda there=there: there)
        with pytest.raises(UsageError) as caught:
            find(None, None)
        assert str(caught.value).startswith(words)
        assert "sk-abcdef" not in str(caught.value)
    monkeypatch.setattr(trainings, "running", lambda: [one])
    assert find(None, None) == one


def test_of_processes_that_descend_from_one_another_the_first_is_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks and workers are no trainings of their own; nor is the process that looks."""
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        monkeypatch.setattr(trainings, "_trains", lambda pid: pid in (parent.pid, child, os.getpid()))
        assert [each.pid for each in trainings.running()] == [parent.pid]
        parent.communicate()


def test_a_tree_of_real_processes() -> None:
    """Its cores, memory and members; one that waits to be collected has none; None when it is gone."""
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        tree = Tree(parent.pid, 0.0)
        first = tree.look(10.0)
        assert first is not None
        assert first.count == 2
        assert first.cpu is None
        assert first.pss is not None
        assert first.uss is not None
        assert 0 < first.uss <= first.pss < 100e6
        assert child in tree.pids
        worked(child, 0.1)
        assert tree.look(11.0, [child]) is not None
        worked(child, 0.1)
        second = tree.look(12.0, [child])
        assert second is not None
        assert second.cpu is not None
        assert second.cpu >= 0.09
        assert second.main_thread is not None
        assert second.main_thread >= 0.09
        assert second.workers == []
        parent.communicate()
    assert tree.look(13.0) is None


def test_the_group_with_the_least_left_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without files that could be given back; a group without a limit has none."""
    inner, outer, root = tmp_path / "a" / "b", tmp_path / "a", tmp_path
    inner.mkdir(parents=True)
    for group, limit, used in ((inner, "max", 500), (outer, "1000", 700), (root, "5000", 900)):
        (group / "memory.max").write_text(limit)
        (group / "memory.current").write_text(str(used))
        (group / "memory.stat").write_text("anon 1\ninactive_file 100\n")
    monkeypatch.setattr("hotlap.watch.processes.cgroups", lambda pid: [inner, outer, root])
    assert group_memory(7) == (600, 1000)
    monkeypatch.setattr("hotlap.watch.processes.cgroups", lambda pid: [inner])
    assert group_memory(7) == (None, None)
