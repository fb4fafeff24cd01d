"""What is tuned, and how a change reaches it: through the configuration's keys, or from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hotlap.errors import ConfigError, UsageError
from hotlap.records import Change, Environment
from hotlap.tune.target import Target

PRECISION = Change(
    name="precision",
    value="bf16",
    title="",
    numerics="rounding",
    inject={"autocast": "bfloat16"},
    edits={"use_mixed_precision": True},
)
BATCH = Change(
    name="micro_batch",
    value="4x2",
    title="",
    numerics="rounding",
    edits={"batch_size": 4, "accumulation_steps": 2},
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text("# mine\nworkload: restoration\nbatch_size: 8   # small\nuse_mixed_precision: false\n")
    return path


def test_a_configuration_is_changed_by_its_keys_in_a_copy(config: Path, tmp_path: Path) -> None:
    """The user's file stays, the copy goes where it is told, and nothing is injected besides."""
    target = Target.of_config(config)
    before = config.read_bytes()
    command = target.arrange([PRECISION, BATCH], tmp_path / "arm")
    copy = tmp_path / "arm" / "my.yaml"
    assert str(copy) in command
    assert str(config) not in command
    changed = {"workload": "restoration", "batch_size": 4, "use_mixed_precision": True, "accumulation_steps": 2}
    assert yaml.safe_load(copy.read_text()) == changed
    assert "# mine" in copy.read_text()
    assert target.levers([PRECISION, BATCH]) == {}
    assert config.read_bytes() == before


def test_a_command_is_changed_from_outside(tmp_path: Path) -> None:
    """The command is the user's own, word for word."""
    target = Target.of_command(["python", "train.py"])
    assert target.arrange([PRECISION], tmp_path) == ["python", "train.py"]
    assert target.levers([PRECISION]) == {"autocast": "bfloat16"}
    assert target.edits([PRECISION]) == {}
    with pytest.raises(UsageError, match="no training command"):
        Target.of_command([])


def test_a_short_training_ends_where_it_is_told_and_is_judged_there(config: Path, tmp_path: Path) -> None:
    """Its warm-up fits into it."""
    target = Target.of_config(config)
    target.arrange([], tmp_path / "arm", steps=40)
    values = yaml.safe_load((tmp_path / "arm" / "my.yaml").read_text())
    assert values["steps"] == 40
    assert values["validate_every"] == 0
    assert values["warmup_steps"] <= 10


def test_the_fingerprint_follows_what_would_be_measured(config: Path, tmp_path: Path) -> None:
    """The command, its configuration, its script, the modules beside it, the machine; not what lies elsewhere."""
    here = Environment(hotlap="0", python="3", cores=2)
    script, module = tmp_path / "train.py", tmp_path / "parts" / "model.py"
    module.parent.mkdir()
    module.write_text("1")
    script.write_text("1")
    command = ["python", str(script), "--config", str(config)]

    def fingerprint(*more: str, at: Environment = here) -> str:
        return Target.of_command([*command, *more]).fingerprint(at)

    seen = {fingerprint()}
    assert fingerprint() in seen
    for path in (script, module, config):
        path.write_text(path.read_text() + "# changed\n")
        assert fingerprint() not in seen
        seen.add(fingerprint())
    (tmp_path / "notes.txt").write_text("1")
    (tmp_path / ".hotlap").mkdir()
    (tmp_path / ".hotlap" / "copy.py").write_text("1")
    assert fingerprint() in seen
    assert fingerprint("--amp") not in seen
    assert fingerprint(at=Environment(hotlap="0", python="3", cores=4)) not in seen
    assert Target.of_config(config).fingerprint(here) not in seen


def test_a_wrong_configuration_is_refused(config: Path) -> None:
    """Before any training starts."""
    config.write_text("workload: restoration\nbatchsize: 3\n")
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        Target.of_config(config)
