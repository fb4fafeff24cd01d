"""Starts one training command and answers for its end. Run as a script: ``python -S guardian.py SPEC``.

    hotlap ──pipe──> guardian ──> training command, in a session of its own ──> its workers, ranks, ...

The guardian is the subreaper of everything below it, so that nothing gets away. When hotlap closes the
pipe or dies, even by SIGKILL, every process below the guardian is killed, stopped ones too. When the
guardian dies, the kernel kills the training command. It imports the standard library alone and starts
in a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the pipe alone has to do
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, parents first, from /proc; empty where there is none."""
    children = _children if os.path.exists(f"/proc/{root}/task/{root}/children") else _scan()
    found = [root]
    for process in found:  # grows while it is walked
        found += children(process)
    return found[1:]


def _children(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{process}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found


def _scan() -> Callable[[int], list[int]]:
    """For kernels that keep no lists of children: look at every process of the machine."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{entry}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    return lambda process: children.get(process, [])


def state(pid: int) -> str:
    """The letter that the kernel gives: T is stopped, Z dead, empty gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def resident(pids: list[int]) -> int:
    """Bytes resident in these processes that are not shared with files.

    An upper bound: pages that forked workers share with their parent are counted for each of them.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/statm") as file:
            fields = file.read().split()
            total += (int(fields[1]) - int(fields[2])) * page
    return total


def proportional(pids: list[int]) -> int:
    """The same, with shared pages counted once. The kernel walks every page for it, so it is asked seldom."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
    return total


def signal_all(group: int, number: int) -> list[int]:
    """Signal the training's group, and what has left it for a session of its own (ranks, daemons)."""
    below = descendants(os.getpid())
    if below or not os.path.isdir("/proc/self"):  # else the group's number may be another's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for pid in below:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return below


def stop_all(group: int) -> None:
    """Return when every process has really stopped, those that were started meanwhile too."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if all(state(pid) in ("T", "t", "Z", "X", "") for pid in signal_all(group, signal.SIGSTOP)):
            return
        time.sleep(0.001)


def kill_all(group: int) -> None:
    """Kill everything below this process, until nothing is left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        signal_all(group, signal.SIGKILL)
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                return
        time.sleep(0.005)


def main() -> int:
    spec = json.loads(sys.argv[1])
    _prctl(_PR_SET_PDEATHSIG, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Whatever is sent to hotlap and its neighbours, this process ends last.
    usual = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    guardian = os.getpid()

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number, handler in usual.items():
            signal.signal(number, handler)
        if os.getppid() != guardian:
            os._exit(1)

    control, report = spec["control"], spec["report"]
    poll = select.poll()
    poll.register(control, select.POLLIN | select.POLLHUP)
    output = spec["output_pipe"]
    if spec["output"]:
        output = os.open(spec["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        child = subprocess.Popen(
            spec["command"],
            stdin=subprocess.DEVNULL if output is not None else None,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            start_new_session=True,
            preexec_fn=prepare,
            cwd=spec["cwd"],
        )
    except OSError as error:
        where = "" if error.filename in (None, spec["command"][0]) else f": {error.filename}"
        os.write(report, json.dumps({"error": f"{error.strerror}{where}"}).encode() + b"\n")
        return 1
    if output is not None:
        os.close(output)
    os.write(report, json.dumps({"pid": child.pid}).encode() + b"\n")
    limit, peak, next_look = spec["memory_limit"], 0, 0.0
    frozen, reason = False, None
    while child.poll() is None:
        for _, event in poll.poll(20):
            words = os.read(control, 4096) if event & select.POLLIN else b""
            if not words:  # the pipe is closed: hotlap is done, or gone
                kill_all(child.pid)
                return 1
            for word in words.split():
                if word == b"interrupt":
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGINT)
                elif word == b"stop":
                    stop_all(child.pid)
                    os.write(report, b'{"stopped": true}\n')
                elif word == b"continue":
                    signal_all(child.pid, signal.SIGCONT)
                frozen = word == b"stop"
        now = time.monotonic()
        if now >= next_look and not frozen:
            next_look = now + 0.2
            below = descendants(guardian)
            memory = resident(below)
            if limit and memory > limit:
                # Before ending it: count what its processes share once, if this kernel tells.
                memory = proportional(below) or memory
            peak = max(peak, memory)
            if limit and memory > limit:
                reason = "memory_limit"
                kill_all(child.pid)
                break
    ended = time.perf_counter()
    code = child.returncode if child.returncode is not None else -signal.SIGKILL
    kill_all(child.pid)
    os.write(report, json.dumps({"exit": code, "peak": peak, "reason": reason, "ended": ended}).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
