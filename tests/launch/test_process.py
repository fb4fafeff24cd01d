"""How a training ends, and what is kept of it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotlap.errors import RunError, TrainingFailed
from hotlap.launch import Limits, Plan, Training
from hotlap.launch.ending import kills_for_memory
from hotlap.records import RunInfo


def _ended(training: Training) -> RunInfo:
    with training:
        training.wait()
    return training.run().info


def test_finished(start: Callable[..., Training]) -> None:
    """A training that comes to its end is finished, with all its steps and what it printed."""
    with start("print('hello'); train(5)", changes={"workers": 2}) as training:
        training.wait()
    run = training.run()
    assert (run.info.outcome, run.info.exit_code, run.info.reason) == ("finished", 0, None)
    assert [step.i for step in run.steps] == list(range(5))
    assert training.tail() == "hello\n"
    assert run.info.changes == {"workers": 2}
    assert run.info.started < run.steps[0].t < run.steps[-1].t < run.info.ended


def test_crashed(start: Callable[..., Training]) -> None:
    """A crash says its exit code and its exception, wherever in the output that stands."""
    info = _ended(start("train(3)\nraise ValueError('no such layer: 7')"))
    assert (info.outcome, info.exit_code) == ("crashed", 1)
    assert info.reason == "exit code 1: ValueError: no such layer: 7"
    noisy = "train(3)\nprint('RuntimeError: shapes differ', file=sys.stderr)\nprint('wandb: bye')\nsys.exit(3)"
    assert _ended(start(noisy, name="noisy")).reason == "exit code 3: RuntimeError: shapes differ"
    assert _ended(start("sys.exit(4)", name="mute")).reason == "exit code 4: it printed nothing"


def test_killed_by_a_signal(start: Callable[..., Training]) -> None:
    """A death by signal is a crash with the status of a shell, a SIGKILL want of memory if the kernel says so."""
    training = start("train(1)\nprint('bye', flush=True)\nos.kill(os.getpid(), 11)")
    info = _ended(training)
    assert (info.outcome, info.reason) == ("crashed", "killed by signal 11: its last line was: bye")
    assert training.exit_status == 128 + 11
    training = start("train(1)\nos.kill(os.getpid(), 9)", name="killed")
    assert _ended(training).outcome == ("out_of_memory" if kills_for_memory() is None else "crashed")
    assert training.exit_status == 128 + 9


def test_hung(start: Callable[..., Training]) -> None:
    """A training that writes no step for longer than the limit is ended and called hung."""
    training = start("train(2)\nwhile True: time.sleep(1)", limits=Limits(silence=0.5))
    info = _ended(training)
    assert info.outcome == "hung"
    assert info.reason == "no step and no end for 0 s"
    assert len(training.run().steps) == 2


def test_silent_plans_never_hang(start: Callable[..., Training]) -> None:
    """A training in which nothing is measured may be silent for as long as it likes."""
    training = start("time.sleep(0.6)", Plan(silent=True), Limits(silence=0.1))
    assert _ended(training).outcome == "finished"


def test_memory_limit(start: Callable[..., Training]) -> None:
    """A training that holds more memory than allowed is ended before the machine runs out of it."""
    body = "train(1)\nheld = []\nwhile True:\n    held.append(bytearray(b'x') * (16 << 20))\n    time.sleep(0.02)"
    training = start(body, limits=Limits(memory=200 << 20, silence=60))
    info = _ended(training)
    assert info.outcome == "out_of_memory"
    assert info.reason == "its processes held more than the limit of 0.2 GiB"
    assert training.exit is not None
    assert training.exit["peak"] > 200 << 20


def test_shared_memory_counts_once(start: Callable[..., Training]) -> None:
    """Workers that were forked from a large process share its pages: that is no reason to end it."""
    body = (
        "held = bytearray(b'x') * (120 << 20)\n"
        "if not all(os.fork() for _ in range(2)):\n    time.sleep(60)\n"
        "time.sleep(1)\ntrain(1)"
    )
    if not os.path.exists("/proc/self/smaps_rollup"):
        pytest.skip("this kernel does not tell shared pages apart")
    assert _ended(start(body, limits=Limits(memory=250 << 20))).outcome == "finished"


def test_out_of_memory_error(start: Callable[..., Training]) -> None:
    """An allocation that failed is told from other crashes by its message."""
    message = "CUDA out of memory. Tried to allocate 2.00 GiB"
    info = _ended(start(f"train(2)\nraise RuntimeError({message!r})"))
    assert (info.outcome, info.reason) == ("out_of_memory", f"RuntimeError: {message}")


def test_ends_before_stepping(start: Callable[..., Training]) -> None:
    """A command that never trains is finished, with no steps."""
    training = start("print('usage: train.py')", Plan(gated=True))
    with training:
        assert not training.wait_for_gate()
    assert training.run().info.outcome == "finished"
    assert training.run().steps == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["no-such-program-anywhere"], "No such file or directory"),
        (["{tmp}/text"], "Permission denied"),
        (["{tmp}/broken"], "Exec format error"),
        (["{tmp}"], "Permission denied"),
    ],
)
def test_cannot_start(start: Callable[..., Training], tmp_path: Path, command: list[str], reason: str) -> None:
    """A command that cannot be started says which and why, and what to look at."""
    (tmp_path / "text").write_text("no program")
    (tmp_path / "broken").write_bytes(b"\0\1\2\3")
    (tmp_path / "broken").chmod(0o755)
    command = [word.format(tmp=tmp_path) for word in command]
    with pytest.raises(TrainingFailed, match=f"cannot start '{command[0]}': {reason}.*check the command after `--`"):
        start(command)


def has_begun(training: Training) -> bool:
    record = training.directory / "steps.jsonl"
    return record.exists() and record.stat().st_size > 0


def test_ended_from_outside(start: Callable[..., Training]) -> None:
    """Leaving the context ends a training that runs; that is no failure."""
    with start("train(100000)") as training:
        while not has_begun(training):
            training.poll()
    info = training.run().info
    assert (info.outcome, info.exit_code, info.reason) == ("stopped", None, None)
    training.close()
    assert training.exit_status == 0


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and so does what is started from there."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_interrupted(start: Callable[..., Training]) -> None:
    """Ctrl-C asks the training first, which may save its work before it goes."""
    body = "try:\n    train(100000)\nexcept KeyboardInterrupt:\n    print('saved', flush=True)\n    sys.exit(7)"
    training = start(body)

    def press_ctrl_c() -> None:
        with training:
            while not has_begun(training):
                training.poll()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()
    info = training.run().info
    assert (info.outcome, info.exit_code, info.reason) == ("interrupted", 7, "interrupted by the user")
    assert training.tail() == "saved\n"


def test_interrupted_but_deaf(start: Callable[..., Training]) -> None:
    """A training that does not heed Ctrl-C is ended after its grace."""
    body = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntrain(100000)"
    training = start(body, limits=Limits(grace=0.2))
    while not has_begun(training):
        training.poll()
    training.interrupt()
    assert training.run().info.outcome == "interrupted"
    assert training.exit_status == 130


def test_guardian_killed(start: Callable[..., Training]) -> None:
    """When the process that watches is killed, the training goes with it, and the run says so."""
    with start("train(100000)") as training:
        os.kill(training._guardian.pid, signal.SIGKILL)
        training.wait()
    info = training.run().info
    assert (info.outcome, info.reason) == ("crashed", "the process that watched it was killed, and it with it")


def test_tee(start: Callable[..., Training]) -> None:
    """Output that is shown is kept too, byte by byte, so that a crash has its reason."""
    shown = io.BytesIO()
    body = "sys.stdout.buffer.write(b'50%\\r100%\\n\\xff\\xfe')\nsys.stdout.flush()\nraise OSError('lost')"
    training = start(body, output="tee", stream=shown)
    info = _ended(training)
    assert shown.getvalue().startswith(b"50%\r100%\n\xff\xfeTraceback")
    assert shown.getvalue() == (training.directory / "output.log").read_bytes()
    assert info.reason == "exit code 1: OSError: lost"


def test_tee_goes_to_stderr(start: Callable[..., Training], capfd: pytest.CaptureFixture[str]) -> None:
    """Shown output goes to stderr: stdout is for results."""
    _ended(start("print('loss 0.5')", output="tee"))
    assert capfd.readouterr() == ("", "loss 0.5\n")


def test_inherit(tmp_path: Path, script: Callable[[str], list[str]]) -> None:
    """A training that inherits reads our stdin and writes our stdout and stderr itself."""
    parent = (
        "import sys\nfrom pathlib import Path\nfrom hotlap.launch import Plan, Training\n"
        f"with Training(sys.argv[1:], Path({str(tmp_path / 'run')!r}), Plan(silent=True), output='inherit') as t:\n"
        "    t.wait()\nsys.exit(t.exit_status)"
    )
    body = "print(input('name? '))\nprint('warned', file=sys.stderr)\nsys.exit(5)"
    command = [sys.executable, "-c", parent, *script(body)]
    done = subprocess.run(command, input="vrt\n", capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("name? vrt\n", "warned\n", 5)
    assert not (tmp_path / "run" / "output.log").exists()


def test_the_run_directory_is_a_file(start: Callable[..., Training], tmp_path: Path) -> None:
    """A run directory that cannot be one is refused in plain words."""
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match=r"cannot write the run directory .*/run: File exists"):
        start("train(1)")


def test_the_run_directory_holds_a_run(start: Callable[..., Training]) -> None:
    """A second run is never mixed into the first one's files."""
    _ended(start("train(1)"))
    with pytest.raises(RunError, match="holds a run already: choose another with --run-dir"):
        start("train(1)")


def test_no_permission(start: Callable[..., Training], tmp_path: Path) -> None:
    """A directory in which nothing may be made is refused in plain words."""
    name = "/proc/hotlap" if os.getuid() == 0 else str(tmp_path / "closed" / "run")
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(RunError, match="cannot write the run directory"):
        start("train(1)", name=name)
