"""What is done on a bench: keys that the training does not heed, memory that there is no room for."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import msgspec
import pytest
from test_proof import DIAGNOSIS

from hotlap.changes import Situation
from hotlap.diagnose import Machine
from hotlap.launch.process import Limits
from hotlap.records import Change, Environment, Facts
from hotlap.tune.arms import AnyArm, losses, measure_pairs
from hotlap.tune.bench import Bench
from hotlap.tune.room import memory_limit, too_large
from hotlap.tune.screening import Wanted
from hotlap.tune.target import Target
from hotlap.tune.work import (
    NO_OP_PAIRS,
    Attempt,
    Beginning,
    Curving,
    Patching,
    curve,
    heeded,
    measure_baseline,
    patched,
    try_on_top,
    unheeded,
)

_SCRIPT = """\
import argparse
import torch
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--num-workers", type=int, default=0)
args = parser.parse_args()
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
data = TensorDataset(torch.randn(400000, 4), torch.randn(400000, 1))
for x, y in DataLoader(data, batch_size=8{workers}):
    loss = (model(x) - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
_WORKERS = Change(
    name="workers",
    value="1",
    title="1 loader worker",
    numerics="exact",
    inject={"workers": 1},
    edits={"num_workers": 1},
)


def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, *, heeds: bool) -> Bench:
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text(_SCRIPT.format(workers=", num_workers=args.num_workers" if heeds else ""))
    target = Target.of_command([sys.executable, "train.py", "--num-workers", "0"])
    assert target.has_keys(_WORKERS)
    return Bench(target, folder / "runs", Environment(hotlap="0", python="3"), Limits(silence=60))


def test_a_flag_that_does_nothing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script takes it and makes its loader without: the change is made from outside, and then it is so."""
    place = bench(tmp_path, monkeypatch, heeds=False)
    try:
        changed = heeded(place, [], _WORKERS, math.inf)
        assert changed.edits == {}
        arm = place.arm([changed])
        arm.warm()
        assert arm.so_far().facts.workers == 1
        assert unheeded(place, [_WORKERS]) == ["workers=1"]
    finally:
        place.close()


def test_a_flag_that_is_heeded_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what the user would write."""
    place = bench(tmp_path, monkeypatch, heeds=True)
    try:
        assert heeded(place, [], _WORKERS, math.inf) == _WORKERS
        assert unheeded(place, [_WORKERS]) == []
    finally:
        place.close()


def test_a_curve_begins_with_the_first_step_and_is_empty_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing then, and raises nothing."""
    place = bench(tmp_path, monkeypatch, heeds=True)
    try:
        asked = Curving(changes=[], steps=5, name="curve")
        losses = curve(place, asked)
        assert len(losses) >= 5
        assert curve(place, asked)[:5] == losses[:5]
        (tmp_path / "train.py").write_text("raise SystemExit(3)")
        assert curve(place, asked) == []
    finally:
        place.close()


def test_another_training_that_is_the_same_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a value of ``--set`` that the script takes from elsewhere: what was measured is the baseline."""
    place = bench(tmp_path, monkeypatch, heeds=False)
    asked = Change(name="num-workers", value="1", title="", numerics="trajectory", edits={"num_workers": 1})
    try:
        arm = place.arm([])
        arm.warm()
        wanted = Wanted(least_gain=0.05, least_live_gain=0.05, losses=losses(arm.so_far()))
        trial = try_on_top(place, Attempt(best=[], changes=[asked], wanted=wanted, seconds=5.0, longest=60.0))
    finally:
        place.close()
    assert trial is not None
    assert "it changed nothing that the losses show" in trial.why


@pytest.mark.parametrize("seconds", [1.0, 600.0])
def test_a_baseline_without_time_is_not_run_against_itself_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """What two processes differ by is what one does, then: it is more."""
    place, compared = bench(tmp_path, monkeypatch, heeds=True), []

    def pairs(a: AnyArm, b: AnyArm, count: int) -> list[float]:
        compared.append(a.host is b.host)
        return measure_pairs(a, b, count)

    monkeypatch.setattr("hotlap.tune.work.measure_pairs", pairs)
    try:
        baseline = measure_baseline(place, Beginning(machine=Machine(), seconds=seconds))
    finally:
        place.close()
    assert compared == ([False] if seconds == 1.0 else [False, True])
    assert (baseline.live_no_op == baseline.no_op) == (seconds == 1.0)
    assert baseline.no_op.n == NO_OP_PAIRS


@pytest.mark.parametrize("live", [True, False])
def test_what_does_not_come_to_speed_in_time_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """As a compilation that takes longer than the search has left; what it was tried on can be measured after it."""
    place = bench(tmp_path, monkeypatch, heeds=True)
    script = tmp_path / "train.py"
    slow = """\
import time

class Slow(torch.nn.Linear):
    def forward(self, x):
        time.sleep(60 if torch.is_autocast_enabled("cpu") else 0)
        return super().forward(x)

model = Slow("""
    script.write_text(script.read_text().replace("model = torch.nn.Linear(", slow))
    change = Change(
        name="precision", value="bf16", title="bf16", numerics="rounding", inject={"autocast": "bfloat16"}, live=live
    )
    wanted = Wanted(least_gain=0.02, least_live_gain=0.02, losses=None)
    try:
        place.arm([]).warm()
        asked = Attempt(best=[], changes=[change], wanted=wanted, seconds=1.0, longest=10.0)
        assert try_on_top(place, asked) is None
        assert place.arm([]).block()
        # With the time that it takes it would be tried.
        script.write_text(script.read_text().replace("60 if", "0.01 if"))
        place.keep()
        trial = try_on_top(place, msgspec.structs.replace(asked, longest=120.0))
        assert trial is not None
        assert trial.effect is not None
    finally:
        place.close()


def test_what_is_asked_by_a_flag_has_no_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the script heeds it is seen once it is at speed."""
    place = bench(tmp_path, monkeypatch, heeds=True)
    script = tmp_path / "train.py"
    slow = "import time\ntime.sleep(60 if args.num_workers else 0)\ndata = "
    script.write_text(script.read_text().replace("data = ", slow))
    wanted = Wanted(least_gain=0.02, least_live_gain=0.02, losses=None)
    try:
        asked = Attempt(best=[], changes=[_WORKERS], wanted=wanted, seconds=1.0, longest=8.0)
        assert try_on_top(place, asked) is None
    finally:
        place.close()


@pytest.mark.parametrize(("least", "fits"), [(2 * 10**9, True), (7 * 10**9, False)])
def test_what_is_predicted_not_to_fit_is_refused(least: int, fits: bool) -> None:
    """By the least that it takes: 4 GB now, room for 9."""
    situation = Situation(
        diagnosis=DIAGNOSIS,
        facts=Facts(peak_memory=4 * 10**9),
        environment=Environment(hotlap="0", python="3"),
        machine=Machine(),
        memory_limit=9 * 10**9,
    )
    change = Change(name="checkpointing", value="off", title="kept", numerics="exact", memory=(least, None))
    why = too_large([change], situation)
    assert (why is None) == fits
    assert why is None or "at least 10.24 GiB (3.73 now), and there is room for 8.38" in why


def test_the_limit_is_that_of_the_device() -> None:
    """Of the card where one computes; else what was asked for, or what the machine has."""
    here, machine = Environment(hotlap="0", python="3", memory=100), Machine(device_memory=48e9)
    assert memory_limit(7, Facts(device="cuda"), here, machine) == 48 * 10**9
    assert memory_limit(7, Facts(device="cpu"), here, machine) == 7
    assert memory_limit(None, Facts(), here, machine) == 90


@pytest.mark.parametrize(
    ("edit", "seconds", "same", "said", "timed"),
    [
        (("batch_size=8", "batch_size=4 * 2"), 1e6, True, "bit-identical", True),
        (("batch_size=8", "batch_size=4 * 2"), 0.0, True, "no time was left to measure its speed", False),
        (("lr=0.001", "lr=0.002"), 1e6, False, "trains otherwise", False),
        (("lr=0.001", "lr=rate"), 1e6, False, "name 'rate' is not defined", False),
    ],
    ids=["the same", "no time", "another training", "broken"],
)
def test_a_patched_script_is_run_and_timed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edit: tuple[str, str],
    seconds: float,
    same: bool,
    said: str,
    timed: bool,
) -> None:
    """Against the losses of the proof; timed where it trains the same, in the process that has shown it."""
    place = bench(tmp_path, monkeypatch, heeds=True)
    try:
        losses = curve(place, Curving(changes=[], steps=12, name="proof"))
        copy = tmp_path / "edited.py"
        copy.write_text((tmp_path / "train.py").read_text().replace(*edit))
        asked = Patching(
            changes=[],
            copies={str(tmp_path / "train.py"): str(copy)},
            name="patched",
            losses=losses[:12],
            deterministic=True,
            seconds=seconds,
            timing=5.0,
        )
        found = patched(place, asked)
        assert found.same is same
        assert said in found.why
        assert (found.effect is not None) == timed
        if found.effect is not None:
            assert found.effect.n == 5
    finally:
        place.close()
