from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hotlap.errors import ConfigError
from hotlap.train import TrainConfig, load_config

SHIPPED = Path(__file__).parents[2] / "configs" / "restoration.yaml"


def refused(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def accepted(tmp_path: Path, text: str) -> TrainConfig:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return load_config(path)


def test_the_shipped_configuration_says_every_key() -> None:
    """Whoever opens it sees all that can be set."""
    load_config(SHIPPED)
    assert set(yaml.safe_load(SHIPPED.read_text())) == set(TrainConfig.__struct_fields__)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert accepted(tmp_path, "# nothing\n") == TrainConfig()


def test_a_learning_rate_written_as_everybody_writes_it_is_a_number(tmp_path: Path) -> None:
    """YAML 1.1 reads 3e-4 as a text."""
    assert accepted(tmp_path, "lr: 3e-4\nnoise_sigma: 15\n").lr == 3e-4


def test_loader_settings_without_workers_are_accepted(tmp_path: Path) -> None:
    config = accepted(tmp_path, "num_workers: 0\nprefetch_factor: 4\npersistent_workers: true\n")
    assert config.prefetch_factor == 4


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("steps: 10\nbatchsize: 4\n", ["line 2", "'batchsize'", "did you mean 'batch_size'?"]),
        ("zzz: 4\n", ["line 1", "'zzz'", "take the line out"]),
        ("1: 4\n", ["no key 1"]),
        ("steps:\t10\n\ta: 1\n", ["line 1", "tabs"]),
        ("\tsteps: 10\n", ["line 1", "tabs"]),
        ("steps: [10\nlr: 1", ["line 2", "not YAML"]),
        ("lr: [1, 2]\n", ["line 1", "lr is [1, 2]", "a number above 0"]),
        ("\nbatch_size: [8]\n", ["line 2", "batch_size is [8]", "from 1 to 1024"]),
        ("batch_size: 2.5\n", ["batch_size is 2.5"]),
        ("batch_size: 0\n", ["batch_size is 0"]),
        ("batch_size: true\n", ["batch_size is True"]),
        ("steps: null\n", ["steps is None"]),
        ("lr: fast\n", ["lr is 'fast'", "a number above 0"]),
        ("lr: .nan\n", ["lr is nan"]),
        ("lr: -1e-3\n", ["lr is -0.001"]),
        ("momentum: 1\n", ["momentum is 1", "not including, 1"]),
        ("use_mixed_precision: 1\n", ["use_mixed_precision is 1", "true or false"]),
        ("optimizer: adamW\n", ["sgd, adam or adamw", "did you mean 'adamw'?"]),
        ("workload: restoraton\n", ["must be restoration", "did you mean 'restoration'?"]),
        ("data_dir: 5\n", ["data_dir is 5", "a text or null"]),
        ("- steps\n- 10\n", ["not a list of keys"]),
        ("hello\n", ["not a list of keys"]),
        ("steps: 1\n---\nsteps: 2\n", ["2 documents", "line 2"]),
        ("steps: 1\nlr: 1\nsteps: 2\n", ["steps is there twice, on lines 1 and 3"]),
        ("steps: 10\nwarmup_steps: 10\n", ["warmup_steps is 10", "steps is 10"]),
        ("task: super_resolution\npatch_size: 33\n", ["patch_size is 33", "34"]),
        (b"steps: \xff\n", ["UTF-8"]),
        (b"steps: 1\x00\n", ["not YAML"]),
    ],
)
def test_a_wrong_file_is_refused_with_value_and_place(tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    message = refused(tmp_path, text)
    for part in parts:
        assert part in message


def test_reading_a_configuration_does_not_import_torch() -> None:
    """A wrong file is reported before torch's import would have ended."""
    code = "import sys, hotlap.train; hotlap.train.load_config(sys.argv[1]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(SHIPPED)]).returncode == 0
