"""Adam's state in 8 bits, kept by a library, in a script that knows nothing of it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from recordings import Pull

LIBRARIES = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name in ("bitsandbytes", "torchao")
]
BITSANDBYTES = LIBRARIES[:1]

_SCRIPT = """
import copy, io, pickle
which = os.environ.get("WHICH", "")
net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
x, y = torch.randn(16, 64), torch.randn(16, 64)
kind = torch.optim.AdamW if which == "decoupled" else torch.optim.Adam
options = {"fused": {"fused": True}, "amsgrad": {"amsgrad": True}, "decay": {"weight_decay": 0.1}}.get(which, {})
optimizer = kind(net[0].parameters() if which == "late" else net.parameters(), lr=1e-2, **options)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
def step():
    loss = (net(x) - y).pow(2).mean(); optimizer.zero_grad()
    if which == "fused": scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()
    else: loss.backward(); optimizer.step()
    schedule.step(); seen.setdefault("losses", []).append(loss.item())
for number in range(4):
    if which == "late" and number == 2: optimizer.add_param_group({"params": list(net[2].parameters())})
    step()
file = io.BytesIO(); torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, file)
file.seek(0); saved = torch.load(file, weights_only=True)
seen["saved"] = {name: str(value.dtype) for name, value in saved["optimizer"]["state"][0].items()}
own = optimizer.state[net[0].weight]
codes = [getattr(value, "codes", value) for value in own.values() if torch.is_tensor(value)]
seen["in 8 bits"] = sum(value.dtype == torch.uint8 for value in codes)
seen["small in float32"] = {str(v.dtype) for v in optimizer.state[net[0].bias].values() if torch.is_tensor(v)} == \
    {"torch.float32"}
seen["kind"] = [isinstance(optimizer, kind), type(optimizer).__name__, type(copy.deepcopy(optimizer)) is kind]
# The checkpoint goes on in another training, with the same arithmetic, and here.
plain = pickle.loads(pickle.dumps(optimizer)); seen["pickled"] = [type(plain) is kind, len(plain.state)]
optimizer.load_state_dict(saved["optimizer"]); step()
again = optimizer.state_dict()["state"][0]["step"]
seen["steps"] = float(again)
"""


def run(pull: Pull, monkeypatch: pytest.MonkeyPatch, which: str, levers: dict[str, Any]) -> Any:
    monkeypatch.setenv("WHICH", which)
    return pull(_SCRIPT, levers, name="with" if levers else "without")


@pytest.mark.parametrize("library", LIBRARIES)
def test_adam(pull: Pull, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """The state is in 8 bits, the losses stay close, and checkpoints are as Adam's own."""
    plain, without = run(pull, monkeypatch, "decoupled", {})
    seen, record = run(pull, monkeypatch, "decoupled", {"eight_bit": library})
    assert record.notes == []
    assert (seen["in 8 bits"], seen["small in float32"], plain["in 8 bits"]) == (2, True, 0)
    assert seen["losses"] == pytest.approx(plain["losses"], rel=0.02)
    assert seen["losses"] != plain["losses"]
    assert seen["saved"] == plain["saved"] == dict.fromkeys(("step", "exp_avg", "exp_avg_sq"), "torch.float32")
    assert seen["kind"] == [True, "AdamW", True]
    assert seen["pickled"] == plain["pickled"] == [True, 4]
    assert seen["steps"] == plain["steps"] == 5.0
    assert (without.facts.optimizer_bits, record.facts.optimizer_bits) == (32, 8)
    assert library in record.facts.importable
    # One step is one step: those of the library's own optimizer are not counted beside it.
    assert len(record.steps) == len(without.steps) == 5


@pytest.mark.parametrize("library", BITSANDBYTES)
@pytest.mark.parametrize("which", ["fused", "late"])
def test_scalers_and_groups(pull: Pull, monkeypatch: pytest.MonkeyPatch, library: str, which: str) -> None:
    """Gradients are unscaled by the scaler, and a group that comes later is taken in."""
    plain, _ = run(pull, monkeypatch, which, {})
    seen, record = run(pull, monkeypatch, which, {"eight_bit": library, "foreach": True} if which else {})
    assert seen["losses"] == pytest.approx(plain["losses"], rel=0.02)
    assert (seen["in 8 bits"], seen["steps"]) == (2, 5.0)
    assert record.notes == ["foreach was not applied: the optimizer Adam keeps its state in 8 bits"]


@pytest.mark.parametrize("library", BITSANDBYTES)
@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("amsgrad", "the optimizer has amsgrad"),
        ("decay", "bitsandbytes has no Adam that adds weight decay to the gradients"),
    ],
)
def test_what_the_library_does_not_have(
    pull: Pull, monkeypatch: pytest.MonkeyPatch, library: str, which: str, why: str
) -> None:
    """The optimizer is then the script's own, bit by bit."""
    plain, _ = run(pull, monkeypatch, which, {})
    seen, record = run(pull, monkeypatch, which, {"eight_bit": library})
    assert record.notes == [f"eight_bit was not applied: {why}"]
    assert (seen["losses"], seen["saved"]) == (plain["losses"], plain["saved"])
    assert len(record.steps) == 5


@pytest.mark.parametrize("library", ["bitsandbytes", "torchao"])
def test_a_library_that_is_not_there(pull: Pull, library: str) -> None:
    """It is said, and the training goes on as it was."""
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    seen, record = pull(_SCRIPT, {"eight_bit": library})
    assert seen["in 8 bits"] == 0
    assert record.facts.importable == []
    (note,) = record.notes
    assert note.startswith(f"eight_bit was not applied: {library} cannot be imported (ModuleNotFoundError")
