"""Padding that no row of a batch needs is cut, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from recordings import Pull

_SCRIPT = """
class Tokens(Dataset):
    def __len__(self): return 12
    def __getitem__(self, i):
        length = 3 + i
        mask = torch.zeros(32, dtype=torch.int64); mask[:length] = 1
        tokens = torch.where(mask == 1, torch.arange(32) % 7 + 1, 0)
        labels = torch.where(mask == 1, tokens, -100)
        return {"tokens": tokens, "mask": mask, "labels": labels, "y": torch.tensor([1.0])}
class Net(nn.Module):
    def __init__(self): super().__init__(); self.table, self.last = nn.Embedding(9, 4), nn.Linear(4, 1)
    def forward(self, tokens, mask):
        return self.last((self.table(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
def train(change):
    torch.manual_seed(0)
    model = Net(); optimizer = torch.optim.SGD(model.parameters(), lr=0.1); shapes = []
    for batch in DataLoader(Tokens(), batch_size=4, collate_fn=lambda s: change(torch.utils.data.default_collate(s))):
        if not isinstance(batch, dict): batch = dict(zip(("tokens", "mask", "labels", "y"), batch))
        shapes.append([list(value.shape) for value in batch.values()])
        (model(batch["tokens"], batch["mask"]) - batch["y"]).pow(2).mean().backward()
        optimizer.step(); optimizer.zero_grad()
    return shapes
def holes(batch): batch["mask"][0, 20] = 1; return batch
def used(batch): batch["tokens"][0, 31] = 5; return batch
def pictures(batch): return {**batch, "pictures": torch.ones(4, 32, 3)}
def unmasked(batch): batch["mask"][:] = 2; return batch
seen["as it is"] = train(lambda batch: batch)
seen["tuple"] = train(lambda batch: tuple(batch.values()))
seen["holes"] = train(holes); seen["used"] = train(used); seen["pictures"] = train(pictures)
seen["unmasked"] = train(unmasked)
"""


def test_padding(pull: Pull) -> None:
    """Lengths become multiples; a mask with holes, tokens beyond it and what is no sequence leave a batch alone."""
    ordinary, run = pull(_SCRIPT, {}, name="ordinary")
    # Of 32 positions 6, 10 and 14 are needed.
    assert run.facts.dataset.padding == pytest.approx(1 - 10 / 32)
    seen, cut = pull(_SCRIPT, {"trim_padding": 8})
    for way in ("as it is", "tuple"):
        assert seen[way] == [[*[[4, length]] * 3, [4, 1]] for length in (8, 16, 16)]
    for way in ("holes", "used", "pictures", "unmasked"):
        assert seen[way] == ordinary[way]
    assert cut.notes == []
    losses = [step.loss for step in run.steps]
    assert [step.loss for step in cut.steps] == pytest.approx(losses, rel=1e-5)


class _Device:
    def __init__(self, name: str) -> None:
        self.type = name.partition(":")[0]


class _Tensor:
    """Says how it was copied. A pinned tensor takes a GPU, so this stands for one."""

    def __init__(self, pinned: bool = True) -> None:
        self.pinned = pinned
        self.device = _Device("cpu")

    def is_pinned(self) -> bool:
        return self.pinned

    def to(self, *args: Any, **kwargs: Any) -> Any:
        return kwargs.get("non_blocking")

    def cuda(self, *args: Any, **kwargs: Any) -> Any:
        return kwargs.get("non_blocking")


class _Torch:
    Tensor = _Tensor
    device = staticmethod(lambda it: it if isinstance(it, _Device) else _Device(it))

    class compiler:  # noqa: N801
        is_dynamo_compiling = staticmethod(lambda: False)


def test_copies_from_pinned_memory_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a GPU, where the script does not say it itself; switched off, all is as before."""
    from hotlap.probe.levers import base
    from hotlap.probe.levers.copies import NonBlocking

    monkeypatch.setattr(_Tensor, "to", _Tensor.to)
    monkeypatch.setattr(_Tensor, "cuda", _Tensor.cuda)
    monkeypatch.setattr(base, "notes", [])
    lever = NonBlocking(_Torch, True)
    assert len(base.notes) == 1
    lever.install()
    tensor = _Tensor()
    assert [tensor.to("cpu"), tensor.to(dtype="float16"), _Tensor(pinned=False).to("cuda")] == [None] * 3
    assert len(base.notes) == 1
    found = [tensor.to("cuda:0"), tensor.to(0), tensor.to(device=_Device("cuda")), tensor.cuda(), tensor.cuda(1)]
    assert found == [True] * 5
    assert base.notes == []
    assert tensor.to("cuda", non_blocking=False) is False
    lever.switch(None)
    assert [tensor.to("cuda"), tensor.cuda()] == [None, None]


@pytest.mark.gpu
def test_copies_on_a_gpu(pull: Pull) -> None:
    """A copy of a pinned batch arrives whole, and the whole set lies on the device."""
    script = """
found, devices = [], []
model = nn.Linear(4, 1).cuda()
for epoch in range(2):
    for x, y in DataLoader(Data(), batch_size=4, pin_memory=True):
        devices.append(x.device.type); x = x.cuda(); found.append(x.tolist()); model(x).sum().backward()
seen["found"], seen["devices"] = found, sorted(set(devices))
"""
    ordinary, _ = pull(script, {}, name="ordinary")
    seen, run = pull(script, {"non_blocking": True}, name="copied")
    assert (seen, run.notes) == (ordinary, [])
    seen, run = pull(script, {"whole_set": "cuda"}, name="whole")
    assert (seen["found"], seen["devices"], run.notes) == (ordinary["found"], ["cuda"], [])
