"""What a step takes without a suspect: who is suspected, what is measured, and what is said about it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from hotlap import api
from hotlap.diagnose import diagnose
from hotlap.launch.rundir import ABLATIONS, read_run
from hotlap.records import Ablation, Ablations, Environment, Facts, Run, RunInfo, Step
from hotlap.report import html, proofs
from hotlap.tune.ablation import DATA_SIDE, SUSPECTS, Block, _clear, _result, block_for, prove_suspects, suspects
from hotlap.tune.statistics import effect

_USUAL = {"data_wait": 0.004, "forward": 0.004, "backward": 0.008, "optimizer": 0.002, "other": 0.002}


def _run(every: int = 0, phase: str = "validation", seconds: float = 0.02, **facts: Any) -> Run:
    """40 steps of 20 ms, with ``phase`` in every so many of them."""
    steps, t = [], 3.0
    for i in range(40):
        phases = {**_USUAL, **({phase: seconds} if every and i % every == every - 1 else {})}
        steps.append(Step(i=i, t=t, wall=sum(phases.values()), phases=phases, samples=4))
        t += steps[-1].wall
    environment = Environment(hotlap="0", python="3.12", cores=4, memory=2**33)
    info = RunInfo(
        name="planted",
        command=["python", "train.py"],
        cwd="/",
        environment=environment,
        started=1.0,
        ended=t + 1,
        date="2026-01-01T00:00:00Z",
        outcome="finished",
    )
    return Run(info=info, facts=Facts(**{"workers": 0, "device": "cpu", **facts}), steps=steps)


def _named(name: str) -> Any:
    return next(suspect for suspect in SUSPECTS if suspect.name == name)


def _ablation(pairs: list[float], suspected: float = 0.008, step: float = 0.02) -> Ablation:
    unmeasured = Ablation(name="data", title="waiting for data", how="the same batch again", suspected=suspected)
    return _result(unmeasured, effect(pairs, 0.98), step)


# who is suspected


def test_suspects_come_by_their_seconds_at_stake() -> None:
    """Nothing is suspected that did not happen, and nothing that cannot be taken away from this training."""
    run = _run(every=2, seconds=0.03)
    names = [suspect.name for suspect, _ in suspects(run, diagnose(run))]
    assert names == ["validation", "data", "samples", "optimizer"]
    run = _run(workers=None)
    assert "data" not in [suspect.name for suspect, _ in suspects(run, diagnose(run))]
    run = _run(iterable_dataset=True)
    assert "samples" not in [suspect.name for suspect, _ in suspects(run, diagnose(run))]


def test_a_suspect_knows_the_findings_against_it() -> None:
    """So that the proof can say which of them it bears out."""
    run = _run(every=1, phase="logging", seconds=0.02)
    found = {suspect.name: ablation for suspect, ablation in suspects(run, diagnose(run))}
    assert found["logging"].findings == ["LOOP03"]
    assert found["logging"].suspected == pytest.approx(0.02)
    assert found["optimizer"].findings == []


def test_what_is_asked_for_and_not_there_is_said(tmp_path: Path) -> None:
    """A training without a loader has no data side to take away; nothing is started for it."""
    run = _run(workers=None)
    proven = prove_suspects(
        [sys.executable, "train.py"],
        run,
        diagnose(run),
        tmp_path,
        budget=1,
        progress=lambda message: None,
        asked=DATA_SIDE,
        suspected=False,
    )
    assert [each.name for each in proven.not_tried] == ["data", "samples"]
    assert proven.not_tried[0].why == "the training has no DataLoader of torch"
    assert not proven.tried
    assert {path.name for path in tmp_path.iterdir()} <= {ABLATIONS}


# how much of the training a block holds


def test_a_block_holds_what_happens_every_so_often() -> None:
    """As many steps as it takes for each block to hold equally many validations, which count here."""
    run = _run(every=10)
    block = block_for(_named("validation"), run, diagnose(run))
    assert isinstance(block, Block)
    assert block.seconds == 0
    assert block.steps % 10 == 0
    assert block.steps * 0.022 > 0.4
    assert block.uncounted == ("checkpoint",)
    assert block_for(_named("data"), run, diagnose(run)) == Block()


def test_what_is_too_rare_for_short_runs_is_not_tried() -> None:
    """The reason says so."""
    run = _run(every=40)
    assert "once" in str(block_for(_named("validation"), run, diagnose(run)))
    run = _run(every=10, seconds=10.0)
    assert "every 10 steps" in str(block_for(_named("validation"), run, diagnose(run)))


# what is measured, and said


def test_a_ratio_becomes_seconds_of_a_step() -> None:
    """Twice the throughput of a step of 20 ms is 10 ms less."""
    result = _ablation([2.0, 2.01, 1.99, 2.0])
    assert result.seconds == pytest.approx(0.010, rel=0.01)
    assert result.low is not None
    assert result.high is not None
    assert result.low < 0.010 < result.high
    assert _clear(result)
    assert "a step takes 10.0 ms" in proofs.sentence(result)


def test_nothing_is_said_to_be_nothing() -> None:
    """A suspicion that the proof contradicts is called that."""
    result = _ablation([1.001, 0.999, 1.002, 1.0], suspected=0.008)
    assert result.low is not None
    assert result.high is not None
    assert result.low < 0 < result.high
    assert _clear(result)
    assert "changes nothing that can be seen" in proofs.sentence(result)
    assert "8.00 ms at stake" in proofs.sentence(result)


def test_too_little_is_unclear() -> None:
    """Pairs that scatter, and a pair alone."""
    result = _ablation([0.7, 1.4, 1.0, 1.6])
    assert not _clear(result)
    assert "unclear" in proofs.sentence(result)
    result = _ablation([2.0])
    assert (result.low, result.high) == (None, None)
    assert not _clear(result)
    assert "unclear" in proofs.sentence(result)


def test_an_effect_far_below_the_suspicion_is_told() -> None:
    """The wait for data may be hidden behind other work."""
    result = _ablation([1.1, 1.1, 1.101, 1.099], suspected=0.015)
    assert "far below the 15.0 ms" in proofs.sentence(result)


def test_reports_show_what_was_proven() -> None:
    """In the terminal and on the page, with the control and what was not tried."""
    proven = Ablations(
        budget=60,
        spent=40,
        tried=[_ablation([2.0, 2.01, 1.99, 2.0])],
        not_tried=[Ablation(name="saving", title="writing checkpoints", how="", why="no time was left")],
        control=Ablation(
            name="control",
            title="nothing",
            how="",
            effect=effect([1.0, 1.001, 0.999, 1.0], 0.98),
            step_seconds=0.02,
            seconds=0.0,
            low=-0.001,
            high=0.001,
        ),
    )
    run = msgspec.structs.replace(_run(), ablations=proven)
    text = io.StringIO()
    console = Console(file=text, width=110)
    for part in proofs.without_it(diagnose(run)):
        console.print(part)
    shown = text.getvalue()
    assert "Without it (measured)" in shown
    assert "nothing (control)" in shown
    assert "Writing checkpoints: not tried: no time was left." in shown
    assert "Data stalls (measured)" in shown
    page = html.render(run)
    assert "Data stalls (measured)" in page
    assert "Without it (measured)" in page
    assert "waiting for data" in page
    assert "Without it" not in html.render(_run())


# real

_SCRIPT = """
import json, time, torch
from pathlib import Path
from torch.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self): return 100000
    def __getitem__(self, index):
        time.sleep(0.008)
        return torch.full((16,), float(index % 7)), torch.tensor([float(index % 3)])

def slow(value):
    time.sleep(0.005)
    return 0

model = torch.nn.Linear(16, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
for step, (x, y) in enumerate(DataLoader(Slow(), batch_size=1)):
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    with open("history.json", "w") as file:
        json.dump({"steps": [object()]}, file, default=slow)
"""


@pytest.mark.noisy
def test_what_is_planted_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching of 8 ms and a log of 5 ms are found to cost that; nothing costs nothing; the user's files stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(_SCRIPT)
    (tmp_path / "history.json").write_text("mine")
    runs = tmp_path / "runs"
    run = api.profile([sys.executable, "train.py"], steps=40, prove=True, budget=60, run_dir=runs)
    proven = run.ablations
    assert proven is not None
    found = {each.name: each for each in proven.tried}
    assert next(iter(found)) == "data"
    for name, planted in (("data", 0.008), ("logging", 0.005)):
        if name not in found and proven.spent > 30:
            continue  # a machine that is this slow has no time for it
        each = found[name]
        assert (each.low or 0.0) > 0, each
        assert 0.6 * planted < (each.seconds or 0.0) < 2 * planted, each
    if proven.control is not None:
        low, high = proven.control.low, proven.control.high
        assert low is None or high is None or low < 0 < high, proven.control
    assert (tmp_path / "history.json").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"train.py", "history.json", "runs"}
    (directory,) = runs.iterdir()
    assert (directory / ABLATIONS).exists()
    assert read_run(directory).ablations == proven
