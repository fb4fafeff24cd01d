"""What is proposed for loaders, samples, copies, padding and data parallel models."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from test_propose import ids, situation

from hotlap.changes import conflicts, propose
from hotlap.changes.samples import AHEAD, ahead_seconds
from hotlap.changes.situation import Situation
from hotlap.probe.shared import workers
from hotlap.records import Change, DataParallel, Dataset, Environment, Finding

#: 100,000 samples of 10 kB: 1 GB.
DATASET = Dataset(length=100_000, stacked=True, indexed=False, batches=3, sample_bytes=1e4, alike=True, padding=0.0)


def machine(it: Situation, memory: int = 16 << 30) -> Situation:
    return msgspec.structs.replace(it, environment=Environment(hotlap="0", python="3", cores=2, memory=memory))


def found(it: Situation, name: str) -> Change:
    changes = [change for change in propose(it, 0.0)[0] if change.name == name]
    assert changes, name
    return changes[0]


def test_samples_that_fit_are_kept() -> None:
    """As one tensor where they are of one shape, on the device that computes."""
    it = machine(situation(dataset=DATASET))
    assert {"whole_set=cpu", "cache_samples=1GB"} <= ids(it)
    assert found(it, "whole_set").numerics == "exact"
    assert "whole_set=cuda" in ids(machine(situation(dataset=DATASET, device="cuda")))
    unlike = msgspec.structs.replace(DATASET, alike=False)
    assert "whole_set=cpu" not in ids(machine(situation(dataset=unlike)))


def test_of_samples_that_do_not_fit_a_part_is_kept() -> None:
    """The share of the data is the share of the wait that it can save, and ranks share the memory."""
    it = machine(situation(dataset=DATASET, world_size=2), memory=4 * 10**9)
    change = found(it, "cache_samples")
    assert change.inject == {"cache_samples": 5 * 10**8}
    assert change.bound == pytest.approx(1 / (1 - 0.2 * 0.5))
    assert "whole_set=cpu" not in ids(it)


@pytest.mark.parametrize(
    "facts",
    [
        {"samples_use_rng": True},
        {"samples_use_rng": None},
        {"workers": 2},
        {"iterable_dataset": True},
        {"dataset": Dataset()},
    ],
)
def test_samples_are_not_kept(facts: dict[str, Any]) -> None:
    """Where fetching draws random numbers, or happens elsewhere."""
    it = machine(situation(**{"dataset": DATASET, **facts}))
    assert not {change.name for change in propose(it, 0.0)[0]} & {"whole_set", "cache_samples"}


_DECODING = {"fetch_seconds": 0.4, "decode_seconds": 0.3, "decoded_again_share": 0.9, "decoded_bytes": 2e6}


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_that_are_decoded_again_are_kept(workers: int) -> None:
    """Whatever else differs from sample to sample; the share of decoding is that of the wait that it can save."""
    it = machine(situation(samples_use_rng=True, workers=workers, world_size=2, **_DECODING), memory=4 * 10**9)
    change = found(it, "cache_decoded")
    assert (change.id, change.numerics, change.inject) == ("cache_decoded=0.5GB", "exact", {"cache_decoded": 5 * 10**8})
    assert change.bound == pytest.approx(1 / (1 - 0.75 * 0.2))
    kept = found(machine(situation(dataset=DATASET)), "cache_samples")
    assert "nothing is decoded again" in (conflicts([change, kept], it) or "")


@pytest.mark.parametrize("fields", [_DECODING, {"dataset": DATASET, "fetch_seconds": 1e-6, "samples_use_rng": False}])
def test_workers_that_take_the_cores_may_cost_all_that_is_computed(fields: dict[str, Any]) -> None:
    """The wait for a batch is not all that they cost, where they and the arithmetic want more cores than there are."""
    it = machine(situation({"data_wait": 0.2, "forward": 0.4, "other": 0.4}, workers=2, **fields))
    name, share = ("cache_decoded", 0.75) if "decode_seconds" in fields else ("shared_samples", 1.0)
    assert found(it, name).bound == pytest.approx(1 / (1 - share * 0.2))
    crowd = Finding(code="HOST04", title="", evidence=[], seconds=0.1, share=0.1, bound=1.1, remedy="", changes=[])
    crowded = msgspec.structs.replace(it, diagnosis=msgspec.structs.replace(it.diagnosis, findings=[crowd]))
    assert found(crowded, name).bound == pytest.approx(1 / (1 - share * 0.6))


@pytest.mark.parametrize(
    "facts", [{"decoded_again_share": 0.2}, {"decode_seconds": None}, {"fetch_seconds": None}, {"workers": None}]
)
def test_pictures_are_not_kept(facts: dict[str, Any]) -> None:
    """Where each is decoded once in the time that is measured, or nothing is known."""
    it = machine(situation(samples_use_rng=True, **{**_DECODING, **facts}))
    assert "cache_decoded" not in {change.name for change in propose(it, 0.0)[0]}


def test_what_is_in_memory_already_is_indexed() -> None:
    """Beside workers, instead of them; and it is not kept a second time."""
    indexed = msgspec.structs.replace(DATASET, indexed=True)
    it = machine(situation(dataset=indexed))
    change = found(it, "batched_fetch")
    assert (change.inject, change.live) == ({"batched_fetch": True}, True)
    assert "cache_samples=1GB" not in ids(it)
    change = found(machine(situation(dataset=indexed, workers=2)), "batched_fetch")
    assert (change.inject, change.live) == ({"batched_fetch": True, "workers": 0}, False)


def test_workers_work_further_ahead_where_they_are_fast_enough() -> None:
    """On average a batch is made in time: then all of the wait is at stake; else what is not the workers' pace."""
    it = situation(workers=2, prefetch_factor=2, fetch_seconds=0.4)
    assert {"prefetch=4", "prefetch=8", "any_order=true"} <= ids(it)
    assert found(it, "prefetch").bound == pytest.approx(1.25)
    assert found(it, "any_order").numerics == "trajectory"
    slow = situation(workers=2, prefetch_factor=4, fetch_seconds=1.8)
    assert "prefetch=4" not in ids(slow)
    assert found(slow, "prefetch").bound == pytest.approx(1 / 0.9)
    assert "any_order=true" not in ids(situation(workers=1, fetch_seconds=0.4))


def test_workers_share_what_they_fetch() -> None:
    """Samples for the whole node, by the share of them that it can keep; batches where they are of some size."""
    working = {"workers": 2, "dataset": msgspec.structs.replace(DATASET, length=1000, sample_bytes=1e6)}
    it = machine(situation(**working, fetch_seconds=0.2))
    samples, batches = found(it, "shared_samples"), found(it, "shared_batches")
    assert (samples.value, samples.inject, samples.numerics) == ("1GB", {"shared_samples": 1_500_000_000}, "exact")
    assert batches.inject == {"shared_batches": True}
    assert samples.bound == batches.bound == pytest.approx(1.25)
    # 16 samples of 4 kB are less than 64 KiB.
    small = msgspec.structs.replace(DATASET, sample_bytes=4000)
    assert "shared_batches=true" not in ids(machine(situation(workers=2, dataset=small, fetch_seconds=1e-4)))
    half = found(machine(situation(**working, fetch_seconds=0.2, world_size=2), memory=2 * 10**9), "shared_samples")
    assert (half.inject, half.bound) == ({"shared_samples": 5 * 10**8}, pytest.approx(1 / (1 - 0.2 * 0.5)))
    for facts in ({"samples_use_rng": True}, {"workers": 0}, {"iterable_dataset": True}):
        none = machine(situation(**{**working, "fetch_seconds": 0.2, **facts}))
        assert "shared_samples=1GB" not in ids(none)


def test_a_cache_is_tried_where_a_trial_can_see_it() -> None:
    """Its workers fetch everything first, in ten seconds at the most; else the reason is said."""
    # 1000 samples in batches of 16, by two workers: 31 batches each.
    dataset = msgspec.structs.replace(DATASET, length=1000, sample_bytes=1e6)
    it = machine(situation(workers=2, dataset=dataset, fetch_seconds=0.31))
    assert ahead_seconds(it) == pytest.approx(9.7, abs=0.1)
    assert "shared_samples=1GB" in ids(it)
    it = machine(situation(workers=2, dataset=dataset, fetch_seconds=0.33))
    (skipped,) = [trial for trial in propose(it, 0.02)[1] if trial.change.name == "shared_samples"]
    assert skipped.why.startswith("not tried: it pays from the second epoch on, and fetching each sample once takes")
    assert AHEAD == workers.AHEAD


@pytest.mark.parametrize("name", ["shared_samples", "shared_batches"])
def test_what_workers_share_needs_workers(name: str) -> None:
    indexed = msgspec.structs.replace(DATASET, indexed=True)
    it = machine(situation(workers=2, dataset=msgspec.structs.replace(DATASET, length=1000), fetch_seconds=0.01))
    change, indexing = found(it, name), found(machine(situation(dataset=indexed)), "batched_fetch")
    assert (
        conflicts([change, indexing], it) == f"{name}={change.value} and batched_fetch=true: there are no workers then"
    )
    assert conflicts([change, msgspec.structs.replace(indexing, name="workers", value="0")], it)
    assert conflicts([found(it, "shared_samples"), found(it, "shared_batches")], it) is None


def test_pinned_memory_is_a_gpu_s() -> None:
    phases = {"host_to_device": 0.2, "forward": 0.8}
    pinned, waits = (
        situation(phases, device="cuda", pin_memory=True),
        situation(phases, device="cuda", pin_memory=False),
    )
    assert found(pinned, "non_blocking").live
    assert found(waits, "pin_memory").inject == {"pin_memory": True, "non_blocking": True}
    assert not {"pin_memory=true", "non_blocking=true"} & ids(situation(phases, pin_memory=False))


def test_padding_is_cut_where_there_is_much() -> None:
    """Over a fifth of the positions, counted with its square, which is what attention saves."""
    padded = msgspec.structs.replace(DATASET, padding=0.5)
    change = found(situation(dataset=padded), "trim_padding")
    assert (change.numerics, change.live) == ("rounding", True)
    assert change.bound == pytest.approx(1 / (1 - 0.6 * 0.75))
    assert "trim_padding=8" not in ids(situation(dataset=msgspec.structs.replace(DATASET, padding=0.15)))


PARALLEL = DataParallel(backend="gloo", parameter_bytes=200 << 20, buckets=[1 << 20], backwards=30, syncs=30)
PHASES = {"forward": 0.3, "backward": 0.3, "gradient_sync": 0.3, "optimizer": 0.1}


def ranks(parallel: DataParallel = PARALLEL, **facts: Any) -> Situation:
    return situation(PHASES, **{"data_parallel": parallel, "world_size": 2, **facts})


def of_ranks(it: Situation) -> dict[str, Change]:
    names = {"no_sync", "unused_search", "static_graph", "bucket_view", "bucket_cap", "gradient_compression"}
    return {change.id: change for change in propose(it, 0.0)[0] if change.name in names}


def test_several_ranks() -> None:
    changes = of_ranks(ranks(micro_batches=4))
    assert set(changes) == {
        "no_sync=true",
        "static_graph=true",
        "bucket_view=true",
        "bucket_cap=50MB",
        "bucket_cap=100MB",
        "gradient_compression=bf16",
    }
    assert changes["no_sync=true"].bound == pytest.approx(1 / (1 - 0.3 * 0.75))
    assert changes["gradient_compression=bf16"].bound == pytest.approx(1 / 0.7)
    assert changes["bucket_cap=50MB"].numerics == "exact"
    # Which rank's gradient is added first depends on the place in the bucket.
    assert of_ranks(ranks(world_size=4))["bucket_cap=50MB"].numerics == "rounding"
    assert of_ranks(ranks(world_size=1)) == {}
    assert of_ranks(situation(PHASES, world_size=2)) == {}


@pytest.mark.parametrize(
    ("parallel", "facts", "gone"),
    [
        ({}, {"micro_batches": 1}, "no_sync=true"),
        ({"syncs": 10}, {}, "no_sync=true"),
        ({"models": 2}, {}, "no_sync=true"),
        ({"find_unused_parameters": True}, {}, "no_sync=true"),
        ({"static_graph": True}, {}, "static_graph=true"),
        ({"gradient_as_bucket_view": True}, {}, "bucket_view=true"),
        ({"comm_hook": "fp16_compress_hook"}, {}, "gradient_compression=bf16"),
        ({"parameter_bytes": 20 << 20}, {}, "bucket_cap=50MB"),
        ({"find_unused_parameters": True, "unused": 400}, {}, "unused_search=off"),
    ],
)
def test_what_is_set_already_or_cannot_be(parallel: dict[str, Any], facts: dict[str, Any], gone: str) -> None:
    changed = msgspec.structs.replace(PARALLEL, **parallel)
    assert gone not in of_ranks(ranks(changed, **{"micro_batches": 4, **facts}))


def test_smaller_buckets_and_no_search() -> None:
    searching = msgspec.structs.replace(PARALLEL, find_unused_parameters=True, parameter_bytes=20 << 20)
    assert {"bucket_cap=5MB", "unused_search=off"} <= set(of_ranks(ranks(searching)))


def test_the_size_of_samples_is_not_told_by_what_a_script_makes_of_them() -> None:
    """Crops of 4 kB may come of pictures of any size: they get the room that there is."""
    dataset = msgspec.structs.replace(DATASET, length=1000, sample_bytes=4000, stacked=False)
    it = machine(situation(workers=2, dataset=dataset, fetch_seconds=0.2), memory=4 * 10**9)
    change = found(it, "shared_samples")
    assert (change.value, change.inject) == ("1GB", {"shared_samples": 10**9})
    assert change.bound == pytest.approx(1.25)


@pytest.mark.parametrize(("workers", "excluded"), [(2, ("whole_set", "cache_samples")), (0, ("shared_samples",))])
def test_workers_are_workers_under_the_user_s_name_for_them(workers: int, excluded: tuple[str, ...]) -> None:
    """`--set train.data.num_workers=2`, which edits the key that is known as theirs."""
    own = Change(name="train.data.num_workers", value=str(workers), title="", numerics="rounding")
    own = msgspec.structs.replace(own, edits={"num_workers": workers})
    for name in ("whole_set", "cache_samples", "shared_samples"):
        other = Change(name=name, value="1GB", title="", numerics="exact")
        assert bool(conflicts([own, other], situation())) == (name in excluded)
