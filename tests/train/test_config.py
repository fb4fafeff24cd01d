from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hotlap.errors import ConfigError
from hotlap.train import load_config
from hotlap.train.config import AptConfig, RestorationConfig, TrainConfig, VrtSpikeConfig, read_config
from hotlap.train.config.reading import WORKLOADS

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


def accepted(tmp_path: Path, text: str) -> RestorationConfig:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return load_config(path)


def test_a_section_without_keys_says_nothing(tmp_path: Path) -> None:
    """All of them may be commented out."""
    path = tmp_path / "my.yaml"
    path.write_text("WORKLOAD: vrt_spike\nTRAIN:\n  # BATCH_SIZE: 2\nMODEL: {}\n")
    assert load_config(path) == VrtSpikeConfig()


@pytest.mark.parametrize("path", sorted(SHIPPED.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_read(path: Path) -> None:
    assert load_config(path).workload in path.stem


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_shipped_configuration_says_every_key(name: str) -> None:
    """Whoever opens it sees all that can be set, as it is when the file does not say."""
    path = SHIPPED.with_name(f"{name}.yaml")
    config = load_config(path)
    assert isinstance(config, WORKLOADS[name])
    assert written(yaml.safe_load(path.read_text())) == {config.path(field) for field in config.__struct_fields__}
    if name != "restoration":  # the demo's batch is larger, and it warms up
        assert config == WORKLOADS[name]()


def written(keys: dict[str, Any], above: str = "") -> set[str]:
    found = set()
    for key, value in keys.items():
        path = f"{above}{key}"
        found |= written(value, f"{path}.") if isinstance(value, dict) and value else {path}
    return found


def test_other_spellings_are_read(tmp_path: Path) -> None:
    """A section may be left out where that says which key is meant, or be written with a point."""
    text = "WORKLOAD: vrt_spike\nBATCH_SIZE: 2\nOPTIM:\n  LR: 1e-4\nMODEL:\n  VRT:\n    use_checkpoint_attn: true\n"
    config, paths = read(tmp_path, text + "DATA.K: 8\nMODEL.FUSE:\n  CHUNK_SIZE: 32\n")
    assert isinstance(config, VrtSpikeConfig)
    assert (config.batch_size, config.lr, config.voxel_bins, config.fuse_chunk_size) == (2, 1e-4, 8, 32)
    assert paths["batch_size"] == ["BATCH_SIZE"]
    assert paths["use_checkpoint"] == ["MODEL.VRT.use_checkpoint_attn", "MODEL.VRT.use_checkpoint_ffn"]
    known = config.known()
    assert "use_checkpoint" not in known, "attention has it and the feed-forward network has not"
    assert known["max_batch_tokens"] == config.fuse_max_batch_tokens


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("CHUNK_SIZE: 3\n", ["line 2", "MODEL.FUSE.CHUNK_SIZE or MODEL.SPIKE_TSA.CHUNK_SIZE"]),
        ("BATCH_SIZE: 1\nTRAIN:\n  BATCH_SIZE: 2\n", ["line 4", "says the same as BATCH_SIZE"]),
        ("TRAIN:\n  BATCHSIZE: 2\n", ["line 3", "'TRAIN.BATCHSIZE'", "did you mean 'TRAIN.BATCH_SIZE'"]),
        ("VAL:\n  BATCH_SIZE: 2\n", ["no key 'VAL.BATCH_SIZE'"]),
        ("VRT_DEPTHS: [8, 8]\n", ["MODEL.VRT.VRT_DEPTHS has 2 numbers"]),
        ("TRAIN_CROP_SIZE: {5: 64}\n", ["DATA.TRAIN_CROP_SIZE", "nothing of epoch 0"]),
        ("AMP_ENABLED: true\nAMP_OPT_LEVEL: O0\n", ["TRAIN.AMP_ENABLED", "O0"]),
        ("AMP_OPT_LEVEL: O2\n", ["must be O0 or O1"]),
        ("STEPS: 0\nEPOCHS: 0\n", ["TRAIN.STEPS and TRAIN.EPOCHS are both 0"]),
    ],
)
def test_a_wrong_file_in_the_documents_spelling_is_refused(tmp_path: Path, text: str, parts: list[str]) -> None:
    message = refused(tmp_path, f"WORKLOAD: vrt_spike\n{text}")
    for part in parts:
        assert part in message


def test_workers_are_divided_and_never_more_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """VRT-Spike's number is of all ranks together; "auto" is 80 % of the cores, at least 4 for each rank."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(40)))
    assert VrtSpikeConfig(num_workers=9).workers(3) == 3
    assert RestorationConfig(num_workers=9).workers(3) == 9
    assert [VrtSpikeConfig(num_workers="auto").workers(ranks) for ranks in (1, 3, 8, 20)] == [32, 10, 4, 2]


def read(tmp_path: Path, text: str) -> tuple[TrainConfig, dict[str, list[str]]]:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return read_config(path)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert accepted(tmp_path, "# nothing\n") == RestorationConfig()


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
        ("zzz: 4\n", ["line 1", "'zzz'", "take the line out", "configs/restoration.yaml"]),
        ("workload: apt\nzzz: 4\n", ["line 2", "'zzz'", "configs/apt.yaml"]),
        ("1: 4\n", ["no key '1'"]),
        ("steps:\t10\n\ta: 1\n", ["line 1", "tabs"]),
        ("\tsteps: 10\n", ["line 1", "tabs"]),
        ("steps: [10\nlr: 1", ["line 2", "not YAML"]),
        ("steps: [10,\n", ["not YAML", "it ends before it is complete"]),
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
        ("optimizer: adamW\n", ["sgd, adam, adamw, adam8bit or adamw8bit", "did you mean 'adamw'?"]),
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


def test_the_file_that_explains_the_keys_gives_their_defaults() -> None:
    """What is left out is as there; but for the warm-up of the restoration, as it says."""
    for name, config in (
        ("restoration", RestorationConfig(warmup_steps=20)),
        ("apt", AptConfig()),
        ("vrt_spike", VrtSpikeConfig()),
    ):
        assert load_config(Path(__file__).parents[2] / "configs" / f"{name}.yaml") == config
