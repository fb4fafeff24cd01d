"""The command on a real terminal, through a pipe, and stopped in every way; a stand-in for the training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import OnTerminal, Screen

from hotlap.errors import RunError
from hotlap.watch import Sensors, Training, View, watch
from hotlap.watch.history import History
from hotlap.watch.trainings import running

HOTLAP = [sys.executable, "-m", "hotlap", "watch"]
TRAINING = """
import time, torch

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        time.sleep(0.001)
        return torch.ones(4)

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step, batch in enumerate(torch.utils.data.DataLoader(Samples(), batch_size=4, num_workers=2)):
    optimizer.zero_grad()
    model(batch).sum().backward()
    optimizer.step()
    if step and step % 100 == 0:
        print(f"step {step}/100000", flush=True)
"""
STAND_IN = Path(__file__).with_name("training.py")


class Run:
    """A training that is recorded in a directory of its own."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.directory = folder / ".hotlap" / "runs" / "profile-1"
        self.directory.mkdir(parents=True)
        (self.directory / "probe.json").write_text("{}")
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_IN), str(seconds)],
            env={**os.environ, "HOTLAP_PROBE": str(self.directory / "probe.json")},
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    found = Run(tmp_path, 60.0)
    yield found
    found.process.kill()
    found.process.communicate()


def piped(run: Run, *words: str) -> subprocess.Popen[str]:
    folder = run.directory.parents[2]
    return subprocess.Popen(
        [*HOTLAP, "profile-1", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def started(screen: Screen) -> bool:
    return any(line.startswith("Ctrl-C ends") for line in screen.lines)


def drawn(screen: Screen) -> bool:
    """Twelve lines may be needed for what is said of a busy machine."""
    return screen.alternate and screen.lines[0].startswith("profile-1 (process ") and bool(screen.lines[1])


def test_a_terminal_of_80_by_24_a_resize_ctrl_z_and_ctrl_c(run: Run) -> None:
    """Everything fits; the new size is filled at once; stopped or ended, the terminal is as before."""
    terminal = OnTerminal([*HOTLAP, "profile-1", "--interval", "0.3"], 80, 24, {}, str(run.directory.parents[2]))
    assert terminal.until(started)
    assert terminal.screen.alternate
    assert not terminal.screen.cursor
    lines = terminal.screen.lines
    assert lines[0].startswith("profile-1 (process ")
    for label in ("Step", "CPU", "Memory", "Workers", "Disk", "Network"):
        assert sum(line.startswith(label) for line in lines) == 1
    assert any("samples/s" in line and "loss 0.5000" in line for line in lines)
    assert any(set(line[9:]) & set("▁▂▃▄▅▆▇█") for line in lines)
    terminal.resize(60, 12)
    before = terminal.screen.drawn  # what was on its way then is of the old size
    fits = terminal.until(lambda screen: drawn(screen) and screen.drawn > before + 3 and not screen.overflowed)
    assert fits, "\n".join(terminal.screen.lines)
    terminal.process.send_signal(signal.SIGTSTP)
    assert terminal.until(lambda screen: not screen.alternate and screen.cursor)
    os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)
    terminal.process.send_signal(signal.SIGCONT)
    assert terminal.until(drawn)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert terminal.screen.cursor
    assert not terminal.screen.alternate
    assert "watched for 0:0" in terminal.screen.usual
    assert "ok      data time" in terminal.screen.usual
    assert "Traceback" not in terminal.screen.usual


def test_no_colour_and_no_utf8(run: Run) -> None:
    """NO_COLOR, and a terminal that shows ASCII alone."""
    plain = {"NO_COLOR": "1", "LC_ALL": "POSIX"}
    folder = str(run.directory.parents[2])
    terminal = OnTerminal([*HOTLAP, "profile-1", "--seconds", "1", "--interval", "0.3"], 80, 24, plain, folder)
    assert terminal.until(started)
    assert "".join(terminal.screen.lines).isascii()
    assert terminal.end() == 0
    assert terminal.screen.usual.isascii()
    assert not terminal.screen.styled
    assert "the time is over" in terminal.screen.usual


def test_through_a_pipe_each_look_is_a_line_and_an_end_from_outside_has_a_summary(run: Run) -> None:
    """No control characters; SIGTERM ends it as Ctrl-C does, with the exit code of a shell."""
    process = piped(run, "--interval", "0.2")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert " steps  " in first
    assert "loss 0.5000  data 1.00 ms" in first
    process.terminate()
    rest, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Means and peaks" in rest
    assert "\x1b" not in first + rest
    assert errors == ""


def test_a_reader_that_goes_away_ends_it_quietly(run: Run) -> None:
    """As in `hotlap watch | head -1`."""
    process = piped(run, "--interval", "0.1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 128 + signal.SIGPIPE
    assert process.stderr.read() == ""
    process.stderr.close()


def test_json_is_a_line_a_look_and_one_for_the_summary(run: Run) -> None:
    """And Ctrl-C before the time is over is an interruption."""
    process = piped(run, "--json", "--interval", "0.2", "--seconds", "50")
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    *looks, summary = [*seen, *map(json.loads, rest.splitlines())]
    assert process.returncode == 130
    assert {look["k"] for look in looks} == {"sample"}
    assert looks[1]["steps"]["done"] > looks[0]["steps"]["done"] > 0
    assert looks[1]["processes"]["pss"] > 0
    assert (summary["k"], summary["ended"], summary["looks"]) == ("summary", "stopped", len(looks))
    assert summary["steps"] > 0


def test_once_is_one_look(run: Run) -> None:
    """For people, without a curve."""
    done = piped(run, "--once")
    text, errors = done.communicate(timeout=20)
    assert (done.returncode, errors) == (0, "")
    assert "a step" in text
    assert "Means" not in text
    assert "█" not in text


def test_a_real_training_with_two_workers(tmp_path: Path) -> None:
    """As `hotlap profile` starts it: found among all processes, with its workers and its steps."""
    (tmp_path / "train.py").write_text(TRAINING)
    profile = subprocess.Popen(
        [sys.executable, "-m", "hotlap", "profile", "--", sys.executable, "train.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert profile.stderr is not None
    assert "step 100/" in next(line for line in profile.stderr if line.startswith("step"))
    (directory,) = (tmp_path / ".hotlap" / "runs").iterdir()
    (found,) = (each for each in running() if each.directory == directory.resolve())
    assert found.command[1:] == ["train.py"]
    done = subprocess.run(
        [*HOTLAP, directory.name, "--once", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    seen = json.loads(done.stdout)
    profile.send_signal(signal.SIGINT)
    profile.communicate(timeout=30)
    assert len(seen["processes"]["workers"]) == 2
    assert seen["processes"]["count"] == 3
    assert seen["steps"]["done"] >= 100
    assert seen["steps"]["phases"]["data_wait"] > 0
    assert seen["steps"]["total"] == 100000


class Unseen(View):
    def __init__(self) -> None:
        self.shown = 0

    def show(self, history: History) -> None:
        self.shown += 1


class Interrupted(View):
    """Somebody presses Ctrl-C, again and again."""

    given_back = False

    def show(self, history: History) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def close(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        self.given_back = True


def test_nothing_interrupts_while_the_terminal_is_given_back() -> None:
    """Neither what stopped the watch, nor the same once more."""
    training = Training(os.getpid(), ["python"], None)
    view = Interrupted()
    try:
        _, stopped = watch(training, Sensors(training), view, seconds=0.0, interval=0.1)
    except KeyboardInterrupt:  # which would end the tests
        pytest.fail("it was interrupted")
    assert stopped == signal.SIGINT
    assert view.given_back
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_training_that_ends_while_it_is_watched(tmp_path: Path) -> None:
    """The watch ends with it, and knows how it ended and its last step."""
    run = Run(tmp_path, 1.5)
    training = Training(run.process.pid, ["python", "train.py"], run.directory)
    view, sensors = Unseen(), Sensors(training)
    info = {
        "name": "profile-1",
        "command": ["python"],
        "cwd": "/",
        "environment": {"hotlap": "0", "python": "3"},
        "started": 0.0,
        "ended": 1.0,
        "date": "",
        "outcome": "crashed",
        "reason": "exit code 1: ValueError",
    }
    (run.directory / "run.json").write_text(json.dumps(info))
    summary, stopped = watch(training, sensors, view, seconds=0.0, interval=0.1)
    run.process.communicate()
    assert stopped is None
    assert view.shown == summary.looks > 2
    assert (summary.ended, summary.outcome, summary.reason) == ("training", "crashed", "exit code 1: ValueError")
    last = json.loads((run.directory / "steps.jsonl").read_text().splitlines()[-1])
    assert summary.steps is not None
    assert 0 <= last["i"] + 1 - summary.steps < 30
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_training_that_is_over_before_the_first_look(tmp_path: Path) -> None:
    """A sentence, and no summary of nothing."""
    run = Run(tmp_path, 0.0)
    training = Training(run.process.pid, [], run.directory)
    sensors = Sensors(training)
    run.process.communicate()
    with pytest.raises(RunError, match="profile-1 was over before it could be looked at"):
        watch(training, sensors, Unseen(), seconds=0.0, interval=0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--interval", "0.01"], "--interval 0.01: looks are at least 0.1 s apart"),
        (["--once", "--seconds", "5"], "give either --once or --seconds"),
        (["--planned-steps", "0"], "--planned-steps 0"),
        (["--seconds", "soon"], "such as 90s"),
    ],
)
def test_wrong_options_get_a_sentence(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """Before anything is looked for."""
    from hotlap.cli import main

    with pytest.raises(SystemExit) as caught:
        main(["watch", *words])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
