"""``hotlap estimate -- python train.py``: a script that nobody has prepared, gone through before it runs.

command ──> follow_script (a process; hotlap.estimate.script is in it) ──> summed, verdict     the script as it is
        ──> again, with other batch sizes of its loader                ──> the largest that fits, or every card

What it writes meanwhile goes to a directory that is deleted.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hotlap.errors import TrainingFailed, UsageError
from hotlap.estimate.allocator import replay
from hotlap.estimate.at_peak import at_peak
from hotlap.estimate.cards import Precision
from hotlap.estimate.device import Device
from hotlap.estimate.every_card import every_card
from hotlap.estimate.fitting import Need, largest_batch, needs, reserved_within, verdict
from hotlap.estimate.rates import ARITHMETIC
from hotlap.estimate.summing import on_card, summed
from hotlap.estimate.timeline import Block, Kind, Timeline
from hotlap.estimate.times import Timer
from hotlap.estimate.times import on_card as timer_of
from hotlap.estimate.workspace import of_ranks
from hotlap.launch import Plan, Training
from hotlap.launch.ending import last_words
from hotlap.records import Environment, Horizon, MemoryEstimate, ScriptStep, Setting, StepTime, TrainingEstimate, Work

#: As hotlap.estimate.script.telling names it, which imports torch.
_FILE = "step.json"
_FLOAT_BYTES = 4
#: Samples and bytes of a batch that are made for the sake of an estimate.
_MOST_SAMPLES, _MOST_BYTES = 2**16, 2**31
#: The card that a script sees that is asked about all of them.
_ANY = Device(name="NVIDIA A100-SXM4-80GB", memory=80 * 2**30, capability=(8, 0))
_LAUNCHERS = ("torchrun", "torch.distributed.run", "torch.distributed.launch", "accelerate", "deepspeed", "mpirun")
_PRECISIONS: dict[str, Precision] = {"float16": "fp16", "bfloat16": "bf16"}

Say = Callable[[str], None]


class FollowedScript(NamedTuple):
    timeline: Timeline
    work: Work
    #: What else the script's process told; see ``Cycles``.
    told: dict[str, Any]
    seconds: float


class Asked(NamedTuple):
    """A command, and what its process is to be like."""

    command: list[str]
    known_environment: Environment


def script_name(command: list[str]) -> str:
    """The script of a command, as it is called in a sentence."""
    module = _module(command)
    named = next((word for word in command if word.endswith(".py")), command[0])
    return module or Path(named).name


def _module(command: list[str]) -> str | None:
    """That of ``python -m``: what comes after it, and after the script, are arguments of the training."""
    for option, word in pairwise(command[1:]):
        if option == "-m":
            return word
        if not option.startswith("-"):
            break
    return None


def check_command(command: list[str]) -> None:
    """Raises UsageError for one that starts several ranks: an estimate is of one."""
    for word in (command[0], _module(command)):
        if word is not None and Path(word).name in _LAUNCHERS:
            raise UsageError(
                f"{Path(word).name} starts several processes, and an estimate goes through one: give the script "
                "itself, as in `hotlap estimate --ranks 2 -- python train.py`; --ranks adds what each GPU needs besides"
            )


def follow_script(asked: Asked, device: Device | None, batch_size: int | None = None) -> FollowedScript:
    """Go through two steps of a script; ``device``: None is this machine's processor.

    Raises:
        TrainingFailed: it ended before, or what it does cannot be imitated.
    """
    began, name = time.monotonic(), script_name(asked.command)
    plan = Plan(
        contained=True,
        silent=True,
        variables={"CUDA_VISIBLE_DEVICES": ""},
        imitated={
            "on_card": device is not None,
            "name": None if device is None else device.name,
            "memory": None if device is None else device.memory,
            "capability": None if device is None else device.capability,
            "batch_size": batch_size,
        },
    )
    with tempfile.TemporaryDirectory(prefix="hotlap-estimate-") as directory:
        run = Path(directory) / "run"
        with Training(asked.command, run, plan, known_environment=asked.known_environment) as training:
            training.wait()
        told = _told(run / _FILE)
        said = training.tail()
        status = training.exit_status
    if told is None and status:
        raise TrainingFailed(f"{name} ended before its second step (exit code {status}): {last_words(said)}")
    if told is None:
        raise TrainingFailed(
            f"{name} ended and no process of it trained with torch: give a command that starts a training in Python"
        )
    if "error" in told:
        at = f" ({told['at']})" if told["at"] else ""
        words = last_words(said) if told["by_itself"] and said.strip() else ""
        raise TrainingFailed(f"{name}{at}: {told['error']}{words and f'; {words}'}")
    timeline = Timeline([Block(*block) for block in told.pop("blocks")], told.pop("events"))
    work = Work.of(told.pop("calls"), told.pop("unknown"))
    return FollowedScript(timeline, work, told, time.monotonic() - began)


def _told(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return found


def estimate_script(
    asked: Asked,
    device: Device | None,
    *,
    batch_size: int | None = None,
    ranks: int = 1,
    samples: int | None = None,
    price: float | None = None,
    say: Say = lambda _: None,
) -> TrainingEstimate:
    """Estimate a script on a card, or on every card of the catalogue (None). Raises as ``follow_script``."""
    began = time.monotonic()
    followed = _Followed(asked, device or _ANY, say)
    here = followed(batch_size)
    _changed_as_asked(asked, here, batch_size)
    own = here.told["batch_size"]
    gradients = _FLOAT_BYTES * sum(here.told["parameters"])
    capability = None if device is None else device.capability
    known = summed(here.timeline, device="cuda", capability=capability, seconds=here.seconds)
    found = _found(asked, here, known, ranks=ranks, samples=samples, price=price)
    limit = _limit(here)
    why = _fixed(here, limit)
    need = followed.need
    changed: dict[str, Any]
    if device is None:
        timelines = {own: on_card(here.timeline)}
        if why is None:
            other = 2 * own if 2 * own <= limit else own // 2
            try:
                timelines[other] = on_card(followed(other).timeline)
            except TrainingFailed as error:
                why = _other_size(error)
        tf32 = here.told["tf32"]

        def step_of(card: Any) -> StepTime | None:
            timer = timer_of(card, tf32=tf32)
            return None if timer is None else timer(here.work)

        shared = of_ranks(gradients) if ranks > 1 else []
        changed = {
            "cards": every_card(timelines, limit, gradients, ranks, step_of),
            "memory": msgspec.structs.replace(known, allowances=[*known.allowances, *shared]),
        }
    else:
        room, timeline = device.room(gradients, ranks), on_card(here.timeline)
        replayed = replay(timeline)
        found_verdict = verdict(timeline, replayed, room)
        timer = None if device.card is None else timer_of(device.card, tf32=here.told["tf32"])
        followed.keep(own, here)
        changed = {
            "card": device.name,
            "capacity": device.memory,
            "verdict": found_verdict,
            "reserved": reserved_within(timeline, replayed, room, found_verdict),
            "seconds_at_peak": at_peak(here.told["flops"], device.card, _precisions(here)),
            "time": None if timer is None else timer(here.work),
            "memory": msgspec.structs.replace(known, allowances=room.allowances),
        }
        if why is None:
            try:
                changed["largest"] = largest_batch(own, need(room.left("most")), room.left("most"), limit)
            except TrainingFailed as error:
                why = _other_size(error)
    assert found.script is not None
    return msgspec.structs.replace(
        found,
        **changed,
        script=msgspec.structs.replace(found.script, fixed=why),
        seconds=time.monotonic() - began,
    )


def estimate_script_here(
    asked: Asked,
    *,
    memory: int,
    timer: Timer | None,
    machine: str,
    batch_size: int | None = None,
    samples: int | None = None,
    price: float | None = None,
    say: Say = lambda _: None,
) -> TrainingEstimate:
    """Estimate a script on this machine's processor, which may hold so many bytes. Raises as ``follow_script``."""
    began = time.monotonic()
    here = _Followed(asked, None, say)(batch_size)
    _changed_as_asked(asked, here, batch_size)
    known = summed(here.timeline, device="cpu", capability=None, seconds=here.seconds)
    return msgspec.structs.replace(
        _found(asked, here, known, ranks=1, samples=samples, price=price),
        card=machine,
        capacity=memory,
        verdict="fits" if known.allocated <= memory else "does not fit",
        time=None if timer is None else timer(here.work),
        seconds=time.monotonic() - began,
    )


def _other_size(error: TrainingFailed) -> str:
    return f"with another batch size it did not get through: {error}"


class _Followed:
    """A script with other batch sizes, each gone through once."""

    def __init__(self, asked: Asked, device: Device | None, say: Say) -> None:
        self._asked, self._device, self._say = asked, device, say
        self._known: dict[int | None, FollowedScript] = {}

    def __call__(self, batch: int | None) -> FollowedScript:
        if batch not in self._known:
            size = "" if batch is None else f" with a batch of {batch}"
            self._say(f"going through a step of {script_name(self._asked.command)}{size}")
            self.keep(batch, follow_script(self._asked, self._device, batch))
        return self._known[batch]

    def keep(self, batch: int | None, followed: FollowedScript) -> None:
        self._known[batch] = followed

    def need(self, capacity: int) -> Callable[[int], Need]:
        return needs(lambda batch: on_card(self(batch).timeline), capacity)


def _found(
    asked: Asked, here: FollowedScript, known: MemoryEstimate, *, ranks: int, samples: int | None, price: float | None
) -> TrainingEstimate:
    told = here.told
    together = told["batch_size"] * told["micro_batches"] * ranks
    of_epoch = told["samples"] if samples is None else samples
    source = "its loader does not say how many there are: give --samples"
    ahead = Horizon(
        samples=together,
        epoch_samples=of_epoch,
        epoch_from="" if of_epoch is not None else source,
        steps=None,
        steps_from="the script decides how long it trains",
        price=price,
        ranks=ranks,
    )
    return TrainingEstimate(
        workload=script_name(asked.command),
        script=ScriptStep(
            steps=told["steps"],
            optimizers=told["optimizers"],
            late=told["late"],
            answers=told["answers"],
            saves=told["saves"],
        ),
        batch_size=told["batch_size"],
        accumulation_steps=told["micro_batches"],
        sample=told["sample"],
        ranks=ranks,
        parameters=sum(told["parameters"]),
        setting=Setting(
            checkpointing="on" if told["recomputes"] else "off",
            precision=_precision(here),
            optimizer=" and ".join(dict.fromkeys(told["optimizers"])),
        ),
        memory=known,
        flops=here.work.flops,
        horizon=ahead,
        compiled=told["compiled"],
        seconds=0.0,
    )


def _precision(here: FollowedScript) -> str:
    """In which most of it is computed."""
    sums: dict[str, float] = {}
    for call in here.work.calls:
        if call.kind in ARITHMETIC:
            sums[call.dtype] = sums.get(call.dtype, 0.0) + call.flops * call.count
    return max(sums, key=sums.__getitem__, default="float32")


def _precisions(here: FollowedScript) -> dict[Kind, Precision]:
    low = _PRECISIONS.get(_precision(here))
    if low is not None:
        return {"convolution": low, "product": low}
    return {"convolution": "tf32", "product": "tf32" if here.told["tf32"] else "fp32"}


def _changed_as_asked(asked: Asked, here: FollowedScript, batch_size: int | None) -> None:
    """Raises UsageError where the batch size is not that of a loader."""
    if batch_size is not None and not here.told["changeable"]:
        raise UsageError(
            f"--batch-size {batch_size}: {script_name(asked.command)} trains on batches whose size no single "
            "DataLoader decides, so leave it out, and change it in the script"
        )
    if batch_size is not None and here.told["batch_size"] != batch_size:
        raise UsageError(f"--batch-size {batch_size}: the data set has {here.told['samples']} samples")


def _limit(here: FollowedScript) -> int:
    """The largest batch that is tried: its data set has two steps of it, and it is worth making."""
    samples = here.told["samples"]
    numbers: list[int] = [] if samples is None else [max(samples // (2 * here.told["micro_batches"]), 1)]
    bytes_of_sample = max(_FLOAT_BYTES * sum(_numbers(shape) for shape in here.told["sample"]), 1)
    own: int = here.told["batch_size"]
    return max(min([*numbers, _MOST_SAMPLES, max(_MOST_BYTES // bytes_of_sample, 1)]), own)


def _numbers(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _fixed(here: FollowedScript, limit: int) -> str | None:
    """Why there is no other batch size to go through, None where there is."""
    if not here.told["changeable"]:
        return "the batches are not those of one DataLoader with a batch_size of its own"
    if limit <= 1:
        return "its data set is too small for another"
    return None
