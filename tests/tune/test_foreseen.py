"""What a tuning could try, by what is known of a training before it runs."""

from __future__ import annotations

from typing import Any

import msgspec

from hotlap.changes import Situation
from hotlap.diagnose import Machine
from hotlap.records import Budget, Change, Diagnosis, Environment, Facts, Foreseen, Goal
from hotlap.tune.foreseen import excluded, foreseen, unseen

CPU = Environment(hotlap="0", python="3", cores=4, physical_cores=4, memory=2**34)
GPU = msgspec.structs.replace(CPU, gpus=["NVIDIA GeForce RTX 4090"])


def of(
    environment: Environment = CPU,
    keys: dict[str, Any] | None = None,
    *,
    importable: tuple[str, ...] = (),
    ranks: int = 1,
    goal: Goal = "throughput",
    quality: bool = False,
) -> dict[str, Foreseen]:
    situation = unseen(keys, environment, importable, ranks, goal)
    return by_id(foreseen(situation, [], least_gain=0.02, other_trainings=quality))


def by_id(changes: list[Foreseen]) -> dict[str, Foreseen]:
    assert len({each.change.id for each in changes}) == len(changes)
    return {each.change.id: each for each in changes}


def test_of_a_script_that_nobody_has_seen() -> None:
    """What any training may have is tried; what depends on it says on what; bounds are not known."""
    found = of()
    assert found["precision=bf16"].prospect == "tried"
    assert (found["workers=1"].prospect, found["workers=1"].why) == ("if", "its loader has no workers")
    assert found["prefetch=4"].why == "its loader has workers"
    assert found["layout=channels_last"].why == "it has convolutions over pictures"
    assert found["checkpointing=all"].why == "it needs more memory than there is"
    assert {each.change.bound for each in found.values()} == {None}


def test_no_figure_of_a_made_up_training_is_shown() -> None:
    """A cache is as large as the samples, which nobody has seen."""
    found = of()
    assert found["cache_samples=by size"].change.inject == {}
    assert not [name for name in found if name.startswith("cache_samples=0")]


def test_what_the_machine_lacks() -> None:
    """A GPU, a library, other ranks: each says what is missing."""
    found = of()
    assert found["precision=fp16"].why == "there is no GPU here"
    assert found["optimizer=8bit"].why == "there is no GPU here and the package bitsandbytes is not installed"
    assert found["bucket_view=true"].why == "the command starts one process"
    assert {found[name].prospect for name in ("precision=fp16", "optimizer=8bit")} == {"not tried"}
    # Two ranks have half of the cores each, which is no reason to name other numbers of workers.
    assert not [each for each in found.values() if each.change.name == "workers" and "process" in each.why]


def test_what_the_machine_has() -> None:
    """On a GPU, and where libraries are installed, the same is tried."""
    found = of(GPU)
    assert found["precision=fp16"].prospect == "tried"
    assert found["optimizer=8bit"].why == "the package bitsandbytes is not installed"
    found = of(GPU, importable=("bitsandbytes",))
    assert found["optimizer=8bit"].prospect == "if"
    assert found["optimizer=8bit-torchao"].why == "the package torchao is not installed"
    several = of(GPU, ranks=2)["bucket_view=true"]
    assert (several.prospect, several.why) == ("if", "it is DistributedDataParallel")


def test_known_keys_take_the_place_of_conditions() -> None:
    """Of a configuration it is known how many workers there are, and what is on already is not proposed."""
    keys = {"num_workers": 2, "optimizer": "adamw", "use_mixed_precision": True, "compile_model": True}
    found = of(keys=keys)
    assert found["workers=1"].prospect == "tried"
    assert found["optimizer=fused"].prospect == "tried"
    assert "precision=bf16" not in found
    assert not [name for name in found if name.startswith("compile=")]
    assert "cache_samples=by size" not in found


def test_other_trainings_are_asked_for() -> None:
    keys = {"batch_size": 8, "lr": 0.1, "optimizer": "sgd"}
    assert "--quality METRIC" in of(keys=keys)["effective_batch=16"].why
    assert of(keys=keys, quality=True)["effective_batch=16"].prospect == "tried"


def test_by_a_record_bounds_decide() -> None:
    """What could give too little is left out with its bound; conditions are answered."""
    diagnosis = Diagnosis(
        findings=[],
        will_not_help=[],
        step_seconds=1.0,
        phases={"data_wait": 0.5, "forward": 0.245, "backward": 0.25, "optimizer": 0.005},
        throughput=None,
        budget=Budget(wall=1, startup=0, warmup=0, steps=1, validation=0, checkpoint=0, logging=0, end=0),
        steady_from=0,
        steady_steps=10,
    )
    facts = Facts(device="cpu", optimizer="Adam", workers=0, iterable_dataset=False, convolutions=0, threads=4)
    situation = Situation(diagnosis=diagnosis, facts=facts, environment=CPU, machine=Machine())
    asked = Change(name="mine", value="1", title="mine", numerics="trajectory", edits={"mine": 1})
    found = by_id(foreseen(situation, [asked], least_gain=0.02, other_trainings=False))
    # After all that trains the same, where it is another training.
    assert list(found)[-1] == "mine=1"
    same = msgspec.structs.replace(asked, numerics="exact")
    assert next(iter(by_id(foreseen(situation, [same], least_gain=0.02, other_trainings=False)))) == "mine=1"
    assert found["mine=1"].prospect == "tried"
    assert (found["workers=1"].prospect, found["workers=1"].why) == ("tried", "at most 2.00x")
    assert found["optimizer=fused"].prospect == "not tried"
    assert "at most 1.005x" in found["optimizer=fused"].why
    assert "layout=channels_last" not in found
    assert found["precision=fp16"].why == "there is no GPU here"


def test_pairs_that_exclude_each_other() -> None:
    """Each pair of names once with its reason, of what may be tried alone."""
    pairs = excluded(list(of().values()))
    assert [each.why for each in pairs if set(each.names) == {"compile", "trim_padding"}] == [
        "each new length is compiled anew, or with dynamic shapes"
    ]
    assert not [each for each in pairs if "no_sync" in each.names]
