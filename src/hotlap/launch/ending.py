"""How a training ended, read from its exit, its lines and the end of its output."""

from __future__ import annotations

import re
from typing import Any, Literal, TypedDict

from hotlap.errors import EXIT_INTERRUPTED
from hotlap.launch.plan import Limits
from hotlap.records import Outcome

#: Why a training was ended from outside, None where it ended by itself.
Reason = Literal["stopped", "late", "hung", "memory_limit", "interrupted", "guardian_gone"]

_OUT_OF_MEMORY = ("OutOfMemoryError", "CUDA out of memory", "DefaultCPUAllocator: can't allocate memory", "MemoryError")
#: The last line of a traceback, of any rank.
_EXCEPTION = re.compile(
    r"(?P<rank>\[rank\d+\]:\s*)?(?P<text>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b.*)"
)
#: Colours and moves of the cursor.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?)")
#: What torchrun says when a rank has failed; the rank's own error stands above it.
_LAUNCHER = "torch.distributed.elastic"


class Exit(TypedDict):
    """What the guardian reports when a training is over."""

    #: As in ``subprocess``: negative is the number of the signal; None when it was ended from outside.
    exit: int | None
    #: Most bytes resident at once, in all processes together.
    peak: int | None
    reason: Reason | None
    #: Monotonic seconds.
    ended: float


def shell_status(end: Exit) -> int:
    """The exit status as a shell gives it: 128 and the signal's number for a death by signal."""
    code = end["exit"]
    if code is None:
        return {"stopped": 0, "interrupted": EXIT_INTERRUPTED}.get(end["reason"] or "", 1)
    return 128 - code if code < 0 else code


def outcome_of(
    end: Exit, lines: list[dict[str, Any]], output: str, limits: Limits, ended_for_memory: bool | None = None
) -> tuple[Outcome, str | None]:
    """Return the outcome and, for a bad one, the reason in a sentence.

    ``ended_for_memory``: whether the kernel has killed any process for want of memory meanwhile, None if unknown.
    """
    if end["reason"] == "interrupted":
        return "interrupted", "interrupted by the user"
    if end["reason"] == "hung":
        return "hung", f"no step and no end for {limits.silence:.0f} s"
    if end["reason"] == "memory_limit":
        return "out_of_memory", f"its processes held more than the limit of {(limits.memory or 0) / 2**30:.1f} GiB"
    if end["reason"] == "guardian_gone":
        return "crashed", "the process that watched it was killed, and it with it"
    # With several ranks the others may fail, or say that they are finished, after rank 0 has left on purpose.
    if end["reason"] in ("stopped", "late") or any(
        line["k"] == "end" and line.get("outcome") == "stopped" for line in lines
    ):
        return "stopped", None
    if end["exit"] == 0:
        return "finished", None
    if any(sign in output for sign in _OUT_OF_MEMORY):
        return "out_of_memory", last_words(output)
    if end["exit"] == -9 and ended_for_memory is not False:
        return "out_of_memory", "it was killed (SIGKILL), most often by the kernel for want of memory"
    if end["exit"] == -9:
        return "crashed", "it was killed (SIGKILL) from outside, and not by the kernel for want of memory"
    code = end["exit"]
    how = f"exit code {code}" if code is None or code > 0 else f"killed by signal {-code}"
    return "crashed", f"{how}: {last_words(output)}"


def last_words(output: str) -> str:
    """The line that says what went wrong: the exception, of the rank that failed first, else the last line."""
    lines = [line.strip() for line in _ESCAPES.sub("", output).splitlines() if line.strip()]
    found = [match for match in map(_EXCEPTION.fullmatch, lines) if match and not match["text"].startswith(_LAUNCHER)]
    # The other ranks only miss the one that is gone. Within one rank the last of a chain counts.
    texts = [match["text"] for match in found if match["rank"] == found[0]["rank"]]
    if texts or not lines:
        return (texts or ["it printed nothing"])[-1][:300]
    return f"its last line was: {lines[-1][:300]}"


def kills_for_memory() -> int | None:
    """How many processes of this machine the kernel has killed for want of memory since it started."""
    try:
        with open("/proc/vmstat") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return None
