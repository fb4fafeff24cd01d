"""Precision, threads, garbage, the allocator and compilation: offered where they can help, refused with a reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from test_propose import situation

from hotlap.changes import Situation, asked, conflicts, propose
from hotlap.diagnose.rules import catalogue
from hotlap.records import Change, Switches


def by_id(it: Situation) -> dict[str, Change]:
    return {change.id: change for change in propose(it, 0.02)[0]}


def gpu(**facts: Any) -> Situation:
    usual = {"switches": Switches(capability=(8, 0), tf32_matmul=False), "matmul_precision": "highest"}
    return situation(device="cuda", **{**usual, **facts})


def on_cores(cores: int, physical: int | None, **facts: Any) -> set[str]:
    it = situation({"forward": 0.5, "backward": 0.5}, **facts)
    here = msgspec.structs.replace(it.environment, cores=cores, physical_cores=physical)
    offered = by_id(msgspec.structs.replace(it, environment=here))
    return {name for name in offered if name.startswith("threads")}


def test_a_cpu_is_offered_what_a_cpu_can_do() -> None:
    """No TF32, no fp16, no CUDA graphs, none of cuDNN, no allocator of CUDA."""
    offered = by_id(situation(threads=1))
    assert {"precision=bf16", "matmul_precision=medium", "threads=2", "compile=default"} <= offered.keys()
    assert not {"precision=fp16", "matmul_precision=high", "compile=reduce-overhead"} & offered.keys()
    assert not {change.name for change in offered.values()} & {"cudnn_benchmark", "cuda_allocator", "garbage"}


def test_a_gpu_is_offered_what_a_gpu_can_do() -> None:
    """fp16 brings a scaler; what changes no bit is exact."""
    offered = by_id(gpu(threads=4))
    assert offered["precision=fp16"].inject == {"autocast": "float16", "grad_scaling": 1024.0}
    assert not offered["precision=fp16"].live
    assert "scaled" in offered["precision=fp16"].note
    assert {"matmul_precision=high", "cudnn_benchmark=true", "compile=reduce-overhead"} <= offered.keys()
    assert offered["cuda_allocator=expandable_segments"].numerics == "exact"
    assert "matmul_precision=medium" not in offered
    assert not any(name.startswith("threads") for name in offered)


@pytest.mark.parametrize(
    ("facts", "gone"),
    [
        ({"matmul_precision": "high"}, "matmul_precision=high"),
        ({"autocast": "bfloat16"}, "matmul_precision=high"),
        ({"autocast": "float16"}, "precision=fp16"),
        ({"switches": Switches(capability=(7, 5))}, "matmul_precision=high"),
        ({"switches": Switches(scale_first=65536.0)}, "precision=fp16"),
        ({"switches": Switches(deterministic=True)}, "cudnn_benchmark=true"),
        ({"cudnn_benchmark": True}, "cudnn_benchmark=true"),
        ({"convolutions": 0}, "cudnn_benchmark=true"),
        ({"input_shapes": 3}, "cudnn_benchmark=true"),
        ({"input_shapes": 3}, "compile=reduce-overhead"),
        ({"input_shapes": 3}, "compile=default"),
        ({"cuda_allocator": "expandable_segments:True"}, "cuda_allocator=expandable_segments"),
        ({"compiled": True}, "compile=reduce-overhead"),
    ],
)
def test_what_is_set_already_or_cannot_be_is_not_tried(facts: dict[str, Any], gone: str) -> None:
    assert gone in by_id(gpu())
    assert gone not in by_id(gpu(**facts))


def test_a_conflict_is_said() -> None:
    """With the reason, where the change would have been offered."""
    skipped = {trial.change.id: trial.why for trial in propose(gpu(input_shapes=3), 0.02)[1]}
    assert "a CUDA graph holds for one shape" in skipped["compile=reduce-overhead"]


def test_repeated_blocks_and_changing_shapes_are_compiled_as_such() -> None:
    """Each under a value of its own, that the lever understands."""
    offered = by_id(situation(repeated_blocks=6, input_shapes=4))
    assert offered["compile=default blocks"].inject == {"compile": "default blocks"}
    assert offered["compile=default dynamic"].live
    assert "compile=default blocks" not in by_id(situation(repeated_blocks=2))


@pytest.mark.parametrize(
    ("here", "facts", "offered"),
    [
        ((8, 4), {"threads": 8}, {"threads=4", "threads=1"}),
        ((8, 4), {"threads": 4, "workers": 2}, {"threads=8", "threads=6", "threads=1"}),
        ((8, None), {"threads": 1, "world_size": 2}, {"threads=4"}),
        # A container may have fewer cores than the machine.
        ((2, 32), {"threads": 32}, {"threads=2", "threads=1"}),
        ((1, 1), {"threads": 1}, set()),
        ((8, 4), {"threads": 8, "device": "cuda"}, set()),
    ],
)
def test_threads_by_the_cores(here: tuple[int, int | None], facts: dict[str, Any], offered: set[str]) -> None:
    """Of this process: all of them, those without hyper-threads, those that workers leave, one."""
    assert on_cores(*here, **facts) == offered


def test_more_threads_are_bounded_by_their_number() -> None:
    """Half of the time of what is computed, at the best."""
    it = situation({"forward": 0.5, "data_wait": 0.5}, threads=1)
    assert by_id(it)["threads=2"].bound == pytest.approx(1 / 0.75)


def test_garbage_is_collected_by_steps_where_it_takes_time() -> None:
    """A tenth of a step of a second."""
    it = situation(gc_seconds=0.1, gc_collections=2.0)
    change = by_id(it)["garbage=100"]
    assert (change.numerics, change.live) == ("exact", True)
    assert change.bound == pytest.approx(1 / 0.9)
    assert "garbage=100" not in by_id(situation(gc_seconds=0.001, gc_collections=0.1))


def test_a_model_in_bfloat16_throughout_is_only_tried_when_asked_for() -> None:
    """As another training. What cannot be is refused with the reason."""
    it = situation(threads=1)
    assert not any("pure" in name for name in by_id(it))
    change = asked("precision", "pure-bf16", it)
    assert (change.numerics, change.inject, change.live) == ("trajectory", {"pure": "bfloat16"}, False)
    assert asked("threads", "2", it).inject == {"threads": 2}
    with pytest.raises(ValueError, match="there is no change precision=fp17 for this training; there are workers="):
        asked("precision", "fp17", it)
    with pytest.raises(ValueError, match="before it is shared"):
        asked("precision", "pure-bf16", situation(world_size=2))
    with pytest.raises(ValueError, match="holds for one shape"):
        asked("compile", "reduce-overhead", gpu(input_shapes=2))


def test_what_cannot_be_together() -> None:
    """In either order; on a CPU float16 never is."""
    it, on_gpu = situation(threads=1), gpu()
    pure, medium = asked("precision", "pure-bf16", it), by_id(it)["matmul_precision=medium"]
    assert conflicts([pure], it) is None
    for pair in ([pure, medium], [medium, pure]):
        assert str(conflicts(pair, it)).endswith("no product of float32 is left")
    assert "one value at a time" in str(conflicts([asked("threads", "2", it), pure, by_id(it)["precision=bf16"]], it))
    assert conflicts([medium, by_id(it)["precision=bf16"], asked("threads", "2", it)], it) is None
    fp16 = by_id(on_gpu)["precision=fp16"]
    assert conflicts([fp16], on_gpu) is None
    assert "50 times slower" in str(conflicts([fp16], it))


def test_findings_name_changes_that_there_are() -> None:
    """Of those that this page is about."""
    names = {name for rule in catalogue() for name in rule.changes}
    assert {"threads", "garbage", "matmul_precision"} <= names
