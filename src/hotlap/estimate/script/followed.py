"""Start a script, have two steps of its training followed without memory, and read back what was found."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hotlap.errors import TrainingFailed, UsageError
from hotlap.estimate.device import Device
from hotlap.estimate.imitation import CannotBeTraced
from hotlap.estimate.script.names import RESULT
from hotlap.estimate.timeline import Block, Timeline
from hotlap.estimate.trained import Followed
from hotlap.records import Setting, Work

#: What starts ranks, each of which would follow itself.
_LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "horovodrun", "mpirun")


class FollowedScript(NamedTuple):
    followed: Followed
    setting: Setting
    tf32: bool
    batch_size: int
    micro_batches: int
    #: Which loader's batches they are, by the order in which loaders were made; None: their size cannot be changed.
    loader: int | None
    #: Of its data set.
    samples: int | None
    #: Steps that were followed: one, where the training has no more.
    steps: int
    #: It was handed to torch.compile, and went uncompiled.
    compiled: bool
    notes: list[str]


class Launch:
    """Goes through a command with other micro-batches; ``run`` starts it and waits for its end."""

    def __init__(
        self,
        command: Sequence[str],
        device: Device | None,
        run: Callable[[list[str], Path, dict[str, Any]], Ended],
        say: Callable[[str], None] = lambda _: None,
        *,
        on_cpu: bool = False,
    ) -> None:
        _check(command)
        self._command, self._run, self._say = list(command), run, say
        self._card = None if on_cpu else _shown(device)
        self._loader: int | None = None

    def __call__(self, batch: int | None = None) -> FollowedScript:
        """Raises ``CannotBeTraced``, and ``TrainingFailed`` where the script ends before it trains."""
        self._say("going through two steps" + (f" with a micro-batch of {batch}" if batch else ""))
        asked = {"card": self._card, "batch_size": batch, "loader": self._loader}
        with tempfile.TemporaryDirectory(prefix="hotlap-") as folder:
            ended = self._run(self._command, Path(folder) / "run", asked)
            path = Path(folder) / "run" / RESULT
            found = json.loads(path.read_text()) if path.exists() else None
        if found is None:
            raise TrainingFailed(_without_a_step(ended))
        if "error" in found:
            where = f"{found['where']}: " if found["where"] else ""
            kind = CannotBeTraced if found["cannot"] else TrainingFailed
            imitated = "" if found["cannot"] else ", while its tensors had no values"
            raise kind(f"{where}{found['error']}{imitated}")
        self._loader = self._loader or found["loader"]
        return _read(found)


class Ended(NamedTuple):
    """How a script ended: in a word, why, and the last lines that it wrote."""

    outcome: str
    reason: str
    tail: str


def _check(command: Sequence[str]) -> None:
    name = os.path.basename(command[0])
    if name in _LAUNCHERS or "torch.distributed.run" in command or "torch.distributed.launch" in command:
        raise UsageError(
            f"{name} starts several processes, and one is followed: give the script itself, as in `hotlap estimate -- "
            "python train.py`, and --ranks for what several take on each GPU"
        )


def _shown(device: Device | None) -> dict[str, Any]:
    """What the script is told about the card; of none in particular an A100 with much memory."""
    if device is None:
        return {"name": "NVIDIA A100-SXM4-80GB", "memory": 80 * 2**30, "capability": (8, 0)}
    return {"name": device.name, "memory": device.memory, "capability": device.capability or (8, 0)}


def _without_a_step(ended: Ended) -> str:
    if ended.outcome == "finished":
        return (
            "the script ended without training: no optimizer of torch.optim was there when a batch came or a network "
            "was called; give the command that trains"
        )
    last = ended.tail.strip().rpartition("\n")[2]
    return f"the script ended before its training began: {last or ended.reason}"


def _read(found: dict[str, Any]) -> FollowedScript:
    followed = Followed(
        timeline=Timeline([Block(*each) for each in found["blocks"]], found["events"]),
        parameters=found["parameters"],
        sample=found["sample"],
        flops=found["flops"],
        work=Work.of(found["work"], found["unknown"]),
        seconds=found["seconds"],
    )
    setting = Setting(
        checkpointing="on" if found["checkpointing"] else "off",
        precision=found["precision"],
        optimizer=found["optimizer"],
    )
    notes = [each for each in found["notes"] if isinstance(each, str)]
    reads = [each for each in found["notes"] if not isinstance(each, str)]
    return FollowedScript(
        followed=followed,
        setting=setting,
        tf32=found["tf32"],
        batch_size=found["batch_size"],
        micro_batches=found["micro_batches"],
        loader=found["loader"],
        samples=found["samples"],
        steps=found["steps"],
        compiled=found["compiled"],
        notes=[*notes, *_read_by(reads)],
    )


def _read_by(reads: list[list[Any]]) -> list[str]:
    """What the script was told where it read values, integers first: a shape may depend on them."""
    said = []
    for what, told in (
        ("an integer", "1"),
        ("all values of a tensor", "zeros"),
        ("a condition", "False"),
        ("a number", "1.0"),
    ):
        lines = [where for _, where, asked, _ in reads if asked == what]
        if not lines:
            continue
        shown = ", ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")
        matters = "; a shape that depends on it is another than in the training" if what == "an integer" else ""
        said.append(f"{what} was read of tensors without values, and was told to be {told}{matters}: {shown}")
    return said
