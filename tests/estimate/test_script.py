"""``hotlap estimate -- python train.py``: scripts that nobody prepared, in processes of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hotlap.cli import main
from hotlap.cli.scripts import followed_by
from hotlap.errors import HotlapError
from hotlap.estimate.cards import find
from hotlap.estimate.device import of_catalogue
from hotlap.estimate.imitation import CannotBeTraced
from hotlap.estimate.memory import estimate, summed
from hotlap.estimate.script.followed import FollowedScript, Launch

#: All that a script for a GPU does; the first part looks at values, which have to be real.
ON_GPU = """\
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

assert torch.cuda.is_available()
device = torch.device("cuda")
data = TensorDataset(torch.randn(80, 3, 16, 16), torch.arange(80) % 7)
classes = int(data.tensors[1].max()) + 1
training, held_out = random_split(data, [64, 16])
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(2048, classes))
net = torch.compile(net.to(device))
optimizer = torch.optim.AdamW(net.parameters())
scaler = torch.amp.GradScaler("cuda")
batches = DataLoader(training, 8, shuffle=True, num_workers=2, pin_memory=True, persistent_workers=True)
others = DataLoader(held_out, 4)


def evaluate():
    net.eval()
    with torch.no_grad():
        right = sum((net(x.to(device)).argmax(1) == y.to(device)).sum().item() for x, y in others)
    net.train()
    return right / len(held_out)


evaluate()
for epoch in range(3):
    for number, (x, y) in enumerate(batches, 1):
        with torch.autocast("cuda", dtype=torch.float16):
            loss = nn.functional.cross_entropy(net(x.to(device, non_blocking=True)), y.cuda()) / 2
        scaler.scale(loss).backward()
        if number % 2 == 0:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            print(f"{loss:.3f}", loss.item(), torch.cuda.max_memory_allocated() / 2**20)
        if torch.isnan(loss):
            raise SystemExit("diverged")
    torch.save(net.state_dict(), "net.pt")
    evaluate()
"""


def test_a_script_for_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It sees a card, its values are real until it trains, its files stay, and its batches can be made larger."""
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(ON_GPU)
    with pytest.raises(SystemExit) as left:
        main(["estimate", "--gpu", "RTX 4090", "--price", "2", "--json", "--", sys.executable, "train.py"])
    said = capsys.readouterr()
    assert left.value.code == 0, said.err
    found = json.loads(said.out)
    assert (found["verdict"], found["card"]) == ("fits", "NVIDIA GeForce RTX 4090")
    assert (found["batch_size"], found["accumulation_steps"], found["sample"]) == (8, 2, [[3, 16, 16], []])
    assert found["setting"] == {"checkpointing": "off", "precision": "float16", "optimizer": "AdamW"}
    assert found["parameters"] == 8 * 27 + 8 + 16 + 2048 * 7 + 7
    assert found["largest"] == {**found["largest"], "batch_size": 64, "is_limit": True}
    assert found["memory"]["categories"]["optimizer"] == 2 * 4 * found["parameters"]
    assert found["compiled"]
    assert found["horizon"]["epoch_samples"] == 64
    assert found["time"]["step"]["least"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
    (numbers,) = (note for note in found["notes"] if note.startswith("a number"))
    line = 1 + next(number for number, text in enumerate(ON_GPU.splitlines()) if "loss.item()" in text)
    assert numbers.endswith(f"train.py:{line}")


PLAIN = """\
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
optimizer = torch.optim.Adam(net.parameters())
for _ in range(5):
    x = torch.randn(4, 3, 32, 32)
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()
"""


def follow(folder: Path, script: str, *, on_cpu: bool = False) -> FollowedScript:
    path = folder / "train.py"
    path.write_text(script)
    card = None if on_cpu else of_catalogue(find("RTX 4090"))
    return Launch([sys.executable, str(path)], card, followed_by, on_cpu=on_cpu)()


def plain() -> Any:
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
    optimizer = torch.optim.Adam(net.parameters())

    def step() -> None:
        x = torch.randn(4, 3, 32, 32)
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    return step


def test_the_same_as_from_python(tmp_path: Path) -> None:
    """A script without a loader, whose batches cannot be changed, against the estimate of the same training."""
    found = follow(tmp_path, PLAIN, on_cpu=True)
    memory = summed(found.followed.timeline, device="cpu", capability=None, seconds=0.0)
    known = estimate(plain, device="cpu")
    assert memory.allocated == known.allocated
    assert memory.categories == known.categories
    assert (found.loader, found.batch_size, found.setting.optimizer) == (None, 4, "Adam")


BEGINNING = "import torch\nnet = torch.nn.Linear(8, 1).cuda()\noptimizer = torch.optim.SGD(net.parameters(), lr=0.1)\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import torch\nprint(torch.ones(2).sum())\n", "ended without training"),
        (
            BEGINNING + "raise ValueError('no pictures in data/')\n",
            "before its training began: ValueError: no pictures",
        ),
        (BEGINNING + "x = torch.randn(4, 8).cuda()\nnet(x).sum().backward()\n", "before an optimizer took a step"),
    ],
)
def test_a_script_that_does_not_train(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(HotlapError, match=words):
        follow(tmp_path, script)


def test_shapes_that_depend_on_values(tmp_path: Path) -> None:
    """The line of the script is named, and what to do."""
    loop = "for _ in range(3):\n    x = torch.randn(4, 8, device='cuda')\n    net(x[x[:, 0] > 0]).sum().backward()\n"
    with pytest.raises(CannotBeTraced, match=r"train\.py:6: the shape that aten::nonzero gives depends on values"):
        follow(tmp_path, BEGINNING + loop)


def test_launchers_are_refused() -> None:
    with pytest.raises(HotlapError, match="give the script itself"):
        Launch(["torchrun", "--nproc-per-node", "2", "train.py"], None, followed_by)
