"""Whole tunings of real scripts, small: what is adopted, what is refused, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from scripts import SLOW_FETCH

from hotlap.errors import TrainingFailed
from hotlap.records import Change, Effect, Judgement, SameTraining, Trial, Tuning, read_record
from hotlap.tune.claims import Claim
from hotlap.tune.conclusions import unanswered
from hotlap.tune.costs import Costs, Time
from hotlap.tune.handover import hand_over_seconds
from hotlap.tune.journal import Journal
from hotlap.tune.options import Options
from hotlap.tune.paces import Pace, Paces
from hotlap.tune.screening import Wanted, trial_of
from hotlap.tune.search import _NO_TIME, _Search, tune
from hotlap.tune.target import Target
from hotlap.tune.work import Attempt

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "user"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def processes_of(place: Path) -> list[str]:
    """Command lines of the processes that work below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(place) in os.readlink(entry / "cwd"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


@pytest.mark.quiet
def test_a_training_that_waits_for_its_data_gets_workers(folder: Path) -> None:
    """Proven in fresh processes, bit-identical, and nothing of the user's is touched."""
    (folder / "train.py").write_text(SLOW_FETCH.format(sleep=0.004, steps=-1))
    target = Target.of_command([sys.executable, "train.py"])
    said: list[str] = []
    tuning, directory = tune(target, Options(budget=120, run_dir=folder / "runs"), said.append)
    assert [change.name for change in tuning.adopted] == ["workers"]
    assert tuning.judgement == "faster"
    assert tuning.effect is not None
    assert tuning.effect.n >= 3
    assert tuning.same_training is not None
    assert tuning.same_training.same is True
    assert "bit-identical" in tuning.same_training.evidence
    assert tuning.optimized is not None
    assert tuning.optimized.phases["data_wait"] < tuning.diagnosis.phases["data_wait"]
    assert sorted(path.name for path in folder.iterdir()) == ["runs", "train.py"]
    assert read_record(directory / "result.json", Tuning) == tuning
    assert processes_of(folder) == []
    # In 30 minutes: the patch applies, and was run.
    assert tuning.handover is not None
    assert (tuning.handover.files, tuning.handover.same) == (["train.py"], True)
    before = (folder / "train.py").read_bytes()
    subprocess.run(["patch", "-p1", "-i", directory / "changes.patch"], check=True, stdout=subprocess.DEVNULL)
    assert f"num_workers={tuning.adopted[0].value}" in (folder / "train.py").read_text()
    (folder / "train.py").write_bytes(before)
    assert any("against itself" in line for line in said)
    # One worker being faster does not keep two from being tried in its place.
    assert os.cpu_count() == 1 or "workers=2" in {trial.change.id for trial in tuning.trials}

    ran = subprocess.run(
        [sys.executable, "-m", "hotlap", "run", "--with", directory, "--", sys.executable, "-c", _SHOW_WORKERS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 7
    assert ran.stdout.strip() == tuning.adopted[0].value


_SHOW_WORKERS = """
import sys, torch
loader = torch.utils.data.DataLoader(torch.zeros(4, 1))
print(loader.num_workers)
sys.exit(7)
"""


@pytest.mark.noisy
def test_a_short_training_is_started_again_until_it_is_measured(folder: Path) -> None:
    """Three seconds of steps are over long before a search is."""
    (folder / "train.py").write_text(SLOW_FETCH.format(sleep=0.004, steps=150))
    target = Target.of_command([sys.executable, "train.py"])
    tuning, _ = tune(target, Options(budget=15, run_dir=folder / "runs"), lambda message: None)
    assert tuning.trials
    assert sorted(path.name for path in folder.iterdir()) == ["runs", "train.py"]


def test_a_baseline_that_fails_is_the_training_s_failure(folder: Path) -> None:
    """With what it said."""
    (folder / "train.py").write_text(SLOW_FETCH.format(sleep=0.001, steps="torch.zeros(3)[9]"))
    target = Target.of_command([sys.executable, "train.py"])
    with pytest.raises(TrainingFailed, match="out of bounds"):
        tune(target, Options(run_dir=folder / "runs"), lambda message: None)
    assert processes_of(folder) == []


@pytest.mark.noisy
def test_a_killed_tuning_leaves_nothing_and_goes_on(folder: Path) -> None:
    """SIGKILL between two measurements: no process, no file but the journal; the next one reads it."""
    script = folder / "train.py"
    script.write_text(SLOW_FETCH.format(sleep=0.004, steps=-1))

    def command(budget: str) -> list[str]:
        return [sys.executable, "-m", "hotlap", "tune", "--budget", budget, "--json", "--", sys.executable, "train.py"]

    before = script.read_bytes()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("10m"), **streams, start_new_session=True) as first:
        deadline = time.monotonic() + 120
        journal: list[str] = []
        while len(journal) < 3 and time.monotonic() < deadline:
            journal = [
                line for path in folder.glob(".hotlap/runs/*/journal.jsonl") for line in path.read_text().splitlines()
            ]
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
    assert len(journal) >= 3
    deadline = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(folder) == []
    assert sorted(path.name for path in folder.iterdir()) == [".hotlap", "train.py"]
    assert script.read_bytes() == before
    done = subprocess.run(command("15s"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "going on with tune-" in done.stderr
    assert "calibrating" not in done.stderr
    tuning = msgspec.json.decode(done.stdout, type=Tuning)
    assert tuning.no_op.pairs == next(
        value["value"]["no_op"]["pairs"] for value in map(json.loads, journal) if value["key"] == "baseline"
    )


class _Found:
    """A climb that finds nothing, and has no time for one of two changes the first time."""

    best: tuple[Change, ...] = ()

    def __init__(self, search: _Search) -> None:
        first, second = (Change(name=name, value="1", title="", numerics="exact") for name in "ab")
        late = trial_of([], [second], "unclear", f"not tried: {_NO_TIME}; a larger --budget goes on")
        if not search.trials:
            search.trials += [trial_of([], [first], "slower", "slower"), late]
            search.unfinished = True
        else:
            search.trials.append(trial_of([], [second], "slower", "slower"))


def test_time_for_a_proof_goes_to_the_search_while_there_is_nothing_to_prove(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no time was left for is tried then, and what was tried stays tried."""
    search = object.__new__(_Search)
    search.time = Time(90.0, lambda: 50.0)
    search.time.begin(30.0, 0.0, others=False, named=False)
    search.trials, search.unfinished = [], False
    said: list[str] = []
    search.progress = said.append
    left = []

    def climb(*_: object, **__: object) -> _Found:
        left.append(search.time.for_search())
        return _Found(search)

    monkeypatch.setattr(search, "climb", climb)
    search.searched(None, None)  # type: ignore[arg-type]
    assert left == [4.0, 19.0]
    assert [(trial.id, trial.judgement) for trial in search.trials] == [("a=1", "slower"), ("b=1", "slower")]
    assert not search.unfinished
    assert said == []


def test_what_is_not_tried_is_told_once_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    search = object.__new__(_Search)
    search.time = Time(90.0, lambda: 90.0)
    search.trials, search.unfinished = [], False
    said: list[str] = []
    search.progress = said.append
    monkeypatch.setattr(search, "climb", lambda *_, **__: _Found(search))
    monkeypatch.setattr(search.time, "nothing_to_prove", lambda: False)
    search.searched(None, None)  # type: ignore[arg-type]
    assert said == [f"not tried: b=1: {_NO_TIME}; a larger --budget goes on"]


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("left", [100.0, 10.0])
def test_where_nothing_was_kept_the_likeliest_is_proven_if_there_is_time(
    monkeypatch: pytest.MonkeyPatch, left: float, holds: bool
) -> None:
    """It was too noisy, or there was too little time, for a search to be sure. It is adopted, or not spoken of."""
    search = object.__new__(_Search)
    search.options, search.pace = Options(budget=200, goal="throughput"), Pace(0.1, 1.0)
    search.time = Time(200.0, lambda: 200.0 - left)
    search.progress = lambda line: None
    likely = Change(name="likely", value="1", title="", numerics="exact")
    effect = Effect(ratio=4.0, low=0.9, high=9.0, n=3, confidence=0.99, pairs=[4.0] * 3)
    search.trials = [trial_of([], [likely], "unclear", "no gain could be shown", effect)]
    asked: list[list[str]] = []

    def prove(changes: Sequence[Change], *_: object) -> Claim | None:
        asked.append([change.id for change in changes])
        return claim("faster" if holds else "unclear", True) if changes else None

    monkeypatch.setattr(search, "prove", prove)
    monkeypatch.setattr(search, "checked", lambda changes, _: list(changes))
    best, found = search.first_proof([], None, "throughput")  # type: ignore[arg-type]
    (trial,) = search.trials
    assert asked == ([[likely.id]] if left == 100.0 else [[]])
    assert (found is not None, bool(best), trial.kept) == ((left == 100.0 and holds),) * 3
    if left == 100.0:
        assert trial.why.startswith("unclear, and the likeliest" if holds else "dropped again: the proof gave")


class _Screened:
    """An engine whose trials are made up; None is one that was not at speed in time."""

    def __init__(self, *trials: Trial | None) -> None:
        self.trials = list(trials)

    def map(self, work: object, asked: Sequence[Attempt]) -> list[Trial | None]:
        return [self.trials.pop(0) for _ in asked]


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "together"])
def test_what_was_too_late_is_said_and_left_to_a_larger_budget(tmp_path: Path, count: int) -> None:
    """It is not in the journal. What is kept then takes back what the search was lent of the proof's time."""
    changes = [Change(name=name, value="1", title=name, numerics="exact") for name in "ab"[:count]]
    search = object.__new__(_Search)
    search.engine = _Screened(None, trial_of([], changes, "faster", "smaller", kept=True))  # type: ignore[assignment]
    search.pace = Pace(0.1, 2.0)
    search.journal, search.costs, search.unfinished = Journal(tmp_path), Costs(search.pace), False
    search.trials, search.target = [], Target.of_command([sys.executable, "train.py"])
    search.time = Time(90.0, lambda: 50.0)
    search.time.begin(30.0, 0.0, others=False, named=False)
    reserved = search.time.reserved
    assert search.time.nothing_to_prove()
    search.options = Options(budget=90, goal="memory")
    said: list[str] = []
    search.progress = said.append
    wanted = Wanted(least_gain=0.02, least_live_gain=0.02, losses=None, goal="memory")
    asked = {"key": Attempt(best=[], changes=changes, wanted=wanted, seconds=10.0, longest=57.0)}

    late = search.judged([], changes, search.try_all(asked).get("key"), 0.1)
    assert late.why.startswith("not at speed after 57 s: ")
    assert said == [f"{late.title}: {late.why}"]
    assert (late.id, late.kept, search.unfinished) == (" + ".join(each.id for each in changes), False, True)
    assert search.journal.entries == {}
    assert search.costs.of(changes) == 57.0
    assert search.time.reserved < reserved

    kept = search.judged([], changes, search.try_all(asked).get("key"), 0.1)
    assert kept.kept
    assert list(search.journal.entries) == ["key"]
    assert search.time.reserved == reserved
    assert search.time.closing == hand_over_seconds(Paces(search.pace, search.pace))
    search.journal.close()


def claim(judgement: Judgement, same: bool | None) -> Claim:
    effect = Effect(ratio=0.9, low=0.88, high=0.91, n=5, confidence=0.99, pairs=[0.9] * 5)
    training = SameTraining(same=same, numerics="trajectory", evidence="its loss is higher")
    return Claim(
        changes=[], launches=[], effect=effect, judgement=judgement, same=training, goal="time-to-quality", speed=effect
    )


REFUSED = (
    "dropped again: the proof gave 0.90x [0.88, 0.91], 5 pairs to the same loss (at most 0.9x where it was not reached)"
)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (claim("slower", True), f"{REFUSED}, slower"),
        (claim("faster", False), f"{REFUSED}, worse: its loss is higher"),
        (claim("faster", True), ""),
        (None, ""),
    ],
    ids=["slower", "another", "holds", "no time"],
)
def test_a_second_proof_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, other: Claim | None, why: str) -> None:
    """What was kept for it is dropped with the figures; what was proven before stays."""
    first, added = (Change(name=name, value="1", title=name, numerics="trajectory") for name in "ab")
    search = object.__new__(_Search)
    search.trials = [trial_of([], [each], "faster", "", kept=True) for each in (first, added)]
    monkeypatch.setattr(search, "prove", lambda changes, baseline: other)
    before = claim("faster", True)
    chosen = search.better(before, [first], [first, added], None)  # type: ignore[arg-type]
    assert chosen is (other if other is not None and other.holds else before)
    assert [(trial.kept, trial.why) for trial in search.trials] == [(True, ""), (not why, why)]
    assert search.better(None, [], [added], None) is other  # type: ignore[arg-type]


def test_a_larger_batch_that_is_worse_is_tried_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the values that were kept on the way; where none is as good, what was proven before stays."""
    start = Change(name="layout", value="1", title="", numerics="rounding")
    sizes = [Change(name="batch", value=str(size), title="", numerics="trajectory") for size in (8, 16, 32)]
    asked: list[str] = []

    def searched() -> _Search:
        search = object.__new__(_Search)
        search.trials = [trial_of([], [each], "faster", "", kept=True) for each in (start, *sizes)]
        monkeypatch.setattr(search, "prove", lambda changes, baseline: prove(changes))
        return search

    def prove(changes: Sequence[Change], good: str = "8") -> Claim:
        asked.append("+".join(change.id for change in changes))
        made = claim("faster", changes[-1].value == good)
        return msgspec.structs.replace(made, changes=list(changes))

    before = claim("faster", True)
    search = searched()
    chosen = search.better(before, [start], [start, sizes[2]], None)  # type: ignore[arg-type]
    assert asked == ["layout=1+batch=32", "layout=1+batch=16", "layout=1+batch=8"]
    assert chosen is not None
    assert [change.id for change in chosen.changes] == ["layout=1", "batch=8"]
    assert [trial.id for trial in search.trials if trial.kept] == ["layout=1", "batch=8"]
    search = searched()
    monkeypatch.setattr(search, "prove", lambda changes, baseline: prove(changes, good="none"))
    assert search.better(before, [start], [start, sizes[1]], None) is before  # type: ignore[arg-type]
    assert [trial.id for trial in search.trials if trial.kept] == ["layout=1", "batch=32"]


def test_what_was_asked_and_not_answered_is_said() -> None:
    """A metric that nothing was compared by, and a goal for which only throughput was proven."""
    asked = Options(budget=60, quality="iou", goal="time-to-quality")
    throughput = msgspec.structs.replace(claim("faster", True), goal="throughput")
    first, second = unanswered(asked, throughput, other_trainings=False)
    assert first == "no other training was compared by --quality iou: the search kept none"
    assert second.startswith("what was proven is the throughput of the same training")
    assert unanswered(asked, throughput, other_trainings=True) == [second]
    assert unanswered(asked, claim("faster", True), other_trainings=True) == []
    assert unanswered(Options(budget=60), throughput, other_trainings=False) == []
    unclear = msgspec.structs.replace(throughput, judgement="unclear")
    assert unanswered(asked, unclear, other_trainings=True) == []
