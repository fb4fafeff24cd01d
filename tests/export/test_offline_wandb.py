"""W&B's own package writes the run; it is told to send nothing, whatever the user's settings are."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recorded import recorded

from hotlap.errors import RunError
from hotlap.export import export


def kept(data: bytes) -> Iterator[bytes]:
    """The records of such a file, which is a log as LevelDB writes it: blocks of 32 KiB after seven bytes."""
    at, record = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


class Settings:
    """Knows one thing less than today's wandb, as an older one does."""

    model_fields = ("silent", "console", "disable_git")

    def __init__(self, **known: Any) -> None:
        assert set(known) <= set(self.model_fields)
        self.known = known


class Wandb(SimpleNamespace):
    """What is used of the package."""

    Error = RuntimeError
    Settings = Settings

    def __init__(self) -> None:
        super().__init__(logged=[], summary={}, finished=0)

    def init(self, **options: Any) -> Wandb:
        self.options, self.environment = options, dict(os.environ)
        self.dir = f"{options['dir']}/wandb/offline-run-1/files"
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


def test_nothing_is_to_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline in every way that wandb knows, also where the environment says otherwise; that is left as it was."""
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    run, directory = recorded(tmp_path)
    done = export(run, directory, "wandb", tmp_path / "out")
    assert done == (tmp_path / "out" / "wandb" / "offline-run-1", 6)
    assert wandb.options["mode"] == wandb.environment["WANDB_MODE"] == "offline"
    assert wandb.environment["WANDB_ERROR_REPORTING"] == "false"
    assert wandb.options["settings"].known["disable_git"]
    assert os.environ["WANDB_MODE"] == "online"
    assert "WANDB_ERROR_REPORTING" not in os.environ
    assert [step for step, _ in wandb.logged] == [*range(6)]
    assert wandb.logged[1][1]["hotlap/loss"] == 0.5
    assert wandb.options["config"]["command"] == "python train.py --api-key *** --lr 0.1"
    assert wandb.summary["hotlap/steady_step_seconds"] > 0
    assert wandb.finished == 1


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence that says what to install, and what needs nothing."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    run, directory = recorded(tmp_path)
    with pytest.raises(RunError, match=r"pip install 'wandb.* tensorboard"):
        export(run, directory, "wandb", tmp_path)


def test_an_old_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose settings cannot be asked for is not trusted to be quiet."""
    old = SimpleNamespace(Settings=object, __version__="0.16")
    monkeypatch.setitem(sys.modules, "wandb", old)  # type: ignore[arg-type]
    run, directory = recorded(tmp_path)
    with pytest.raises(RunError, match=r"wandb 0\.16 is too old"):
        export(run, directory, "wandb", tmp_path)


def test_the_package_itself(tmp_path: Path) -> None:
    """Its file holds every step; nothing of the exporting process is in the folder."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is not installed")
    run, directory = recorded(tmp_path)
    done = export(run, directory, "wandb", tmp_path / "out")
    (file,) = done.path.glob("*.wandb")
    found = [messages.Record.FromString(record) for record in kept(file.read_bytes())]
    history = [record.history for record in found if record.WhichOneof("record_type") == "history"]
    logged = [{"/".join(item.nested_key) or item.key: item.value_json for item in each.item} for each in history]
    assert [json.loads(each["hotlap/loss"]) for each in logged] == [1 / (i + 1) for i in range(6)]
    assert [json.loads(each["_step"]) for each in logged] == [*range(6)]
    assert b"hunter2" not in file.read_bytes()
    assert not [*(done.path / "files").iterdir()]
