"""``--set``: the user's own keys and flags, with the type that they have."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_proof import DIAGNOSIS

from hotlap.changes import Situation
from hotlap.diagnose import Machine
from hotlap.errors import UsageError
from hotlap.records import Environment, Facts
from hotlap.tune.asked import asked, resolved
from hotlap.tune.target import Target

CONFIG = """\
TRAIN:
  BATCH_SIZE: 2
  LR: 3e-4
  AMP: false
  NOTE: first
  DEPTHS: [8,8,4]
  RESUME:
DATA:
  NUM_WORKERS: 0
  WIDTH: 48
  DROP: 0.0
"""
SCRIPT = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--config")
parser.add_argument("--fast", action="store_true")
parser.add_argument("-s", "--steps", type=int, default=10)
parser.add_argument("--kind", choices=["a", "b"], default="a")
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(CONFIG)
    (tmp_path / "train.py").write_text(SCRIPT)
    return Target.of_command(["python", "train.py", "--config", "my.yaml"])


def test_each_value_is_a_change_of_its_own(target: Target) -> None:
    """All but the one that is there; a key that is recognised has its class, any other makes it another training."""
    changes = asked(["TRAIN.BATCH_SIZE=1,2,4", "DATA.NUM_WORKERS=2", "DATA.WIDTH=64"], target)
    assert [(change.id, change.edits, change.numerics) for change in changes] == [
        ("TRAIN.BATCH_SIZE=1", {"batch_size": 1}, "trajectory"),
        ("TRAIN.BATCH_SIZE=4", {"batch_size": 4}, "trajectory"),
        ("DATA.NUM_WORKERS=2", {"num_workers": 2}, "rounding"),
        ("DATA.WIDTH=64", {"my.yaml:DATA.WIDTH": 64}, "trajectory"),
    ]
    assert all(target.has_keys(change) for change in changes)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("DATA.WIDTH=64", "WIDTH: 64"),
        ("DATA.DROP=1", "DROP: 1.0"),
        ("TRAIN.LR=1e-3", "LR: 0.001"),
        ("TRAIN.AMP=True", "AMP: true"),
        ("TRAIN.NOTE=17", "NOTE: '17'"),
        ("TRAIN.DEPTHS=[8,4,4]", "DEPTHS: [8,4,4]"),
        ("TRAIN.RESUME=last.pt", "RESUME: last.pt"),
        ("my.yaml:DATA.WIDTH=32", "WIDTH: 32"),
    ],
)
def test_a_value_keeps_the_type_of_the_one_before(target: Target, tmp_path: Path, text: str, line: str) -> None:
    """As it is written into the copy."""
    (change,) = asked([text], target)
    target.arrange([change], tmp_path / "trial")
    copy = (tmp_path / "trial" / "my.yaml").read_text()
    assert [each.strip() for each in copy.splitlines() if each not in CONFIG.splitlines()] == [
        line.replace("'17'", '"17"')
    ]


def test_lists_are_separated_from_each_other(target: Target) -> None:
    """By the commas outside of brackets."""
    changes = asked(["TRAIN.DEPTHS=[8,8,4],[8, 4, 4],[4]"], target)
    assert [list(change.edits.values()) for change in changes] == [[[8, 4, 4]], [[4]]]


def test_flags(target: Target) -> None:
    """By any of their names; those that the script's parser declares may be added."""
    changes = asked(["--fast", "-s=20,30", "--kind=b"], target)
    commands = [target.arrange([change], Path("trial"))[2:] for change in changes]
    assert commands == [
        ["--fast", "--config", "my.yaml"],
        ["--steps=20", "--config", "my.yaml"],
        ["--steps=30", "--config", "my.yaml"],
        ["--kind=b", "--config", "my.yaml"],
    ]
    assert target.arrange(changes[:1] + changes[2:], Path("trial"))[2:] == [
        *("--kind=b", "--steps=30", "--fast", "--config", "my.yaml"),
    ]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["TRAIN.BATCHSIZE=1"], "no such key; did you mean 'TRAIN.BATCH_SIZE'"),
        (["batch_size=1"], "no such key; did you mean"),
        (["--fats"], "no such flag, and its script declares none; did you mean '--fast'"),
        (["--weight-decay=3"], "write it into the command with the value that it has now"),
        (["TRAIN.BATCH_SIZE"], "--set TRAIN.BATCH_SIZE=1,2,4"),
        (["TRAIN.BATCH_SIZE=many"], "TRAIN.BATCH_SIZE is 2, so its values must be a number"),
        (["TRAIN.AMP=1"], "TRAIN.AMP is false, so its values must be true or false"),
        (["TRAIN.DEPTHS=8"], "its values must be a list in brackets"),
        (["TRAIN.BATCH_SIZE=2"], "is 2 already"),
        (["TRAIN.BATCH_SIZE="], "commas between them"),
        (["TRAIN.BATCH_SIZE=1,,2"], "commas between them"),
        (["--kind=c"], "--kind does not take c"),
        (["DATA.WIDTH=1", "DATA.WIDTH=1"], "asks for DATA.WIDTH=1 twice"),
    ],
)
def test_what_cannot_be_tried_is_said_before_anything_starts(target: Target, texts: list[str], reason: str) -> None:
    """The value, the place and the next action."""
    with pytest.raises(UsageError) as refusal:
        asked(texts, target)
    assert reason in str(refusal.value)


def test_the_reference_trainer_has_keys_too(tmp_path: Path) -> None:
    """Those of its configuration, the absent ones too."""
    (tmp_path / "my.yaml").write_text("workload: restoration\nbatch_size: 8\n")
    target = Target.of_config(tmp_path / "my.yaml")
    (change,) = asked(["num_workers=2"], target)
    assert change.edits == {"num_workers": 2}
    target.arrange([change], tmp_path / "trial")
    assert "num_workers: 2" in (tmp_path / "trial" / "my.yaml").read_text()


def test_a_command_without_settings_says_so(tmp_path: Path) -> None:
    """Rather than that a key is misspelt."""
    with pytest.raises(UsageError, match="names no configuration"):
        asked(["lr=1"], Target.of_command(["python", "nothing.py"]))


def test_a_change_of_ours_is_asked_for_by_name(target: Target) -> None:
    """What it does in this training is known once that has been seen; a value that it cannot have is said then."""
    (change,) = asked(["precision=pure-bf16"], target)
    assert (change.id, change.numerics, change.edits) == ("precision=pure-bf16", "trajectory", {})
    situation = Situation(
        diagnosis=DIAGNOSIS,
        facts=Facts(parameter_dtype="float32"),
        environment=Environment(hotlap="0", python="3"),
        machine=Machine(),
    )
    assert resolved(change, situation).inject == {"pure": "bfloat16"}
    with pytest.raises(UsageError, match="there is no change precision=fp16"):
        resolved(asked(["precision=fp16"], target)[0], situation)
    with pytest.raises(UsageError, match="precision=int3: its values are bf16, fp16, pure-bf16"):
        asked(["precision=int3"], target)
