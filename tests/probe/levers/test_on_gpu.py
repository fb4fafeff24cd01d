"""What only a GPU can show: each lever takes effect there, and the training goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from recordings import Pull, Switch

pytestmark = pytest.mark.gpu

_FP16 = """
class Net(nn.Module):
    def __init__(self): super().__init__(); self.layers = network()
    def forward(self, x): y = self.layers(x); self.inside = str(y.dtype); return y
model = Net().cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
x, y = torch.randn(64, 4, device="cuda"), torch.ones(64, 1, device="cuda")
for step in range(30):
    loss = nn.functional.mse_loss(model(x).float(), y)
    loss.backward(); nn.utils.clip_grad_norm_(model.parameters(), 1.0); optimizer.step(); optimizer.zero_grad()
seen["inside"] = model.inside
seen["grads"] = str(model.layers[0].weight.dtype)
"""


def test_float16_with_scaled_gradients(pull: Pull) -> None:
    """The forward is in float16, and losses fall as they do in float32."""
    _, usual = pull(_FP16, {}, "usual")
    seen, run = pull(_FP16, {"autocast": "float16", "grad_scaling": 1024.0})
    assert run.notes == []
    assert seen == {"inside": "torch.float16", "grads": "torch.float32"}
    losses, expected = ([step.loss for step in each.steps] for each in (run, usual))
    assert None not in losses
    assert losses == pytest.approx(expected, rel=0.05, abs=1e-3)


_SETTINGS = """
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 64)).cuda()
x = torch.randn(4, 3, 16, 16, device="cuda")
optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
def step():
    loss = net(x).square().mean()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    return {"tf32": torch.backends.cuda.matmul.allow_tf32, "loss": loss.item()}
"""


def test_tf32_is_switched(live: Callable[[str], Switch]) -> None:
    switch = live(_SETTINGS)
    before = switch(None)[0][-1]
    assert before["tf32"] is False
    during, run = switch({"matmul_precision": "high"})
    assert during[-1]["tf32"] is True
    assert during[-1]["loss"] == pytest.approx(before["loss"], rel=1e-2)
    assert run.notes == []
    assert switch({})[0][-1] == before


_ALLOCATION = """
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 64)).cuda()
optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
for step in range(4):
    net(torch.randn(4, 3, 16, 16, device="cuda")).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
seen["growing"] = any(segment.get("is_expandable") for segment in torch.cuda.memory_snapshot())
seen["benchmark"] = torch.backends.cudnn.benchmark
"""


def test_growing_segments_and_convolutions_by_trying(pull: Pull) -> None:
    seen, run = pull(_ALLOCATION, {"cuda_allocator": "expandable_segments:True", "cudnn_benchmark": True})
    assert run.notes == []
    assert seen == {"growing": True, "benchmark": True}


_GRAPHS = """
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self): super().__init__(); self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    def forward(self, x): return self.layers(x)
net, x = Net().cuda(), torch.randn(32, 64, device="cuda")
optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
losses = []
def step():
    loss = net(x).square().mean()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    losses.append(loss.detach())
    return {"loss": losses[-1].item()}
"""


@pytest.mark.slow
def test_cuda_graphs(live: Callable[[str], Switch]) -> None:
    """Recorded, run, and off again."""
    switch = live(_GRAPHS)
    before = switch(None)[0][-1]
    for _ in range(2):
        during, run = switch({"compile": "reduce-overhead"})
        assert during[-1]["loss"] == pytest.approx(before["loss"], rel=1e-4)
        assert run.notes == []
        assert run.compilations
        assert switch({})[0][-1] == before
