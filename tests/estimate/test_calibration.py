"""The calibration's script, as far as it can be told without a GPU."""

from __future__ import annotations

import json

import pytest
import torch

from hotlap.estimate import machine


def test_a_gpu_is_left_alone_where_the_cpu_is_asked_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Torch is said to see a GPU; using one that is not there would be an error of its own."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("sys.argv", ["machine.py", machine.ON_CPU])
    monkeypatch.setattr(machine, "BLOCK", 1e-6)
    with torch.random.fork_rng(devices=[]):
        machine.main()
    assert json.loads(capsys.readouterr().out)["device_memory"] is None
