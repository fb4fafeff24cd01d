"""Whatever a training does, or its disk, it goes on and ends as it would without us."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotlap.diagnose import diagnose
from hotlap.errors import RunError
from hotlap.launch import Plan, Training
from hotlap.records import Environment

LOOP = """
import os, sys, torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def step():
    loss = model(torch.randn(2, 4)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(loss.item().hex(), flush=True)
"""

#: What the script does, its exit status, and how many steps it makes.
ODD = {
    "no_steps": ("with torch.no_grad():\n    print(model(torch.ones(2, 4)).sum().item())\n", 0, 0),
    "two_steps": ("step()\nstep()\ntorch.save(model.state_dict(), 'last.pt')\n", 0, 2),
    "crash": ("for number in range(20):\n    step()\n    if number == 6: raise RuntimeError('planted')\n", 1, 7),
    "caught": (
        "for number in range(9):\n    step()\n    try:\n        model(torch.ones(2, 5))\n"
        "    except RuntimeError: print('caught')\n",
        0,
        9,
    ),
    "forks": (
        "for number in range(9):\n    step()\n    if number == 4:\n        child = os.fork()\n"
        "        if not child:\n            step()\n            print('child', flush=True)\n            sys.exit(5)\n"
        "        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n",
        0,
        9,
    ),
    "binary": (
        "for number in range(4):\n    step()\n    sys.stdout.buffer.write(bytes(range(256)) * 400)\n"
        "    os.write(2, b'\\xff\\xfe\\r\\n')\n    sys.stdout.flush()\n",
        0,
        4,
    ),
    "closed_output": ("step()\nos.close(1)\nos.close(2)\nfor number in range(3):\n    optimizer.step()\n", 0, None),
    "signal": ("import signal\nstep()\nos.kill(os.getpid(), signal.SIGTERM)\n", -15, None),
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def held(command: list[str], directory: Path) -> tuple[Training, bytes]:
    """Train with the probe inside, as ``hotlap profile`` does; return what was passed on of its output."""
    stream = io.BytesIO()
    environment = Environment(hotlap="0", python="3")
    training = Training(command, directory, Plan(), output="tee", stream=stream, known_environment=environment)
    training.wait()
    return training, stream.getvalue()


@pytest.mark.parametrize("odd", ODD)
def test_odd_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    """Output, exit status and files are the same to the byte, and what was seen is recorded."""
    text, status, steps = ODD[odd]
    (tmp_path / "train.py").write_text(LOOP + text)
    command = [sys.executable, str(tmp_path / "train.py")]
    for place in ("alone", "with"):
        (tmp_path / place).mkdir()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = subprocess.run(
        command, cwd=tmp_path / "alone", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    monkeypatch.chdir(tmp_path / "with")
    training, output = held(command, tmp_path / "run")
    training.close()
    assert training.exit is not None
    assert training.exit["exit"] == alone.returncode == status
    assert output == alone.stdout
    assert (tmp_path / "run" / "output.log").read_bytes() == output
    assert files(tmp_path / "with") == files(tmp_path / "alone")
    run = training.run()
    if steps is not None:
        assert len(run.steps) == steps
    if run.steps:
        diagnose(run)


FILLED = """
import time
for number in range(400):
    if number == 200:
        time.sleep(0.3)  # the record is written at least so often
        step()
        for size in (1 << 20, 1):
            try:
                with open(sys.argv[1] + "/filling", "ab", buffering=0) as file:
                    while True: file.write(bytes(size))
            except OSError: pass
    step()
print('the end')
"""


def test_the_disk_fills_up(tmp_path: Path, disk_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends the recording, not the training, nor what is shown of its output."""
    small_disk = disk_of(40)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "train.py").write_text(LOOP + FILLED)
    training, output = held([sys.executable, str(tmp_path / "train.py"), str(small_disk)], small_disk / "run")
    assert training.exit is not None
    assert training.exit["exit"] == 0, output
    assert output.endswith(b"the end\n")
    assert output.count(b"0x") == 401
    with pytest.raises(RunError, match=r"cannot write .*run\.json: No space left"):
        training.close()
    assert 100 < len(training.run().steps) <= 400
