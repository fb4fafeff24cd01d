"""``hotlap export`` and ``hotlap compare RUN RUN`` on a run that was recorded, as a user calls them."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotlap.cli import main
from hotlap.export import FORMATS
from hotlap.launch import read_run

TRAINING = """\
import torch

torch.manual_seed(0)
model = torch.nn.Linear(16, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(300):
    loss = model(torch.randn(8, 16)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one real run, and a copy of it under another name."""
    folder = tmp_path_factory.mktemp("recording")
    (folder / "train.py").write_text(TRAINING)
    subprocess.run(
        [sys.executable, "-m", "hotlap", "profile", "--", sys.executable, "train.py", "--token", "hunter2"],
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=120,
    )
    runs = folder / ".hotlap" / "runs"
    (one,) = runs.iterdir()
    one.rename(runs / "one")
    shutil.copytree(runs / "one", runs / "two")
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recording: Path) -> Call:
    monkeypatch.chdir(recording)

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err  # type: ignore[return-value]

    return run


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "wandb"])
def test_each_format_of_a_real_run(call: Call, recording: Path, form: str) -> None:
    """The path is printed, and there; nothing secret is in it."""
    code, out, err = call("export", "one", "--to", form)
    assert (code, err) == (0, "")
    data = (recording / out.strip()).read_bytes()
    assert b"hunter2" not in (gzip.decompress(data) if form == "perfetto" else data)
    code, out, _ = call("export", "one", "--to", form, "--json")
    assert json.loads(out)["steps"] == 300
    assert not [*recording.rglob(".*.prom.*"), *recording.rglob(".perfetto*")]


def test_a_real_trace_is_the_record(call: Call, recording: Path, tmp_path: Path) -> None:
    """Each step of it is as long as in the record, and so is each phase."""
    place = tmp_path / "phases.json"
    assert call("export", recording / ".hotlap/runs/one/run.json", "--to", "perfetto", "-o", place)[0] == 0
    events = json.loads(place.read_text())["traceEvents"]
    steps = [event for event in events if event.get("cat") == "step"]
    run = read_run(recording / ".hotlap/runs/one")
    assert [step["name"] for step in steps] == [f"step {step.i}" for step in run.steps]
    assert [step["dur"] / 1e6 for step in steps] == pytest.approx([step.wall for step in run.steps])
    forward = sum(event["dur"] for event in events if event["name"] == "forward")
    assert forward / 1e6 == pytest.approx(sum(step.phases.get("forward", 0) for step in run.steps))


def test_a_real_table(call: Call, tmp_path: Path) -> None:
    """A line for each step, which a spreadsheet or pandas reads."""
    call("export", "one", "--to", "csv", "-o", tmp_path / "steps.csv")
    rows = [*csv.DictReader((tmp_path / "steps.csv").read_text().splitlines())]
    assert [row["step"] for row in rows] == [str(i) for i in range(300)]
    assert float(rows[3]["hotlap/loss"]) > 0
    assert rows[3]["hotlap/step_seconds"] or rows[4]["hotlap/step_seconds"]


def test_two_stored_runs(call: Call) -> None:
    """A run beside its copy: nothing differs, not faster, exit code 0 also where a regression would count."""
    code, out, err = call("compare", "one", "two", "--fail-on", "regression,other-training")
    assert (code, err) == (0, "")
    assert "B's recorded steps are not faster than A's: 1.00x [1.00, 1.00]" in " ".join(out.split())
    assert "hunter2" not in out
    code, out, _ = call("compare", "one", "two", "--json")
    found = json.loads(out)
    assert found["schema"] == 1
    assert found["effect"]["ratio"] == 1.0
    assert found["same_losses"] is True
    assert found["a"]["command"][-1] == "***"


def test_secrets_beside_the_command_are_masked(call: Call, recording: Path) -> None:
    """Where arms of a tuning differ in one, and where the last word of the training has one."""
    changed = recording / ".hotlap/runs/changed"
    shutil.copytree(recording / ".hotlap/runs/one", changed, dirs_exist_ok=True)
    info = json.loads((changed / "run.json").read_text())
    info |= {"changes": {"wandb.api_key": "hunter2", "workers": "2"}}
    info |= {"outcome": "crashed", "reason": "KeyError: api_key=hunter2"}
    (changed / "run.json").write_text(json.dumps(info))
    code, out, _ = call("compare", "one", "changed", "--json")
    assert code == 0
    assert "hunter2" not in out
    assert "B did not end as it should (crashed): KeyError: api_key=***" in out
    changes = [(each["name"], each["b"]) for each in json.loads(out)["configuration"]]
    assert changes == [("change wandb.api_key", "***"), ("change workers", "2")]


def test_a_report_of_a_name(call: Call, recording: Path) -> None:
    """A name is looked for below the run directories, where the page then lies; a path works as well."""
    code, named, _ = call("report", "one", "--md")
    assert (code, named) == (0, call("report", recording / ".hotlap/runs/one", "--md")[1])
    code, out, _ = call("report", "one")
    assert (code, Path(out.strip())) == (0, Path(".hotlap/runs/one/report.html"))
    assert (recording / out.strip()).is_file()
    assert call("report", "one", "--md", "--run-dir", "elsewhere")[0] == 2


def test_fail_on_of_stored_runs(call: Call, recording: Path) -> None:
    """B's steps are made twice as long in the record: exit code 1, with the reason."""
    slow = recording / ".hotlap/runs/slow"
    shutil.copytree(recording / ".hotlap/runs/one", slow, dirs_exist_ok=True)
    lines = []
    for line in (slow / "steps.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["k"] == "steps":
            record["times"] = [2 * each for each in record["times"]]
        lines.append(json.dumps(record))
    (slow / "steps.jsonl").write_text("\n".join(lines) + "\n")
    assert call("compare", "one", "slow")[0] == 0
    code, _, err = call("compare", "one", "slow", "--fail-on", "regression")
    assert code == 1
    assert "may be a regression, which --fail-on asked for: its recorded steps are slower: 0.50x" in err
    assert call("compare", "one", "slow", "--fail-on", "not-faster")[0] == 1
    assert call("compare", "slow", "one", "--fail-on", "regression")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "one", "--to", "perfeto"], "did you mean 'perfetto'?"),
        (["export", "three", "--to", "csv"], "there is no run three"),
        (["export", "ones", "--to", "csv"], "did you mean 'one'?"),
        (["report", "three"], "there is no run three"),
        (["run", "--with", "three"], "there is no run three"),
        (["run", "--with", "one"], "one is not the result of a tuning"),
        (["report", "train.py"], "logs and traces are for `hotlap read`"),
        (["export", "x" * 300, "--to", "csv"], "File name too long"),
        (["compare", "one", "x" * 300], "File name too long"),
        (["export", ".", "--to", "csv"], "holds no record of hotlap"),
        (["export", "train.py", "--to", "csv"], "is no record of hotlap"),
        (["export", "one", "--to", "csv", "-o", "train.py"], "train.py exists already"),
        (["export", "one", "--to", "tensorboard", "-o", "train.py"], "train.py is a file"),
        (["export", "one", "--to", "csv", "-o", "no/where.csv"], "no is not a folder"),
        (["compare", "one"], "two stored runs, and there is one"),
        (["compare", "one", "two", "one"], "there are 3"),
        (["compare", "one", ".hotlap/runs/one"], "are the same run"),
        (["compare", "one", "three"], "there is no run three"),
        (["compare", "one", "two", "--a", "true", "--budget", "5m"], "--a, --budget: for two commands"),
        (["compare", "one", "two", "--fail-on", "sad"], "use one or more of"),
        (["compare"], "or name two stored runs"),
        (["compare", "--b", "true"], "with --a and --b"),
        (["compare", "--a", "", "--b", "true"], "--a is empty: give it a training command in quotes"),
    ],
)
def test_wrong_input(call: Call, words: list[str], said: str) -> None:
    """One sentence each, on stderr, with exit code 2."""
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_tuning_holds_several_runs(call: Call, recording: Path, tmp_path: Path) -> None:
    """So one of its arms is to be named, and can be."""
    tuning = tmp_path / "tune-1"
    shutil.copytree(recording / ".hotlap/runs/one", tuning / "arms" / "baseline")
    effect = {"ratio": 1.0, "low": 1.0, "high": 1.0, "n": 2, "confidence": 0.99, "pairs": [1.0, 1.0]}
    record = {
        "name": "compare-1",
        "date": "",
        "a": ["x"],
        "b": ["y"],
        "environment": {"hotlap": "0", "python": "3"},
        "effect": effect,
        "judgement": "unclear",
        "same_training": {"same": None, "numerics": "exact", "evidence": ""},
        "a_step_seconds": 1.0,
        "b_step_seconds": 1.0,
    }
    (tuning / "result.json").write_text(json.dumps(record))
    code, _, err = call("export", tuning, "--to", "csv")
    assert code == 2
    assert f"name one of its arms, as in {tuning}/arms/baseline" in err
    assert call("export", tuning / "arms/baseline", "--to", "csv")[0] == 0


def test_no_tracker_is_imported() -> None:
    """Neither they nor torch, until one is asked for."""
    code = (
        "import sys, hotlap.export\n"
        "assert not {'torch', 'wandb', 'tensorboard', 'mlflow', 'trackio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
