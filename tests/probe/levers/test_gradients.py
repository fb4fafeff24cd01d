"""Gradients given up instead of filled with zeros."""

from __future__ import annotations

from collections.abc import Callable

from recordings import Pull, Switch

_SCRIPT = """
net, unused = network(), nn.Linear(4, 4)
x = torch.randn(6, 4)
optimizer = torch.optim.Adam([*net.parameters(), *unused.parameters()], lr=0.1)
for step in range(5):
    loss = net(x).square().mean() + (unused(x).square().mean() if step < 2 else 0)
    loss.backward(); nn.utils.clip_grad_norm_(net.parameters(), 1.0); optimizer.step()
    if step % 2: optimizer.zero_grad(False)
    else: [module.zero_grad(set_to_none=False) for module in (net, unused)]
    seen["none"] = [parameter.grad is None for parameter in (net[0].weight, unused.weight)]
seen["weights"] = [parameter.double().sum().item() for parameter in (net[0].weight, unused.weight)]
"""


def test_given_up(pull: Pull) -> None:
    """A parameter that no backward reaches moves by its momentum as before: bit by bit the same training."""
    plain, without = pull(_SCRIPT, {})
    seen, run = pull(_SCRIPT, {"set_to_none": True}, name="on")
    assert (plain["none"], seen["none"]) == ([False, False], [True, True])
    assert seen["weights"] == plain["weights"]
    assert [step.loss for step in run.steps] == [step.loss for step in without.steps]
    assert (without.facts.zeroed_gradients, run.facts.zeroed_gradients, run.notes) == (True, True, [])


def test_none_already(pull: Pull) -> None:
    """What the script does itself is noted."""
    _, run = pull(_SCRIPT.replace("set_to_none=False", "").replace("(False)", "()"), {"set_to_none": True})
    assert run.notes == ["set_to_none was not applied: the script fills no gradients with zeros"]
    assert run.facts.zeroed_gradients is None


_SWITCHED = """
net = nn.Linear(4, 4)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
def step():
    net(torch.randn(2, 4)).sum().backward(); optimizer.step(); optimizer.zero_grad(set_to_none=False)
    return {"none": net.weight.grad is None}
"""


def test_between_two_steps(live: Callable[[str], Switch]) -> None:
    """On and off, twice."""
    switch = live(_SWITCHED)
    for settings in ({}, {"set_to_none": True}, {}, {"set_to_none": True}, {}):
        steps, run = switch(settings)
        assert (steps[-1], run.notes) == ({"none": bool(settings)}, [])
