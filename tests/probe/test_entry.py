"""However a training is started and written, its record is whole and its numbers are the script's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hotlap.launch import Plan, Training
from hotlap.records import Environment, Run

PYTHON = sys.executable
STEPS = 12

#: Trains twelve steps, four samples each, and prints the losses.
LOOP = """
import torch
{imports}
def train(steps=12):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    data = torch.utils.data.TensorDataset(torch.randn(steps * 4, 8), torch.randn(steps * 4, 1))
    for x, y in torch.utils.data.DataLoader(data, batch_size=4):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        {clip}
        optimizer.step()
        print("LOSS", loss.item().hex(), flush=True)
        {save}
"""
PLAIN = LOOP.format(imports="", clip="", save="")
MAIN = PLAIN + "if __name__ == '__main__':\n    train()\n"

CELLS = """\
#!/usr/bin/env python
# coding: utf-8

# In[1]:


import torch
try:
    get_ipython().run_line_magic('matplotlib', 'inline')
except NameError:
    pass

# In[2]:


torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
data = torch.utils.data.TensorDataset(torch.randn(48, 8), torch.randn(48, 1))
loader = torch.utils.data.DataLoader(data, batch_size=4)
model


# In[3]:


for x, y in loader:
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("LOSS", loss.item().hex())


# In[4]:


model.eval()
with torch.no_grad():
    float(model(x).mean())
"""

#: Ends as soon as the last step is printed, so that nothing has had the time to be written by itself.
AT_ONCE = {
    "_exit": "import os\n" + PLAIN + "train()\nos._exit(0)\n",
    "_exit_before": "from os import _exit\n" + PLAIN + "train()\n_exit(0)\n",
    "exit_3": "import sys\n" + PLAIN + "train()\nsys.exit(3)\n",
    "exception": PLAIN + "train()\nraise RuntimeError('planted')\n",
}

CHILD = {
    "subprocess": "import subprocess, sys\nsubprocess.run([sys.executable, 'train.py'], check=True)\n",
    "spawn": "import multiprocessing, train\nif __name__ == '__main__':\n"
    "    child = multiprocessing.get_context('spawn').Process(target=train.train)\n"
    "    child.start(); child.join()\n",
    "fork": "import multiprocessing, train\n"
    "child = multiprocessing.get_context('fork').Process(target=train.train)\nchild.start(); child.join()\n",
    "os_fork": "import os, train\nchild = os.fork()\nif not child:\n    train.train()\n    os._exit(0)\n"
    "os.waitpid(child, 0)\n",
    "exec": "import os, sys\nos.execv(sys.executable, [sys.executable, 'train.py'])\n",
    "thread": "import threading, train\nt = threading.Thread(target=train.train)\nt.start(); t.join()\n",
    "torch_spawn": "import torch, train\ndef work(rank): train.train()\n"
    "if __name__ == '__main__':\n    torch.multiprocessing.spawn(work, nprocs=1)\n",
}

#: What a script does besides, at its end or in between.
BESIDES = {
    "forks_at_the_end": "import os\n" + PLAIN + "train()\nif os.fork():\n    os.wait()\nelse:\n    print('child')\n",
    "fork_leaves": "import os\n" + PLAIN + "train()\nif not os.fork():\n    os._exit(0)\nos.wait()\n",
    "python": "import subprocess, sys\n" + PLAIN + "train()\n"
    "subprocess.run([sys.executable, '-c', 'import torch; print(torch.ones(1))'], check=True)\n",
    "without_environment": "import subprocess, sys\n" + PLAIN + "train()\n"
    "subprocess.run([sys.executable, '-c', 'print(1)'], check=True, env={})\n",
    "worker_pool": "import multiprocessing\n" + PLAIN + "train()\n"
    "with multiprocessing.get_context('fork').Pool(1) as pool:\n    print(pool.map(abs, [-1]))\n",
}

IMPORTS = {
    "before_torch": (
        "from torch.utils.checkpoint import checkpoint\nfrom torch import save\n"
        "from torch.nn.utils import clip_grad_norm_\n"
    ),
    "from_the_module": (
        "from torch.nn.utils.clip_grad import clip_grad_norm_\nfrom torch.serialization import save\n"
        "from torch.utils import checkpoint as c\ncheckpoint = c.checkpoint\n"
    ),
    "after_others": (
        "import torch.nn as nn, torch.optim, torch.utils.data\nfrom torch.nn.utils import *\n"
        "from torch.nn.utils import clip_grad_norm_\nfrom torch import *\nfrom torch import save\n"
        "from torch.utils.checkpoint import checkpoint\nimport torch\n"
    ),
}
BY_NAME = LOOP.format(
    imports="", clip="clip_grad_norm_(model.parameters(), 1.0)", save="save(model.state_dict(), 'last.pt')"
).replace("model(x), y)", "checkpoint(model, x, use_reentrant=False), y)")

LAUNCHER = "#!{python}\nimport sys\nfrom tool.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
TORCHRUN = [PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]

Launched = tuple[Run, str, int]


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Launched]:
    """Write some files into a folder and start a command there; return its record, its output, its exit code."""

    def launch(command: list[str], files: Mapping[str, str]) -> Launched:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if text.startswith("#!"):
                path.chmod(0o755)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setenv("PATH", f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}")
        directory = tmp_path / "run"
        with Training(command, directory, Plan(), known_environment=Environment(hotlap="0", python="3")) as training:
            training.wait()
        output = (directory / "output.log").read_text()
        assert "hotlap:" not in output, output
        return training.run(), output, training.exit_status

    return launch


def is_whole(run: Run, output: str, steps: int = STEPS) -> None:
    """Every step is there, with the very losses that the script printed, and its parts are its wall time."""
    printed = [float.fromhex(line.split("LOSS ")[1]) for line in output.splitlines() if "LOSS " in line]
    assert [step.loss for step in run.steps] == printed, output
    assert len(printed) == steps
    assert {step.samples for step in run.steps} == {4}
    assert {step.micro_batches for step in run.steps} == {1}
    for step in run.steps:
        assert sum(step.phases.values()) == pytest.approx(step.wall, rel=0.01)
        assert step.phases.keys() >= {"forward", "backward", "optimizer"}


@pytest.mark.parametrize(
    ("command", "files"),
    [
        pytest.param(
            [PYTHON, "train.py", "--name", "a b", "--", "-x"],
            {"train.py": "import sys\nassert sys.argv[1:] == ['--name', 'a b', '--', '-x']\n" + MAIN},
            id="own_argv",
        ),
        pytest.param(
            [PYTHON, "-m", "pkg.train"],
            {"pkg/__init__.py": "", "pkg/loop.py": PLAIN, "pkg/train.py": "from .loop import train\ntrain()\n"},
            id="module_with_relative_imports",
        ),
        pytest.param([PYTHON, "-c", MAIN], {}, id="code_word"),
        pytest.param([PYTHON, "-u", "-O", "-W", "ignore", "train.py"], {"train.py": MAIN}, id="python_options"),
        pytest.param([PYTHON, "project"], {"project/__main__.py": MAIN}, id="folder"),
        pytest.param([PYTHON, "notebook.py"], {"notebook.py": CELLS}, id="notebook"),
        pytest.param(
            [PYTHON, "go.py"],
            {"go.py": "import runpy\nrunpy.run_path('train.py', run_name='__main__')\n", "train.py": MAIN},
            id="runpy",
        ),
        pytest.param(
            ["bin/mytool", "fit"],
            {
                "bin/mytool": LAUNCHER.format(python=PYTHON),
                "bin/tool/__init__.py": "",
                "bin/tool/cli.py": PLAIN + "import sys\ndef main():\n    assert sys.argv[1:] == ['fit']\n    train()\n",
            },
            id="console_script",
        ),
        pytest.param(
            ["bash", "train.sh"],
            {"train.sh": "set -e\nexport X=1\ncd sub\npython train.py | cat\n", "sub/train.py": MAIN},
            id="shell_script",
        ),
        pytest.param(["sh", "-c", "python train.py && echo done"], {"train.py": MAIN}, id="shell_words"),
        pytest.param(
            ["env", "X=1", "python", "train.py"],
            {"train.py": "import os\nassert os.environ['X'] == '1'\n" + MAIN},
            id="env",
        ),
        pytest.param(
            ["./wrap", "--env", "base", "python", "train.py"],
            {"wrap": '#!/bin/sh\nshift 2\nexport WRAPPED=1\nexec "$@"\n', "train.py": MAIN},
            id="exec_wrapper",
        ),
        pytest.param(
            ["./wrap", "run", "train.py"],
            {
                "wrap": f"#!{PYTHON}\nimport os, sys\nos.environ['PYTHONPATH'] += ':/nowhere'\n"
                "os.execvp('python', ['python', *sys.argv[2:]])\n",
                "train.py": MAIN,
            },
            id="python_wrapper",
        ),
        pytest.param([*TORCHRUN, "train.py"], {"train.py": MAIN}, id="torchrun"),
        pytest.param(
            ["accelerate", "launch", "--cpu", "--num_processes", "1", "train.py"], {"train.py": MAIN}, id="accelerate"
        ),
    ],
)
def test_launchers(launched: Callable[..., Launched], command: list[str], files: dict[str, str]) -> None:
    """A training is found behind whatever starts it."""
    run, output, status = launched(command, files)
    assert status == 0, output
    is_whole(run, output)
    assert run.info.outcome == "finished"


@pytest.mark.parametrize("imports", IMPORTS)
def test_imports_by_name(launched: Callable[..., Launched], imports: str) -> None:
    """What a script imports by name is what is timed, in whatever order."""
    run, output, status = launched([PYTHON, "train.py"], {"train.py": IMPORTS[imports] + BY_NAME + "train()\n"})
    assert status == 0, output
    is_whole(run, output)
    for step in run.steps[:-1]:
        # The last one's checkpoint is written after it.
        assert step.phases.keys() >= {"recompute", "gradient_clip", "checkpoint"}


@pytest.mark.parametrize("ending", AT_ONCE)
def test_endings(launched: Callable[..., Launched], ending: str) -> None:
    """The record is whole up to the last step and says so, however the script ends, with the script's exit code."""
    run, output, status = launched([PYTHON, "train.py"], {"train.py": AT_ONCE[ending]})
    is_whole(run, output)
    expected = {"exit_3": 3, "exception": 1}.get(ending, 0)
    assert status == expected
    assert run.info.outcome == ("crashed" if expected else "finished")
    assert run.facts.device == "cpu"


@pytest.mark.parametrize("child", CHILD)
def test_a_child_trains(launched: Callable[..., Launched], child: str) -> None:
    """A training in a child process, or in a thread, is recorded as one in the first process."""
    run, output, status = launched([PYTHON, "main.py"], {"main.py": CHILD[child], "train.py": MAIN})
    assert status == 0, output
    is_whole(run, output)


@pytest.mark.parametrize("besides", BESIDES)
def test_other_processes_beside_the_training(launched: Callable[..., Launched], besides: str) -> None:
    """Children that do not train add nothing to the record and take nothing from it."""
    run, output, status = launched([PYTHON, "train.py"], {"train.py": BESIDES[besides]})
    assert status == 0, output
    is_whole(run, output)
    assert run.info.outcome == "finished"
