"""On which cards a training computes, where the driver's numbers of processes do not tell.

In a container the driver names processes by numbers of the host, or none at all, and it may refuse to name any. Then
a training that has loaded CUDA is taken to compute on the cards that it may see: on those with a process, if there is
one that is named.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from hotlap.watch.sample import Gpu, computing

#: Of the namespace of processes that the machine began with, as the kernel numbers it (``PROC_PID_INIT_INO``).
_FIRST_NAMESPACE = 0xEFFFFFFC


class Guess:
    """No guess any more from the first look on at which the driver named a process of the training."""

    def __init__(self) -> None:
        self._named = False

    def look(self, gpus: Sequence[Gpu], visible: Collection[str | None]) -> list[int]:
        """Return the numbers of cards.

        ``visible``: of each process of the training that has loaded CUDA, what its CUDA_VISIBLE_DEVICES is, None where
        it has none.
        """
        self._named = self._named or bool(computing(gpus))
        if self._named or not visible or _told(gpus):
            return []
        shown = {index for words in visible for index in _shown(words, gpus)}
        named = any(gpu.all_processes for gpu in gpus)
        return [gpu.index for gpu in gpus if gpu.index in shown and (gpu.all_processes or not named)]


def _told(gpus: Sequence[Gpu]) -> bool:
    """Whether the driver's numbers are those of this system, so that one of the training would have been known."""
    pids = {process.pid for gpu in gpus for process in gpu.all_processes}
    if in_first_namespace():  # one that is not there any more has just ended
        return bool(pids) or any(gpu.processes is not None for gpu in gpus)
    return any(_exists(pid) for pid in pids)


def _exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)  # does nothing; /proc may hide what belongs to other users
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def in_first_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _FIRST_NAMESPACE
    except OSError:
        return False


def _shown(words: str | None, gpus: Sequence[Gpu]) -> set[int]:
    """The cards that a value of CUDA_VISIBLE_DEVICES names; CUDA reads it up to the first word that names none."""
    if words is None:
        return {gpu.index for gpu in gpus}
    found: set[int] = set()
    for word in words.split(","):
        named = [gpu.index for gpu in gpus if _is(gpu, word.strip())]
        if not named:
            break
        found.update(named)
    return found


def _is(gpu: Gpu, word: str) -> bool:
    if word.startswith("MIG-"):
        return bool(gpu.mig)
    if word.startswith("GPU-"):
        return gpu.uuid is not None and gpu.uuid.startswith(word)
    return word == str(gpu.index)
