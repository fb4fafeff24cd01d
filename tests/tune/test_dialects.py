"""Keys of the user's own are recognised, each in its dialect, and what could be meant twice is left alone."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as limited
from hypothesis import strategies as st

from hotlap.tune.dialects import canonical_names
from hotlap.tune.settings import Settings, another

DIALECTS = Path(__file__).parent / "dialects"

TRANSFORMERS = "from transformers import HfArgumentParser, TrainingArguments\n"
LIGHTNING = "from lightning.pytorch.cli import LightningCLI\n"
MMENGINE = "parser.add_argument('--cfg-options', nargs='+', action=DictAction)\n"
ARGPARSE = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("-b", "--batch-size", type=int, default=64)
parser.add_argument("-j", "--workers", default=4, type=int)
parser.add_argument("--accum-steps", type=int, default=1)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--amp", action="store_true")
parser.add_argument("--amp-dtype", default="bfloat16", choices=["bfloat16"])
parser.add_argument("--compile", action=argparse.BooleanOptionalAction)
parser.add_argument("--pin-memory", type=bool, default=False)
parser.add_argument("--crop-size", type=int, nargs=2, default=[64, 64])
parser.add_argument("--print-freq", type=int, default=get_default())
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a command in a folder that holds the configurations of all dialects, and a script."""
    monkeypatch.chdir(tmp_path)
    for path in DIALECTS.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)

    def read(command: str, script: str = "") -> Settings:
        (tmp_path / "train.py").write_text(script)
        return Settings.of_command(command.split())

    return read


def places(settings: Settings) -> dict[str, str]:
    return {name: " ".join(p.path for p in key.places) for name, key in settings.recognised.keys.items()}


def written(settings: Settings, edits: dict[str, Any]) -> dict[str, Any] | None:
    spelled = settings.spell(edits)
    return None if spelled is None else {place.path: value for place, value in spelled.items()}


def test_keys_in_capitals(settings: Any) -> None:
    """Those of the three trainings that hotlap was made for, wherever in the tree they stand."""
    vrt = settings("torchrun --nproc_per_node=3 train.py --config vrt_spike.yaml")
    assert places(vrt) == {
        "batch_size": "TRAIN.BATCH_SIZE",
        "accumulation_steps": "TRAIN.GRADIENT_ACCUMULATION_STEPS",
        "num_workers": "DATA.TOTAL_WORKERS",
        "prefetch_factor": "DATA.TRAIN_PREFETCH_FACTOR",
        "persistent_workers": "DATA.PERSISTENT_WORKERS",
        "pin_memory": "DATA.PIN_MEMORY",
        "compile_model": "TRAIN.COMPILE_MODEL",
        "use_checkpoint": "MODEL.VRT.use_checkpoint_attn MODEL.VRT.use_checkpoint_ffn",
        "use_checkpoint_attn": "MODEL.VRT.use_checkpoint_attn",
        "use_checkpoint_ffn": "MODEL.VRT.use_checkpoint_ffn",
        "lr": "TRAIN.OPTIM.LR",
        "log_every": "TRAIN.PRINT_FREQ",
        "patch_size": "DATA.TRAIN_CROP_SIZE",
        "depths": "MODEL.VRT.VRT_DEPTHS",
        "window_size": "MODEL.VRT.WINDOW_SIZE",
        "fuse_chunk_size": "MODEL.FUSE.CHUNK_SIZE",
        "spike_chunk_size": "MODEL.SPIKE_TSA.CHUNK_SIZE",
        "precision": "TRAIN.AMP_ENABLED",
        "optimizer_8bit": "TRAIN.OPTIM.TYPE",
    }
    assert vrt.recognised.values()["lr"] == 2e-4
    assert written(vrt, {"num_workers": 2}) == {"DATA.TOTAL_WORKERS": 6}, "a total over three ranks"
    assert written(vrt, {"optimizer_8bit": True}) == {"TRAIN.OPTIM.TYPE": "adamw8bit"}
    assert written(vrt, {"use_checkpoint": False}) == {
        "MODEL.VRT.use_checkpoint_attn": False,
        "MODEL.VRT.use_checkpoint_ffn": False,
    }
    # Which half precision it would be is not known, so bf16 is not made by this key.
    assert written(vrt, {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"}) is None
    assert written(vrt, {"use_mixed_precision": True}) == {"TRAIN.AMP_ENABLED": True}
    with_dtype = settings("python train.py amp_dtype=bf16 amp=false")
    # An engine may send it to another process.
    assert written(pickle.loads(pickle.dumps(with_dtype)), {"use_mixed_precision": False}) == {"amp": False}
    assert "keys in capitals" in str(vrt.recognised.keys["batch_size"])


def test_basicsr(settings: Any) -> None:
    """The values of training, not those of validation."""
    basicsr = settings("python train.py -opt basicsr.yml")
    assert places(basicsr) == {
        "batch_size": "datasets.train.batch_size_per_gpu",
        "num_workers": "datasets.train.num_worker_per_gpu",
        "use_checkpoint": "network_g.use_checkpoint",
        "lr": "train.optim_g.lr",
        "log_every": "logger.print_freq",
        "patch_size": "datasets.train.gt_size",
        "depths": "network_g.depths",
        "window_size": "network_g.window_size",
    }
    assert str(basicsr.recognised.keys["num_workers"]) == (
        "num_workers: datasets.train.num_worker_per_gpu in basicsr.yml (BasicSR)"
    )


def test_transformers(settings: Any) -> None:
    """Arguments that the file does not hold may be added, where the script reads TrainingArguments."""
    trainer = settings("python train.py trainer.json", TRANSFORMERS)
    assert trainer.recognised.values()["num_workers"] == 0
    assert written(trainer, {"num_workers": 2, "batch_size": 32, "accumulation_steps": 1}) == {
        "dataloader_num_workers": 2,
        "per_device_train_batch_size": 32,
        "gradient_accumulation_steps": 1,
    }
    assert written(trainer, {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"}) == {"bf16": True}
    assert written(trainer, {"optimizer_implementation": "fused"}) == {"optim": "adamw_torch_fused"}
    assert written(trainer, {"optimizer_8bit": True}) == {"optim": "adamw_bnb_8bit"}
    assert written(trainer, {"optimizer_implementation": "foreach"}) is None
    assert written(trainer, {"group_by_length": True, "pad_to_max_length": False}) == {
        "group_by_length": True,
        "pad_to_max_length": False,
    }
    unknown = settings("python train.py trainer.json", "import json")
    assert "num_workers" not in unknown.recognised.keys
    assert "batch_size" in unknown.recognised.keys
    flags = settings("python train.py --per_device_train_batch_size=8 --train_sampling_strategy random", TRANSFORMERS)
    assert written(flags, {"num_workers": 2, "group_by_length": True}) == {
        "--dataloader_num_workers": 2,
        "--train_sampling_strategy": "group_by_length",
    }


def test_lightning(settings: Any) -> None:
    """In its file, or as flags of its sub-command."""
    file = settings("python train.py fit --config lightning.yaml", LIGHTNING)
    bf16 = {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"}
    assert written(file, bf16) == {"trainer.precision": "bf16-mixed"}
    assert written(file, {"batch_size": 16, "accumulation_steps": 2, "num_workers": 2}) == {
        "data.init_args.batch_size": 16,
        "trainer.accumulate_grad_batches": 2,
        "data.init_args.num_workers": 2,
    }
    flags = settings("python train.py fit --trainer.max_epochs=1 --data.batch_size 8", LIGHTNING)
    assert flags.arrange(flags.spell({**bf16, "batch_size": 4}), Path("trial"))[2:] == [
        "fit",
        "--trainer.max_epochs=1",
        "--data.batch_size",
        "4",
        "--trainer.precision=bf16-mixed",
    ]


def test_mmengine(settings: Any) -> None:
    """A configuration in Python is read where it is written out, and changed by --cfg-options."""
    command = "python train.py mmengine_config.py --cfg-options train_dataloader.num_workers=4 --launcher none"
    given = settings(command, MMENGINE)
    values = given.recognised.values()
    assert (values["num_workers"], values["batch_size"], values["use_mixed_precision"]) == (4, 2, False)
    edits = {"num_workers": 8, "use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"}
    assert given.arrange(given.spell(edits), Path("trial"))[3:] == [
        "--cfg-options",
        "optim_wrapper.type=AmpOptimWrapper",
        "optim_wrapper.dtype=bfloat16",
        "train_dataloader.num_workers=8",
        "--launcher",
        "none",
    ]
    without = settings("python train.py mmengine_config.py", MMENGINE)
    assert without.arrange(without.spell({"log_every": 100}), Path("trial"))[3:] == [
        "--cfg-options",
        "default_hooks.logger.interval=100",
    ]


def test_flags_of_argparse(settings: Any) -> None:
    """Those of the command and those that only the script's parser knows; a reader of its own is left alone."""
    plain = settings("python train.py /data -b 32 --amp", ARGPARSE)
    assert plain.recognised.values() == {
        "batch_size": 32,
        "num_workers": 4,
        "accumulation_steps": 1,
        "lr": 0.1,
        "compile_model": False,
        "use_mixed_precision": True,
        "mixed_precision_dtype": "bfloat16",
    }
    edits = {"batch_size": 16, "num_workers": 0, "compile_model": True, "use_mixed_precision": False}
    assert plain.arrange(plain.spell(edits), Path("trial")) == [
        *("python", "train.py", "--compile", "--workers=0", "/data", "-b", "16"),
    ]
    # A value that the parser would refuse.
    assert written(plain, {"use_mixed_precision": True, "mixed_precision_dtype": "float16"}) is None


def test_assignments_of_hydra(settings: Any) -> None:
    """Words with a dotted name and an equals sign."""
    hydra = settings("python train.py data.batch_size=8 trainer.precision=32 +data.num_workers=2")
    spelled = hydra.spell({"batch_size": 4, "num_workers": 3})
    assert hydra.arrange(spelled, Path("trial"))[2:] == [
        "data.batch_size=4",
        "trainer.precision=32",
        "+data.num_workers=3",
    ]


def test_what_could_be_meant_twice_is_left_alone(settings: Any) -> None:
    """With the reason, for the user to read."""
    gan = settings("python train.py gan.yaml")
    assert not gan.recognised.keys
    assert gan.recognised.refused.keys() == {"batch_size", "lr", "num_workers", "use_mixed_precision"}
    assert "train.batch_size in gan.yaml could both be meant" in gan.recognised.refused["batch_size"]
    assert "would also change" in gan.recognised.refused["num_workers"], "it is an anchor for validation"
    both = settings("python train.py --config vrt_spike.yaml --batch-size 4")
    assert "batch_size" in both.recognised.refused


def test_a_file_that_reads_others_is_left_alone(settings: Any, tmp_path: Path) -> None:
    """A copy in another folder would not find them."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "means.npy").write_text("")
    for text, reason in (
        ("_BASE_: base.yaml\nbatch_size: 2", "its _BASE_ names other files"),
        ("means: means.npy\nbatch_size: 2", "means names means.npy, which lies beside it"),
        ("more: !include base.yaml\nbatch_size: 2", "not plain YAML"),
    ):
        (folder / "my.yaml").write_text(text)
        found = settings("python train.py --cfg configs/my.yaml")
        assert not found.recognised.keys
        assert any(reason in note for note in found.notes), found.notes
    assert "lr" in settings("python train.py --cfg configs/my.yaml --lr 0.1").recognised.keys, "flags are"
    for base in ("['']", "{depth: 3}"):
        (folder / "my.yaml").write_text(f"BASE: {base}\nbatch_size: 2\nmodel: resnet")
        assert "batch_size" in settings("python train.py --cfg configs/my.yaml").recognised.keys


@pytest.mark.parametrize(
    "command",
    [
        "python train.py --data vrt_spike.yaml",
        "python train.py --deepspeed trainer.json",
        "accelerate launch --config_file vrt_spike.yaml train.py",
        "python train.py nowhere.yaml",
        "python -c lr=3",
        "bash train.sh",
    ],
)
def test_what_is_no_configuration_of_the_training(settings: Any, command: str) -> None:
    """Data, the launcher's own, and what is not there."""
    assert settings(command).recognised.values() == {}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.b.TRAIN_BATCH_SIZE", "batch_size"),
        ("--per-gpu-train-batch-size", "batch_size"),
        ("-j", "num_workers"),
        ("j", None),
        ("val.batch_size", None),
        ("eval_loader.workers", None),
        ("network_g.patch_size", None),
        ("data.patch_size", "patch_size"),
        ("model.attention.chunk_size", None),
    ],
)
def test_names(path: str, name: str | None) -> None:
    """By the last part, unless the parts above it say that something else is meant."""
    assert canonical_names(path) == ([] if name is None else [name])


def test_a_copy_says_what_it_is_told_and_nothing_else(settings: Any, tmp_path: Path) -> None:
    """The list of depths too; the user's file stays."""
    before = (tmp_path / "vrt_spike.yaml").read_text()
    vrt = settings("python train.py --config=vrt_spike.yaml")
    depths = [8, 7, 8, 8, 4, 4, 4, 6]
    words = vrt.arrange(vrt.spell({"depths": depths, "batch_size": 2}), tmp_path / "trial")
    copy = tmp_path / "trial" / "vrt_spike.yaml"
    assert words == ["python", "train.py", f"--config={copy}"]
    assert (tmp_path / "vrt_spike.yaml").read_text() == before
    expected = before.replace("[8,8,8,8,4,4,4,8]", "[8,7,8,8,4,4,4,6]").replace("BATCH_SIZE: 1", "BATCH_SIZE: 2", 1)
    assert copy.read_text() == expected
    assert yaml.safe_load(copy.read_text())["MODEL"]["VRT"]["VRT_DEPTHS"] == depths


NAMES = (
    "batch_size accum workers prefetch_factor pin_memory lr print_freq amp amp_dtype bf16 fp16 precision compile "
    "mixed_precision use_checkpoint_attn use_checkpoint_ffn depths optim type train val trainer logger interval"
)
VALUES = st.one_of(
    st.integers(0, 9),
    st.booleans(),
    st.none(),
    st.sampled_from(["bf16", "no", "32-true", "adamw", "adamw_torch", "auto", "1e-3", "x", "", "é: #"]),
    st.lists(st.integers(1, 3), max_size=3),
)
TREES = st.recursive(
    VALUES, lambda inner: st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=5), max_leaves=12
)
WORDS = st.lists(
    st.sampled_from(["my.yaml", "my.json", "--cfg=my.yaml", "--config", "--", "a.lr=2", "-b", "3", "--lr", "=", "é"]),
    max_size=6,
)


@limited(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(WORDS, st.dictionaries(st.sampled_from(NAMES.split()), TREES, max_size=5), st.booleans())
def test_an_edited_command_is_recognised_as_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], tree: dict[str, Any], flow: bool
) -> None:
    """Whatever stands in it: the one key has the other value then, and every other key the one that it had."""
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(yaml.safe_dump(tree, default_flow_style=flow))
    Path("my.json").write_text(json.dumps(tree))
    before = Settings.of_command(["python", "train.py", *words]).recognised.keys
    for name, key in before.items():
        settings = Settings.of_command(["python", "train.py", *words])
        command = settings.arrange(key.written(another(key)) or {}, tmp_path / "trial")
        after = Settings.of_command(command).recognised.keys
        assert repr(after[name].value) == repr(another(key))
        for other in before.values():
            if not set(other.places) & set(key.places):
                assert repr(after[other.name].value) == repr(other.value)


def test_a_configuration_that_cannot_be_read_is_named(settings: Any, tmp_path: Path) -> None:
    """One that is not there, and one in an older encoding; what a flag for outputs names is none."""
    (tmp_path / "latin.yaml").write_bytes("batch_size: 4  # für alle\n".encode("latin-1"))
    assert settings("python train.py --config latin.yaml").notes == ["latin.yaml is left alone: it is not UTF-8"]
    missing = settings("python train.py --cfg conf/nothere.yaml")
    assert missing.notes == ["conf/nothere.yaml is not there, so none of its keys is known"]
    assert settings("python train.py --log out.json later.yaml").notes == []
