"""What is tuned, and how a change reaches it: through the configuration's keys, or from outside."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from hotlap import api
from hotlap.errors import ConfigError, UsageError
from hotlap.records import Change, Environment
from hotlap.train.config import VrtSpikeConfig, load_config
from hotlap.tune.asked import asked
from hotlap.tune.effects import unmet
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
    one_thread = Environment(hotlap="0", python="3", cores=2, variables={"OMP_NUM_THREADS": "1"})
    assert fingerprint(at=one_thread) not in seen
    assert Target.of_config(config).fingerprint(here) not in seen


def test_a_wrong_configuration_is_refused(config: Path) -> None:
    """Before any training starts."""
    config.write_text("workload: restoration\nbatchsize: 3\n")
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        Target.of_config(config)


#: Trains by flags, or by a configuration that they name, and writes what it was set to.
SCRIPT = """\
import argparse, json
import torch, yaml
from torch.utils.data import DataLoader

parser = argparse.ArgumentParser()
parser.add_argument("--config")
parser.add_argument("-b", "--batch-size", type=int, default=4)
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--amp", action="store_true")
args = parser.parse_args()
if args.config:
    config = yaml.safe_load(open(args.config))
    args.batch_size, args.workers = config["TRAIN"]["BATCH_SIZE"], config["DATA"]["NUM_WORKERS"]
    args.amp, args.depths = config["TRAIN"]["AMP"], config["MODEL"]["DEPTHS"]
json.dump(vars(args), open("set.json", "w"))
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _, batch in zip(range(4), DataLoader(torch.randn(64, 8), batch_size=args.batch_size, num_workers={workers})):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.amp):
        loss = model(batch).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
CONFIG = """\
MODEL: {DEPTHS: [2,2,2,2,1,1,1,2]}
TRAIN:
  BATCH_SIZE: 4  # of a card
  AMP: false
DATA: {NUM_WORKERS: 0}
"""
WORKERS = Change(name="workers", value="1", title="", numerics="exact", edits={"num_workers": 1}, inject={"workers": 1})
OWN_PRECISION = Change(
    name="precision", value="own", title="", numerics="rounding", edits={"use_mixed_precision": True}
)
BATCHES = Change(name="batch", value="8", title="", numerics="trajectory", edits={"batch_size": 8})
DEPTHS = Change(
    name="depths",
    value="less",
    title="",
    numerics="trajectory",
    edits={"my.yaml:MODEL.DEPTHS": [2, 1, 2, 2, 1, 1, 1, 1]},
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT.replace("{workers}", "args.workers"))
    (tmp_path / "ignores.py").write_text(SCRIPT.replace("{workers}", "0"))
    (tmp_path / "my.yaml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize("words", [["-b", "4"], ["--config", "my.yaml"]])
def test_a_script_trains_with_what_was_edited(folder: Path, words: list[str]) -> None:
    """By its flags, or by a copy of its configuration: it read the values, and the probe sees them at work."""
    target = Target.of_command([sys.executable, "train.py", *words])
    changes = [WORKERS, OWN_PRECISION, BATCHES] + ([DEPTHS] if "--config" in words else [])
    assert target.levers(changes) == {}
    command = target.arrange(changes, folder / "trial")
    run = api.profile(command, run_dir=folder / "runs")
    values = json.loads((folder / "set.json").read_text())
    assert (values["batch_size"], values["workers"], values["amp"]) == (8, 1, True)
    assert values.get("depths", [2, 1, 2, 2, 1, 1, 1, 1]) == [2, 1, 2, 2, 1, 1, 1, 1]
    assert (run.facts.batch_size, run.facts.workers, run.facts.autocast) == (8, 1, "bfloat16")
    assert [unmet(change, run.facts) for change in changes] == [None] * len(changes)
    assert (folder / "my.yaml").read_text() == CONFIG


def test_a_key_that_the_script_does_not_heed_is_noticed(folder: Path) -> None:
    """It reads the number of workers and makes a loader without any."""
    target = Target.of_command([sys.executable, "ignores.py"])
    run = api.profile(target.arrange([WORKERS], folder / "trial"), run_dir=folder / "runs")
    assert unmet(WORKERS, run.facts) == "the key num_workers was set to 1, but the training's loader has 0 workers"


def test_a_change_without_a_key_is_made_from_outside(folder: Path) -> None:
    """One of two keys is not enough."""
    target = Target.of_command([sys.executable, "train.py", "--config", "my.yaml"])
    bf16 = Change(
        name="precision",
        value="bf16",
        title="",
        numerics="rounding",
        edits={"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"},
        inject={"autocast": "bfloat16"},
    )
    assert not target.has_keys(bf16)
    assert target.levers([bf16, WORKERS]) == {"autocast": "bfloat16"}
    assert target.edits([bf16, WORKERS]) == {"num_workers": 1}
    assert target.with_steps(10) == {}
    assert any("num_workers: DATA.NUM_WORKERS in my.yaml" in line for line in target.told())


def test_what_was_adopted_can_be_read_in_the_users_own_file(folder: Path) -> None:
    """Its text before and after, by the path that the command names; flags have none."""
    target = Target.of_command([sys.executable, "train.py", "--config", "my.yaml"])
    assert target.rewritten([WORKERS]) == {"my.yaml": (CONFIG, CONFIG.replace("NUM_WORKERS: 0", "NUM_WORKERS: 1"))}
    assert target.rewritten([]) == {}
    assert Target.of_command([sys.executable, "train.py"]).rewritten([WORKERS]) == {}


def test_keys_in_sections_are_edited_where_they_are_written(tmp_path: Path) -> None:
    """In their section, in the short form that the file uses, or with a point where the section is not there."""
    path = tmp_path / "video.yaml"
    path.write_text("WORKLOAD: vrt_spike\nBATCH_SIZE: 1\nTRAIN:\n  OPTIM:\n    TYPE: adamw  # as ever\n")
    target = Target.of_config(path)
    edits = {"batch_size": 2, "accumulation_steps": 3, "use_checkpoint": True, "optimizer_implementation": "fused"}
    change = Change(name="x", value="y", title="", numerics="exact", edits=edits)
    assert target.has_keys(change)
    (tmp_path / "trial").mkdir()
    [command_path] = [word for word in target.arrange([change], tmp_path / "trial", steps=40) if word.endswith(".yaml")]
    assert command_path != str(path)
    found = load_config(command_path)
    assert isinstance(found, VrtSpikeConfig)
    assert (found.batch_size, found.accumulation_steps, found.optimizer_implementation) == (2, 3, "fused")
    assert (found.use_checkpoint_attn, found.use_checkpoint_ffn) == (True, True)
    assert (found.steps, found.validate_every, found.save_every) == (40, 0, 0)
    assert "TYPE: adamw  # as ever" in Path(command_path).read_text()
    (before, after), *others = target.rewritten([change]).values()
    assert (before, others) == (path.read_text(), [])
    assert "BATCH_SIZE: 2" in after


def test_dotted_keys_are_edited_where_they_stand(tmp_path: Path) -> None:
    """What a tuning wrote can be tuned again."""
    path = tmp_path / "video.yaml"
    path.write_text("WORKLOAD: vrt_spike\nTRAIN.STEPS: 100\nMODEL.FUSE:\n  CHUNK_SIZE: 32\n")
    target = Target.of_config(path)
    change = Change(name="x", value="y", title="", numerics="exact", edits={"fuse_chunk_size": 16, "fuse_heads": 2})
    (tmp_path / "trial").mkdir()
    found = load_config(target.arrange([change], tmp_path / "trial", steps=24)[-1])
    assert isinstance(found, VrtSpikeConfig)
    assert (found.steps, found.fuse_chunk_size, found.fuse_heads) == (24, 16, 2)


def test_one_of_two_that_are_known_together_is_asked_for_alone(tmp_path: Path) -> None:
    path = tmp_path / "video.yaml"
    path.write_text("WORKLOAD: vrt_spike\n")
    [change] = asked(["MODEL.FUSE.MAX_BATCH_TOKENS=16384"], Target.of_config(path))
    assert change.edits == {"fuse_max_batch_tokens": 16384}


def test_the_length_of_a_training_in_epochs_is_not_known_in_steps(tmp_path: Path) -> None:
    path = tmp_path / "pairs.yaml"
    path.write_text("workload: apt\nepochs: 3\n")
    assert (Target.of_config(path).keys or {})["steps"] is None
    (tmp_path / "trial").mkdir()
    short = Target.of_config(path).arrange([], tmp_path / "trial", steps=5)
    assert load_config(short[-1]).steps == 5
