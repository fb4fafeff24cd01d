"""Reads of tensors are found at their lines, and the script does not notice that it is watched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recordings import Recorded, Told

from hotlap.probe.syncs import Syncs

SCRIPTS = Path(__file__).parent / "scripts"
Record = Callable[..., Recorded]


def test_every_read_is_found_at_its_line(record: Record, without_probe: Callable[..., Told]) -> None:
    """Counted once however it works inside; those of other threads, subclasses, samples and optimizers are not."""
    found = record("reads")
    told, syncs = found.told, found.run.syncs
    assert told is not None, found.output
    assert told.more["clean"]
    assert told.steps == without_probe("reads").steps
    assert syncs is not None
    assert syncs.watched >= 1
    assert {line.file for line in syncs.lines} == {str(SCRIPTS / "reads.py"), str(SCRIPTS / "told.py")}
    own = {line.what: (line.line, line.count) for line in syncs.lines if line.file.endswith("reads.py")}
    once = {what: (line, 5.0 if what == "item()" else 1.0) for what, line in told.more["lines"].items()}
    raising = own.keys() - once.keys()
    assert not raising
    assert {what: own[what] for what in once if what != "item()"} == {w: v for w, v in once.items() if w != "item()"}
    items = sorted((line.line, line.count) for line in syncs.lines if line.what == "item()" and "reads" in line.file)
    assert items[0] == once["item()"]
    assert [count for _, count in items[1:]] == [1.0]  # the one that raises
    assert all(line.seen == syncs.watched and line.seconds > 0 for line in syncs.lines)


def test_compiled_code_that_reads_is_compiled_as_often(record: Record, without_probe: Callable[..., Told]) -> None:
    found, alone = record("reads_compiled").told, without_probe("reads_compiled")
    assert found is not None
    assert found.more["graphs"] == alone.more["graphs"]
    assert found.steps == alone.steps


class Tensor:
    """What the look needs of a tensor."""

    is_cpu = False

    def item(self) -> float:
        return 1.0

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        return self

    def synchronize(self) -> None:
        pass


@pytest.fixture
def torch() -> Any:
    """A torch whose tensors are on a device, as far as the look asks."""

    class Stream:
        def synchronize(self) -> None:
            pass

    class Event(Stream):
        def synchronize(self) -> None:
            pass

    cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=lambda: None, Stream=Stream, Event=Event)
    fake = SimpleNamespace(Tensor=Tensor, nn=SimpleNamespace(Parameter=Tensor), cuda=cuda, bool="bool")
    fake.compiler = SimpleNamespace(is_dynamo_compiling=lambda: False)
    fake.__file__ = "/nowhere/torch/__init__.py"
    return fake


def test_on_a_device_only_what_leaves_it_counts(torch: Any) -> None:
    before = dict(vars(Tensor)), dict(vars(torch.cuda))
    look = Syncs(torch)
    on_device, on_host = Tensor(), Tensor()
    on_host.is_cpu = True
    look.begin()
    start = sys._getframe().f_lineno
    on_device.item()
    on_host.item()
    on_device.to("cpu")
    on_device.to("cpu", non_blocking=True)
    on_device.to("cuda:1")
    on_device.to(device=on_host)
    torch.cuda.synchronize()
    torch.cuda.Event().synchronize()
    look.end()
    on_device.item()
    ((kind, fields),) = look.lines()
    assert kind == "sync"
    seen = sorted((line["line"] - start, line["what"], line["count"]) for line in fields["lines"])
    assert seen == [
        (1, "item()", 1),
        (3, "to()", 1),
        (6, "to()", 1),
        (7, "synchronize()", 1),
        (8, "synchronize()", 1),
    ]
    assert (dict(vars(Tensor)), dict(vars(torch.cuda))) == before


def test_what_the_script_replaces_meanwhile_stays(torch: Any) -> None:
    look = Syncs(torch)
    look.begin()
    torch.cuda.synchronize = replaced = lambda: None
    look.end()
    assert torch.cuda.synchronize is replaced


@pytest.mark.gpu
def test_the_wait_for_a_real_device_is_timed() -> None:
    import torch

    x = torch.randn(4096, 4096, device="cuda")
    (x @ x).sum().item()
    look = Syncs(torch)
    look.begin()
    for _ in range(20):
        x = (x @ x).tanh()
    x.sum().item()
    look.end()
    ((_, fields),) = look.lines()
    (line,) = fields["lines"]
    assert line["what"] == "item()"
    assert line["seconds"] > 1e-3
