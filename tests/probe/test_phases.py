"""The probe in real trainings: what it records is what the script knows of itself, and the script does not notice."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from recordings import Recorded, Told

from hotlap.launch.rundir import read_lines
from hotlap.records import Step

Record = Callable[..., Recorded]

#: Scripts whose every step can be compared, with the phases that must be there in the middle of a step.
LOOPS = {
    "accumulation": ("data_wait", "forward", "loss", "backward", "gradient_clip", "optimizer"),
    "validation": ("data_wait", "forward", "loss", "backward", "optimizer", "logging"),
    "workers fork": ("data_wait", "forward", "loss", "backward", "optimizer"),
    "workers spawn": ("data_wait", "forward", "loss", "backward", "optimizer"),
    "recomputed": ("forward", "loss", "backward", "recompute", "optimizer"),
    "closures": ("data_wait", "forward", "loss", "backward", "optimizer"),
    "gan": ("data_wait", "forward", "loss", "backward", "optimizer"),
    "by_hand": ("data_wait", "forward", "loss", "backward", "optimizer"),
    "compiled module": ("forward", "loss", "backward", "optimizer"),
    "compiled wrapped": ("forward", "loss", "backward", "optimizer"),
    "compiled function": ("forward", "backward", "optimizer"),
    "precision": ("data_wait", "forward", "loss", "backward", "gradient_clip", "optimizer"),
    "replay": ("forward", "loss", "backward", "optimizer"),
    "loaders": ("data_wait", "forward", "loss", "backward", "optimizer"),
    "thread": ("data_wait", "forward", "loss", "backward", "optimizer"),
}
#: Phases that have no place in a training that does not do it.
SPECIAL = {"validation", "checkpoint", "logging", "recompute", "gradient_clip", "gradient_sync", "host_to_device"}


@pytest.mark.parametrize("script", LOOPS)
def test_a_loop_is_recorded_as_it_was(script: str, record: Record, without_probe: Callable[..., Told]) -> None:
    """Steps, micro-batches, samples and losses are the script's own; the losses are those without the probe."""
    found = record(*script.split())
    steps, told = found.run.steps, found.told
    assert told is not None, found.output
    assert found.run.info.outcome == "finished"
    assert [step.loss for step in steps] == [step["loss"] for step in told.steps]
    assert [step.samples for step in steps] == [step["samples"] for step in told.steps]
    assert [step.micro_batches for step in steps] == [step["micro_batches"] for step in told.steps]
    assert [step.i for step in steps] == list(range(len(steps)))
    alone = without_probe(script, tuple(LOOPS))
    assert [step["loss"] for step in told.steps] == [step["loss"] for step in alone.steps]
    closed(steps)
    agrees_with_stopwatch(steps, told)
    present = {phase for step in steps[1:] for phase, seconds in step.phases.items() if seconds > 0}
    assert set(LOOPS[script]) <= present
    assert not present & SPECIAL - set(LOOPS[script]) - (
        {"validation", "checkpoint"} if script == "validation" else set()
    )
    assert found.run.facts.probe_seconds is not None
    SPECIALTIES.get(script.split()[0], lambda found: None)(found)


def closed(steps: list[Step]) -> None:
    """Leaves add up to their step, and each step begins where the one before it ended."""
    for step in steps:
        assert sum(step.phases.values()) == pytest.approx(step.wall, abs=1e-6)
        assert min(step.phases.values()) >= 0
    for step, following in pairwise(steps):
        assert step.t + step.wall + step.paused == pytest.approx(following.t, abs=1e-6)


def agrees_with_stopwatch(steps: list[Step], told: Told) -> None:
    """Both clocks are the machine's: nothing between the first step and the last is missing or counted twice."""
    recorded = sum(step.wall for step in steps)
    before = steps[0].t - told.began
    after = told.began + told.seconds - (steps[-1].t + steps[-1].wall)
    assert before >= 0
    assert after >= 0
    assert before + recorded + after == pytest.approx(told.seconds, rel=0.01)


def validation(found: Recorded) -> None:
    """Validation is in the last step of an epoch, with the waits of its loader; the sanity check is in none."""
    for step in found.run.steps:
        last = step.i % 5 == 4 and step.i < 24
        assert ("validation" in step.phases) == last
        assert ("checkpoint" in step.phases) == last
    assert found.run.facts.batch_size == 4
    assert found.run.facts.workers == 0


def workers(found: Recorded) -> None:
    """The fetches happened in other processes, and their random draws too."""
    facts = found.run.facts
    assert (facts.workers, facts.persistent_workers, facts.prefetch_factor) == (2, True, 2)
    assert facts.fetch_seconds is not None
    assert facts.fetch_seconds > 0
    assert (facts.fetch_uses_rng, facts.samples_use_rng) == (True, True)


def precision(found: Recorded) -> None:
    """Autocast is seen where the script switches it on, inside its model; so are the sizes of what it trains."""
    facts = found.run.facts
    assert (facts.autocast, facts.parameter_dtype, facts.compiled) == ("bfloat16", "float32", False)
    assert (facts.parameters, facts.parameter_tensors) == (16 * 128 + 128 + 128 * 128 + 128 + 128 + 1, 6)
    assert (facts.device, facts.threads, facts.world_size, facts.batch_size) == ("cpu", 1, 1, 4)
    assert facts.module_calls == 7
    assert facts.checkpointing is False


def gan(found: Recorded) -> None:
    """Parameters of all networks that are trained count, those of a judge in eval mode do not."""
    assert found.run.facts.parameter_tensors == 12
    assert found.run.facts.optimizer == "Adam"


def recomputed(found: Recorded) -> None:
    """Its function was imported by name before torch."""
    assert found.run.facts.checkpointing is True


def compiled(found: Recorded) -> None:
    """Nothing of the probe is traced: one graph without a break."""
    assert found.run.facts.compiled is True
    assert found.run.facts.parameter_tensors == 6
    assert found.told is not None
    assert found.told.more == {"graphs": 1, "breaks": 0}


def by_hand(found: Recorded) -> None:
    """What the script marks is recorded under its names, and its metric with the step that it belongs to."""
    assert all(step.phases["data_wait"] >= 0.001 for step in found.run.steps)
    assert [(metric.name, metric.value, metric.step) for metric in found.run.metrics] == [("quality", 0.5, 9)]


def thread(found: Recorded) -> None:
    """What another thread calls belongs to no step, nor to the model."""
    assert found.run.facts.parameter_tensors == 6


#: What is special about a script, by the first word of its name.
SPECIALTIES: dict[str, Callable[[Recorded], None]] = {
    check.__name__: check for check in (validation, workers, precision, gan, recomputed, compiled, by_hand, thread)
}


def test_leaving_at_once(record: Record) -> None:
    """A process that leaves by ``os._exit``, without any clean-up, loses no step."""
    run = record("ending", "exit").run
    assert len(run.steps) == 40
    closed(run.steps)


def test_ending_by_an_exception(record: Record) -> None:
    """The step after which the script failed is the last one."""
    found = record("ending", "exception")
    assert found.run.info.outcome == "crashed"
    assert found.run.info.reason == "exit code 1: RuntimeError: planted"
    assert len(found.run.steps) == 10


def test_children_record_nothing(record: Record) -> None:
    """Trainings in processes that the script starts are none of this one's steps."""
    found = record("ending", "children")
    assert found.told is not None
    assert [step.loss for step in found.run.steps] == [step["loss"] for step in found.told.steps]
    assert [path.name for path in found.directory.glob("steps*")] == ["steps.jsonl"]


@pytest.mark.parametrize("how", ["torchrun", "spawn"])
def test_two_ranks(record: Record, how: str) -> None:
    """Rank 0 is the record of the run, whoever starts the ranks; the others keep theirs beside it."""
    found = two_ranks(record, how)
    assert found.run.info.outcome == "finished", found.output
    assert found.told is not None
    assert [step.loss for step in found.run.steps] == [step["loss"] for step in found.told.steps]
    assert found.run.facts.world_size == 2
    closed(found.run.steps)
    other = read_lines(found.directory / "steps.rank1.jsonl")
    assert sum(line["k"] == "step" for line in other) == 20


def two_ranks(record: Record, how: str) -> Recorded:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    if how == "spawn":
        return record("ranks", "spawn", port)
    script = str(Path(__file__).parent / "scripts" / "ranks.py")
    rendezvous = ["--nnodes=1", "--nproc-per-node=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    return record("-m", "torch.distributed.run", *rendezvous, script)


def test_the_reference_trainer(record: Record, tmp_path: Path) -> None:
    """Losses are those of its own log; validation without a loader and checkpoints are where they happen."""
    config = tmp_path / "tiny.yaml"
    config.write_text(
        f"output_dir: {tmp_path / 'out'}\nsteps: 6\nbatch_size: 2\naccumulation_steps: 2\npatch_size: 16\n"
        "base_channels: 8\nnum_blocks: 2\nlog_every: 1\nvalidate_every: 3\nsave_every: 3\ndevice: cpu\n"
    )
    found = record("-m", "hotlap", "train", str(config))
    steps = found.run.steps
    assert found.run.info.outcome == "finished", found.output
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    # Two micro-batches, each of which adds half of its loss.
    assert [step.loss for step in steps if step.loss is not None] == pytest.approx(
        [line["loss"] for line in log if "loss" in line], rel=1e-6
    )
    assert [(step.micro_batches, step.samples) for step in steps] == [(2, 4)] * 6
    assert [step.i for step in steps if "validation" in step.phases] == [2]
    assert [step.i for step in steps if "checkpoint" in step.phases] == [2]
    assert {metric.name for metric in found.run.metrics} >= {"psnr"}
    closed(steps)
