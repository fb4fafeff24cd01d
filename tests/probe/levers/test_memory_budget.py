"""The memory budget of compiled code."""

from __future__ import annotations

import pytest
from recordings import Pull

_SCRIPT = """
net = nn.Sequential(*[nn.Linear(32, 32) for _ in range(3)], nn.Softmax(-1), nn.LayerNorm(32), nn.GELU())
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
if os.environ["WHICH"] == "compiled": net.compile(backend="aot_eager_decomp_partition")
x, kept = torch.randn(256, 32), []
def pack(tensor): kept.append(tensor.numel()); return tensor
for step in range(2):
    loss = net(x).square().mean(); graph, found = [loss.grad_fn], {}
    while graph:
        node = graph.pop()
        if node is None or node in found: continue
        found[node] = sum(t.numel() for t in getattr(node, "saved_tensors", ()) if not isinstance(t, nn.Parameter))
        graph += [each for each, _ in node.next_functions]
    seen["kept"] = sum(found.values())
    loss.backward(); optimizer.step(); optimizer.zero_grad()
"""


def test_compiled_code_keeps_less(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """And computes the same."""
    monkeypatch.setenv("WHICH", "compiled")
    plain, without = pull(_SCRIPT, {})
    seen, run = pull(_SCRIPT, {"memory_budget": 0.0}, name="on")
    assert seen["kept"] < plain["kept"]
    assert [step.loss for step in run.steps] == pytest.approx([step.loss for step in without.steps], rel=1e-5)
    assert run.notes == []


def test_nothing_is_compiled(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said."""
    monkeypatch.setenv("WHICH", "eager")
    assert pull(_SCRIPT, {"memory_budget": 0.5})[1].notes == ["memory_budget was not applied: nothing was compiled"]
