"""The memory of the data side, counted: the guide's own example, and what is said about plans around it."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from hotlap.errors import UsageError
from hotlap.estimate.configured import configured
from hotlap.estimate.data_side import CACHE_SHARE, bytes_of, estimate, parts_of
from hotlap.probe.shared.room import SHARE
from hotlap.records import DataPlan
from hotlap.report import estimates
from hotlap.workloads.vrt_spike.spikes import write_dat

GIB, MIB = 2**30, 2**20

#: GoPro+Spike in the guide: 36 workers on each of 3 GPUs, and 50 GB of cache in every one of them.
GUIDE = DataPlan(
    samples=2222,
    sample=parts_of("720x1280x3,720x1280x3,32x720x1280"),
    workers=36,
    ranks=3,
    cache=50 * GIB,
    cache_each=True,
    memory=512 * GIB,
)


def plan(**fields: object) -> DataPlan:
    return msgspec.structs.replace(GUIDE, **fields)


def shown(of: DataPlan) -> str:
    file = io.StringIO()
    Console(file=file, width=120, color_system=None, highlight=False).print(estimates.data_side(estimate(of)))
    return " ".join(file.getvalue().split())


def test_the_example_of_the_guide() -> None:
    """Its 133.59 MB and 290 GB are of 2**20 and 2**30 bytes: in units of 10**6 and 10**9 they are 140.08 and 311.26."""
    found = estimate(GUIDE)
    assert found.sample_bytes == 720 * 1280 * 3 * 4 * 2 + 32 * 720 * 1280 * 4 == 140_083_200
    assert f"{found.sample_bytes / MIB:.2f}" == "133.59"
    assert round(found.set_bytes / GIB) == 290
    assert found.set_bytes == pytest.approx(311.26e9, rel=1e-4)
    assert found.processes == 108
    said = shown(GUIDE)
    for words in ("133.59 MiB 140 MB", "289.89 GiB 311 GB", "108 caches", "Each of the 108 workers (36 x 3 ranks)"):
        assert words in said


def test_the_worst_case_is_a_full_cache_in_every_process() -> None:
    """383 whole samples fit into 50 GiB; 108 processes have seen as many after some twenty epochs."""
    found = estimate(GUIDE)
    assert found.cache_bytes == 383 * found.sample_bytes
    assert found.caches_bytes == 108 * found.cache_bytes
    # Two ready and one in the making of each worker, one in use of each rank.
    assert found.batches == (2 * 36 + 36 + 1) * 3
    assert found.worst == found.caches_bytes + 327 * found.sample_bytes
    assert found.verdict == "does not fit"
    assert found.process_bytes == found.cache_bytes + 3 * found.sample_bytes
    # A process sees each sample with the chance of 1 in 108 in an epoch.
    assert found.full_after is not None
    assert 1 - (1 - 1 / 108) ** found.full_after == pytest.approx(383 / 2222)
    assert 20 < found.full_after < 21


def test_one_cache_and_small_samples_are_the_way_out() -> None:
    """17 % of the samples lie in the same 50 GiB once, 69 % of them as uint8: then the node has room."""
    one, small = estimate(GUIDE).remedies
    assert (one.kind, small.kind) == ("one cache", "compact")
    assert one.worst < 93 * GIB
    assert one.cached_share == pytest.approx(383 / 2222)
    assert small.cached_share == pytest.approx(0.69, abs=0.001)
    said = shown(GUIDE)
    assert "`hotlap.data.SampleCache(dataset, 50)` holds 17.2 % of the samples once" in said
    assert "the same cache holds 69.0 % of them" in said


@pytest.mark.parametrize(
    ("fields", "verdict", "kinds"),
    [
        ({"cache_each": False}, "fits", ["compact"]),
        ({"cache_each": False, "samples": 300}, "fits", []),
        (
            {"cache_each": False, "samples": 300, "memory": 60 * GIB, "workers": 2},
            "tight",
            ["smaller cache", "compact"],
        ),
        ({"cache": 0, "cache_each": False}, "fits", ["a cache", "compact"]),
        ({"cache": 0, "cache_each": False, "memory": 16 * GIB}, "does not fit", ["fewer batches"]),
    ],
)
def test_what_is_said_of_other_plans(fields: dict[str, object], verdict: str, kinds: list[str]) -> None:
    """Nothing is to change where all fits; after the changes that are named, all does."""
    found = estimate(plan(**fields))
    assert found.verdict == verdict
    assert [remedy.kind for remedy in found.remedies] == kinds
    if found.remedies:
        assert estimate(found.remedies[-1].plan).verdict == "fits"
        assert shown(found.plan).count("Then at worst") == len(found.remedies)


def test_without_workers_a_rank_holds_a_batch_and_the_samples_of_the_next() -> None:
    found = estimate(plan(workers=0, cache=0, cache_each=False, batch_size=4))
    assert (found.processes, found.caches, found.batches) == (3, 0, 6)
    assert found.worst == 6 * 4 * found.sample_bytes


def test_no_more_is_promised_than_a_cache_is_granted() -> None:
    """``hotlap.data`` gives no cache more than its share of the memory."""
    assert CACHE_SHARE == SHARE


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("720by1280", "is no shape"),
        ("0x3", "is no shape"),
        ("3x4:float3", "did you mean 'float32'"),
        ("", "is no shape"),
    ],
)
def test_a_sample_that_cannot_be_read_is_named(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parts_of(text)


def test_a_configuration_knows_its_frames_and_its_loader(tmp_path: Path) -> None:
    """Frames count whole and as integers in the cache of the node, as float32 crops in the batches."""
    for scene in ("train/a", "train/b", "test/c"):
        for kind in ("blur", "sharp", "spike"):
            (tmp_path / scene / kind).mkdir(parents=True)
        for index in range(3):
            for kind in ("blur", "sharp"):
                Image.new("RGB", (48, 32)).save(tmp_path / scene / kind / f"{index}.png")
            write_dat(tmp_path / scene / "spike" / f"{index}.dat", np.zeros((12, 32, 48), np.bool_))
    path = tmp_path / "my.yaml"
    path.write_text(
        f"WORKLOAD: vrt_spike\nDATA: {{ROOT: {tmp_path}, K: 4, CLIP_LENGTH: 2, TRAIN_CROP_SIZE: 16, TOTAL_WORKERS: 6, "
        "TRAIN_PREFETCH_FACTOR: 3, USE_RAM_CACHE: true, CACHE_SIZE_GB: 0.5}\nTRAIN: {BATCH_SIZE: 2}\n"
    )
    found = estimate(configured(path, DataPlan(samples=1, sample=[], ranks=2, memory=8 * GIB), with_data=True))
    assert found.plan.samples == 6
    assert found.sample_bytes == (3 + 3 + 4) * 32 * 48
    # The keys say workers of all ranks together, and the cache of the node.
    assert (found.plan.workers, found.caches, found.plan.cache) == (3, 1, GIB // 2)
    assert found.cached_share == 1
    # Of each rank three workers with three ready and one in the making, and one in use.
    assert found.batches_bytes == (2 * (3 * 4 + 1)) * 2 * (2 * (3 + 3 + 4) * 16 * 16 * 4)
    assert bytes_of(found.plan.in_batch or []) == 2 * (3 + 3 + 4) * 16 * 16 * 4
