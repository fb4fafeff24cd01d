"""Somebody's own script, gone through before it runs: real scripts, in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hotlap.errors import TrainingFailed, UsageError
from hotlap.estimate import scripts
from hotlap.estimate.device import Device, device_of
from hotlap.estimate.memory import estimate
from hotlap.estimate.scripts import Asked, FollowedScript, check_command, estimate_script, follow_script, script_name
from hotlap.estimate.timeline import Block, Timeline
from hotlap.launch import environment
from hotlap.records import Work

CARD = Device(name="NVIDIA GeForce RTX 4090", memory=24 * 2**30, capability=(8, 9))

NETWORK = """
import torch, torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def network():
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 900, 10))
"""

PLAIN = (
    NETWORK
    + """
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
data = TensorDataset(torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,)))
model = network().to(device)
optimizer = torch.optim.Adam(model.parameters())
for pictures, labels in DataLoader(data, batch_size=8, num_workers=1, pin_memory=True):
    loss = F.cross_entropy(model(pictures.to(device)), labels.to(device))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(loss.item())
    torch.save(model.state_dict(), "model.pt")
    open("written", "w").close()
"""
)

MIXED = (
    NETWORK
    + """
from torch.utils.checkpoint import checkpoint

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.end = nn.Embedding(100, 64), nn.Linear(64, 100)
        self.middle = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    def forward(self, ids, lengths):
        longest = int(lengths.max())  # which the host knew
        assert longest == ids.shape[1] and ids.is_cuda and ids.device.type == "cuda"
        there = torch.arange(longest, device=ids.device)[None] < lengths[:, None]
        return self.end(checkpoint(self.inner, self.start(ids), use_reentrant=False)), there

    def inner(self, x):
        return x + self.middle(x) + torch.zeros(x.shape[-1], device=x.device)

assert torch.cuda.get_device_name() == "NVIDIA GeForce RTX 4090" and torch.cuda.is_bf16_supported()
model = Net().cuda()
optimizer, scaler = torch.optim.AdamW(model.parameters()), torch.amp.GradScaler("cuda")
data = TensorDataset(torch.randint(0, 100, (64, 20)), torch.full((64,), 20))
for number, (ids, lengths) in enumerate(DataLoader(data, batch_size=4)):
    ids, lengths = ids.to("cuda", non_blocking=True), lengths.to("cuda:0")
    with torch.autocast("cuda", dtype=torch.float16):
        out, there = model(ids, lengths)
        loss = F.cross_entropy(out[there].float(), ids[there]) / 2
    if torch.isnan(loss) or not torch.isfinite(loss).all():
        raise SystemExit("the loss is no number")
    scaler.scale(loss).backward()
    if number % 2:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        print(f"{loss:.2f}", loss.detach().cpu().numpy(), torch.cuda.memory_allocated() > 0)
"""
)

GAN = """
import torch
from torch import nn

device = "cuda" if torch.cuda.is_available() else "cpu"
maker, judge = nn.Linear(16, 64).to(device), nn.Linear(64, 1).to(device)
of_maker, of_judge = torch.optim.Adam(maker.parameters()), torch.optim.SGD(judge.parameters(), 0.1, momentum=0.9)
real = torch.randn(1000, 64).to(device)
for step in range(100):
    made = maker(torch.randn(32, 16, device=device))
    (judge(made.detach()).mean() - judge(real[torch.randint(0, 1000, (32,), device=device)]).mean()).backward()
    of_judge.step()
    judge(made).mean().backward()
    of_maker.step()
"""


#: What scripts do besides: caches, numpy, labels that are changed in place, values on the host, closures, a last batch
#: that is smaller.
ODD = """
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.save(torch.arange(12) % 3, "cache.pt")
labels = torch.load("cache.pt")
assert np.asarray(labels).sum() == np.array(labels, dtype=np.float64).sum() == 12
assert torch.cuda.get_device_properties(device=0).total_memory and not torch.cuda.memory_stats()["num_ooms"]
model = nn.Sequential(nn.LSTM(4, 8, batch_first=True)).cuda()
head = nn.Linear(8, 3).cuda()
optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
for epoch in range(9):
    for x, y in DataLoader(TensorDataset(torch.randn(12, 5, 4), labels), batch_size=8):
        wanted = y.to("cuda")
        wanted[wanted == 0] = -100

        def closure():
            optimizer.zero_grad()
            out = head(model(x.cuda())[0][:, -1]).cpu()
            loss = nn.functional.cross_entropy(out, wanted)
            loss.backward()
            return loss

        assert np.asarray(optimizer.step(closure).detach().cpu()).shape == ()
        assert labels.min() == 0
"""


def asked(folder: Path, source: str) -> Asked:
    (folder / "train.py").write_text(source)
    return Asked([sys.executable, "train.py"], environment())


def plain() -> int:
    """The same training by the estimate of functions."""

    def build() -> Callable[[], object]:
        model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(28800, 10))
        optimizer = torch.optim.Adam(model.parameters())
        kept = []

        def step() -> None:
            kept[:] = [F.cross_entropy(model(torch.randn(8, 3, 32, 32)), torch.randint(0, 10, (8,)))]
            kept[0].backward()  # type: ignore[no-untyped-call]  # of torch
            optimizer.step()
            optimizer.zero_grad()

        return step

    return estimate(build).requested


def test_a_script_needs_what_the_same_training_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte; it is ended after two steps, and its folder is as it was."""
    monkeypatch.chdir(tmp_path)
    found = estimate_script(asked(tmp_path, PLAIN), device_of("RTX 4090", None))
    assert found.script is not None
    assert found.memory.requested == plain()
    assert (found.verdict, found.batch_size, found.sample) == ("fits", 8, [[3, 32, 32], []])
    assert (found.setting.precision, found.setting.optimizer) == ("float32", "Adam")
    assert list(found.script.answers) == [f"train.py:{PLAIN.splitlines().index('    print(loss.item())') + 1}"]
    assert found.script.saves == 2
    assert found.time is not None
    assert found.time.step.least < found.time.step.likely < found.time.step.most
    assert found.horizon is not None
    assert found.horizon.epoch_samples == 16
    assert [each.name for each in tmp_path.iterdir()] == ["train.py"]


def test_values_that_the_host_knew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths and masks are as they are; checkpointing, autocast, scaling and two micro-batches are gone through."""
    monkeypatch.chdir(tmp_path)
    followed = follow_script(asked(tmp_path, MIXED), CARD)
    told = followed.told
    kinds = {each.category for each in followed.timeline.blocks}
    assert kinds >= {"parameter", "gradient", "optimizer", "activation", "cast", "input"}
    assert (told["micro_batches"], told["batch_size"], told["recomputes"]) == (2, 4, True)
    assert {call.dtype for call in followed.work.calls if call.kind == "product"} >= {"float16"}
    assert {"optimizer", "recompute", "backward"} <= {each.phase for each in followed.timeline.blocks}
    assert all(each.size for each in followed.timeline.blocks)


def test_two_optimizers_and_no_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this processor: a step has both networks' turns, and the batch cannot be changed."""
    monkeypatch.chdir(tmp_path)
    followed = follow_script(asked(tmp_path, GAN), None)
    assert followed.told["optimizers"] == ["SGD", "Adam"]
    assert followed.told["steps"] == 3  # of which the first has the one's turn alone
    assert not followed.told["changeable"]
    states = [each for each in followed.timeline.blocks if each.category == "optimizer"]
    # Momentum of the one, two moments of the other, of weight and bias each.
    assert sum(each.size for each in states) == 4 * (65 + 2 * (16 * 64 + 64))


def test_what_scripts_do_besides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that counts has a whole batch, and a closure's passes are forward and backward."""
    monkeypatch.chdir(tmp_path)
    followed = follow_script(asked(tmp_path, ODD), CARD)
    assert (followed.told["batch_size"], followed.told["steps"]) == (8, 3)
    assert (followed.told["saves"], [each.name for each in tmp_path.iterdir()]) == (0, ["train.py"])
    assert {each.phase for each in followed.timeline.blocks if each.step == 3} >= {"forward", "backward"}


def test_packed_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their lengths are known, whichever way they went: nothing is made up, and no place of padding is packed."""
    monkeypatch.chdir(tmp_path)
    source = (Path(__file__).parents[1] / "probe" / "scripts" / "packed.py").read_text()
    said = '        print(f"loss {loss.item():.4f}")'
    assert said in source
    followed = follow_script(asked(tmp_path, source.replace(said, "")), CARD)
    assert followed.told["answers"] == {}
    (longest,), lengths = followed.told["sample"]
    assert lengths == []
    blocks = [each for each in followed.timeline.blocks if each.step == 2 and each.phase == "forward"]
    (padded,) = (each.size for each in blocks if each.operator == "aten.embedding.default")
    (packed,) = (each.size for each in blocks if each.operator == "aten.index.Tensor")
    assert padded == 32 * longest * 64 * 4
    assert 0.3 * padded < packed < padded


def made_up(batch: int, **told: Any) -> FollowedScript:
    """A step of so many samples, of 1 GiB each."""
    timeline = Timeline([Block(batch * 2**30, "aten.mm", "Net", "forward", 1, "activation")], [0, ~0])
    known = {"batch_size": batch, "micro_batches": 1, "samples": 1000, "sample": [[4]], "changeable": True}
    known |= {"parameters": [10], "optimizers": ["SGD"], "late": 0, "answers": {}, "saves": 0, "compiled": False}
    known |= {"flops": {}, "steps": 2, "recomputes": False, "tf32": False}
    return FollowedScript(timeline, Work(calls=[]), known | told, 0.0)


@pytest.mark.parametrize(
    ("told", "largest", "why"),
    [
        ({}, 21, None),
        ({"samples": 20}, 10, None),
        ({"changeable": False}, None, "not those of one DataLoader"),
        ({"samples": 1, "batch_size": 1}, None, "too small"),
    ],
)
def test_the_largest_batch(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], largest: int | None, why: str | None
) -> None:
    """As many as there is room for, and its data set has two steps of; else the reason why none is known."""
    monkeypatch.setattr(scripts, "follow_script", lambda asked, device, batch=None: made_up(batch or 4, **told))
    found = estimate_script(Asked(["python", "train.py"], environment()), CARD)
    assert found.script is not None
    assert (None if found.largest is None else found.largest.batch_size) == largest
    assert why is None if found.script.fixed is None else why is not None and why in found.script.fixed
    for card in estimate_script(Asked(["python", "train.py"], environment()), None).cards:
        assert (card.largest is None) == (largest is None)


def test_another_batch_size_that_does_not_get_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script as it is has its estimate all the same."""

    def follow(asked: Asked, device: Device | None, batch: int | None = None) -> FollowedScript:
        if batch is not None:
            raise TrainingFailed("train.py ended")
        return made_up(4)

    monkeypatch.setattr(scripts, "follow_script", follow)
    found = estimate_script(Asked(["python", "train.py"], environment()), CARD)
    assert (found.verdict, found.largest) == ("fits", None)
    assert found.script is not None
    assert "train.py ended" in (found.script.fixed or "")
    everywhere = estimate_script(Asked(["python", "train.py"], environment()), None)
    assert {card.largest for card in everywhere.cards} == {None}


def test_a_batch_larger_than_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not come, and the sentence says why."""
    monkeypatch.setattr(scripts, "follow_script", lambda asked, device, batch=None: made_up(10, samples=10))
    with pytest.raises(UsageError, match="--batch-size 64: the data set has 10 samples"):
        estimate_script(Asked(["python", "train.py"], environment()), CARD, batch_size=64)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("import torch\n", "ended without a training step"),
        ("import torch\nraise SystemExit('give --data')\n", "without a training step.*: give --data"),
        (
            "import torch\nw = torch.ones(4, device='cuda', requires_grad=True)\nsgd = torch.optim.SGD([w], 0.1)\n"
            "for _ in range(9):\n    (w * w).sum().backward()\n    sgd.step()\n",
            "write it as a Module",
        ),
        ("raise ValueError('no data here')\n", r"exit code 1\): ValueError: no data here"),
        ("print('no torch')\n", "no process of it trained with torch"),
        (
            "import torch\nmodel = torch.nn.Linear(4, 4).cuda()\nout = model(torch.randn(8, 4).cuda())\nout[out > 0]\n",
            r"train.py \(train.py:4\): the shape that aten::nonzero gives depends on values",
        ),
    ],
)
def test_why_there_is_no_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, part: str) -> None:
    """One sentence, which names the line where there is one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingFailed, match=part):
        follow_script(asked(tmp_path, source), CARD)


def test_a_card_is_asked_for_where_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TrainingFailed, match=r"train\.py:2\): the script asks for a GPU, and --gpu cpu is of a run without"
    ):
        follow_script(asked(tmp_path, "import torch\nmodel = torch.nn.Linear(4, 4).cuda()\n"), None)


def test_what_is_called_a_script() -> None:
    """Its file, the module of ``-m``, or the program."""
    assert script_name(["python", "-u", "code/train.py", "--lr", "1"]) == "train.py"
    assert script_name(["python", "-m", "project.train"]) == "project.train"
    assert script_name(["./run.sh"]) == "run.sh"


@pytest.mark.parametrize("words", [["torchrun", "train.py"], ["python", "-m", "torch.distributed.run", "train.py"]])
def test_launchers_are_refused(words: list[str]) -> None:
    """An estimate is of one process, and the sentence says what to do; arguments of a script are none."""
    check_command(["python", "train.py", "--strategy", "deepspeed", "-m", "accelerate"])
    with pytest.raises(UsageError, match=r"--ranks 2 -- python train\.py"):
        check_command(words)
