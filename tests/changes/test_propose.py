"""What is proposed for a situation, and what is not, with the reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hotlap.changes import FAMILIES, Situation, propose
from hotlap.diagnose import Machine
from hotlap.records import PHASES, Budget, Diagnosis, Environment, Facts

PLAIN = Facts(
    device="cpu",
    parameter_dtype="float32",
    convolutions=10,
    channels_last=False,
    compiled=False,
    optimizer="Adam",
    batch_size=16,
    workers=0,
    iterable_dataset=False,
    fetch_uses_rng=False,
    samples_use_rng=False,
)
KEYS = {
    "batch_size": 16,
    "accumulation_steps": 1,
    "num_workers": 0,
    "use_mixed_precision": False,
    "mixed_precision_dtype": "bfloat16",
    "channels_last": False,
    "compile_model": False,
    "compile_mode": "default",
    "matmul_precision": "highest",
    "cudnn_benchmark": False,
    "threads": 0,
    "collect_every": 0,
    "use_checkpoint": False,
    "keep_freed_memory": False,
    "optimizer_implementation": "auto",
    "persistent_workers": False,
}


def situation(phases: dict[str, float] | None = None, keys: dict[str, Any] | None = None, **facts: Any) -> Situation:
    phases = phases or {"data_wait": 0.2, "forward": 0.3, "backward": 0.3, "optimizer": 0.2}
    diagnosis = Diagnosis(
        findings=[],
        will_not_help=[],
        step_seconds=sum(phases.values()),
        phases=phases,
        throughput=None,
        budget=Budget(wall=1, startup=0, warmup=0, steps=1, validation=0, checkpoint=0, logging=0, end=0),
        steady_from=0,
        steady_steps=10,
    )
    return Situation(
        diagnosis=diagnosis,
        facts=msgspec.structs.replace(PLAIN, **facts),
        environment=Environment(hotlap="0", python="3", cores=2),
        machine=Machine(bf16_matmul_speedup=4.0, bf16_conv_speedup=5.0),
        keys=keys,
    )


def ids(it: Situation) -> set[str]:
    return {change.id for change in propose(it, 0.02)[0]}


def test_a_plain_training_is_offered_everything() -> None:
    """Each with a way to inject it where there is no configuration."""
    changes, skipped = propose(situation(), 0.02)
    assert {change.id for change in changes} == {
        "workers=1",
        "workers=2",
        "precision=bf16",
        "matmul_precision=medium",
        "layout=channels_last",
        "optimizer=fused",
        "optimizer=foreach",
        "compile=default",
        "compile=max-autotune",
    }
    assert all(change.inject for change in changes)
    assert skipped == []


def test_with_known_keys_every_change_is_an_edit() -> None:
    """And the micro-batch is offered at the same effective batch."""
    changes, _ = propose(situation(keys=KEYS), 0.02)
    assert "micro_batch=8x2" in {change.id for change in changes}
    assert all(change.edits.keys() <= KEYS.keys() for change in changes)
    for change in changes:
        if change.name == "micro_batch":
            assert change.edits["batch_size"] * change.edits["accumulation_steps"] == 16


@pytest.mark.parametrize(
    ("facts", "gone"),
    [
        ({"autocast": "bfloat16"}, "precision=bf16"),
        ({"parameter_dtype": "bfloat16"}, "precision=bf16"),
        ({"channels_last": True}, "layout=channels_last"),
        ({"convolutions": 0}, "layout=channels_last"),
        ({"compiled": True}, "compile=default"),
        ({"optimizer_fused": True}, "optimizer=fused"),
        ({"optimizer_fused": True}, "optimizer=foreach"),
        ({"optimizer_foreach": True}, "optimizer=foreach"),
        ({"device": "cuda"}, "optimizer=foreach"),
        ({"optimizer": "LBFGS"}, "optimizer=fused"),
        ({"iterable_dataset": True}, "workers=1"),
        ({"workers": None}, "workers=1"),
        ({"workers": 2}, "workers=2"),
    ],
)
def test_advice_knows_what_is_set_already(facts: dict[str, Any], gone: str) -> None:
    """And what cannot be set."""
    assert gone not in ids(situation(**facts))


def test_what_cannot_pay_is_not_tried_and_said_so() -> None:
    """The bound is what the phase takes (Amdahl)."""
    phases = {"data_wait": 0.001, "forward": 0.5, "backward": 0.5, "optimizer": 0.001}
    changes, skipped = propose(situation(phases), 0.02)
    assert not {change.name for change in changes} & {"workers", "optimizer"}
    assert {trial.change.name for trial in skipped} == {"workers", "optimizer"}
    assert all("at most 1.00" in trial.why and not trial.kept for trial in skipped)


def test_half_precision_is_not_tried_where_the_machine_is_slower_in_it() -> None:
    """By calibration, not by belief."""
    slow = msgspec.structs.replace(situation(), machine=Machine(bf16_matmul_speedup=0.4, bf16_conv_speedup=0.7))
    assert "precision=bf16" not in ids(slow)
    unknown = msgspec.structs.replace(situation(), machine=Machine())
    assert "precision=bf16" in ids(unknown)


def test_workers_are_exact_only_where_fetching_draws_no_random_numbers() -> None:
    """Augmentation draws other numbers in a worker; unknown counts as drawing."""
    for uses, numerics in ((False, "exact"), (True, "rounding"), (None, "rounding")):
        changes, _ = propose(situation(fetch_uses_rng=uses), 0.02)
        assert {change.numerics for change in changes if change.name == "workers"} == {numerics}


def test_more_workers_than_cores_are_answered_with_fewer() -> None:
    """None at all among them."""
    assert "workers=0" in ids(situation(workers=8))


def test_checkpointing_is_only_taken_off_where_it_is_on() -> None:
    """And is exact: the same arithmetic, kept instead of done twice."""
    phases = {"forward": 0.3, "backward": 0.4, "recompute": 0.3}
    assert "checkpointing=off" in ids(situation(phases, checkpointing=True))
    assert "checkpointing=off" not in ids(situation(phases, checkpointing=False))


def test_every_phase_that_a_bound_names_exists() -> None:
    """A misspelt phase would bound by nothing."""
    for phase in PHASES:
        it = situation({phase: 1.0}, KEYS, checkpointing=True)
        for family in FAMILIES:
            for change in family.propose(it):
                assert change.bound is None or change.bound >= 1


FAULTS = {"steady_faults": 1e5, "page_fault_seconds": 2e-6, "system_seconds": 0.3}


def test_freed_memory_is_kept_where_page_faults_take_the_time() -> None:
    """A fifth of a step of a second, and nowhere where it cannot help."""
    changes, _ = propose(situation(**FAULTS), 0.02)
    (change,) = [each for each in changes if each.name == "allocator"]
    assert (change.id, change.numerics, change.inject) == ("allocator=keep", "exact", {"allocator": "keep"})
    assert change.bound == pytest.approx(1 / (1 - 0.2))
    for other in ({"system_seconds": None}, {"device": "cuda"}, {"allocator": "kept"}, {"allocator": "replaced"}):
        assert "allocator=keep" not in ids(situation(**{**FAULTS, **other}))
    assert "allocator=keep" not in ids(situation(**{**FAULTS, "steady_faults": 10.0}))


def test_freed_memory_that_is_kept_already_is_not_kept_again() -> None:
    """The configuration says so; where it says no, that is what the change edits."""
    changes, _ = propose(situation(keys=KEYS, **FAULTS), 0.02)
    assert {"keep_freed_memory": True} in [change.edits for change in changes]
    assert "allocator=keep" not in ids(situation(keys={**KEYS, "keep_freed_memory": True}, **FAULTS))


def test_a_bound_counts_what_throughput_counts() -> None:
    """Validation and checkpoints make a step long and no trial slow."""
    phases = {"forward": 0.1, "backward": 0.06, "optimizer": 0.04, "validation": 0.7, "checkpoint": 0.1}
    changes, _ = propose(situation(phases=phases), 0.05)
    assert [change.bound for change in changes if change.name == "optimizer"] == [pytest.approx(1 / (1 - 0.2))] * 2


def test_what_is_not_tried_says_from_when_a_gain_counts() -> None:
    """As exactly as its own bound."""
    _, skipped = propose(situation(phases={"forward": 0.98, "optimizer": 0.02}), 0.0234)
    assert "not tried: it could give at most 1.020x, and a gain counts from 1.023x on" in [each.why for each in skipped]


def test_workers_that_mostly_wait_are_proposed_beyond_the_cores() -> None:
    """On 2 cores; those that compute are not."""
    loading = {"workers": 2, "fetch_seconds": 0.1}
    waiting = ids(situation(**loading, fetch_cpu_seconds=0.003, fetch_queue_seconds=0.001))
    assert {"workers=1", "workers=5", "workers=8"} <= waiting
    computing = ids(situation(**loading, fetch_cpu_seconds=0.06, fetch_queue_seconds=0.03))
    assert {each for each in computing if each.startswith("workers")} == {"workers=1"}


@pytest.mark.parametrize(("norms", "numerics"), [(0, "rounding"), (None, "rounding"), (4, "trajectory")])
def test_another_micro_batch_is_another_training_where_samples_see_each_other(norms: int | None, numerics: str) -> None:
    """Batch normalization takes its statistics of the micro-batch."""
    changes, _ = propose(situation(keys=KEYS, batch_norms=norms), 0.02)
    assert {change.numerics for change in changes if change.name == "micro_batch"} == {numerics}
