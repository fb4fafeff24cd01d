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

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the pipe alone has to do
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, from /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    try:
        entries = os.listdir("/proc")
    except OSError:
        return []
    for entry in entries:
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def resident(pids: list[int]) -> int:
    """Bytes resident in these processes that are not shared with files (an upper bound for forked workers)."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                fields = file.read().split()
            total += (int(fields[1]) - int(fields[2])) * page
        except (OSError, IndexError, ValueError):
            continue
    return total


def kill_all(group: int) -> None:
    """Kill the group and everything below this process, until nothing is left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        left = descendants(os.getpid())
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guardian = os.getpid()

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if os.getppid() != guardian:
            os._exit(1)

    control, report = spec["control"], spec["report"]
    poll = select.poll()
    poll.register(control, select.POLLIN | select.POLLHUP)
    output = os.open(spec["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if spec["output"] else None
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
        os.write(report, json.dumps({"error": f"{error.strerror}: {error.filename}"}).encode() + b"\n")
        return 1
    os.write(report, json.dumps({"pid": child.pid}).encode() + b"\n")
    limit, peak, next_look = spec["memory_limit"], 0, 0.0
    reason = None
    while child.poll() is None:
        for _, event in poll.poll(20):
            words = os.read(control, 4096) if event & select.POLLIN else b""
            if not words:  # the pipe is closed: hotlap is done, or gone
                kill_all(child.pid)
                return 1
            for word in words.split():
                number = {b"stop": signal.SIGSTOP, b"continue": signal.SIGCONT, b"interrupt": signal.SIGINT}.get(word)
                if number is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, number)
                    if word == b"stop":
                        os.write(report, b'{"stopped": true}\n')
        now = time.monotonic()
        if now >= next_look:
            next_look = now + 0.2
            memory = resident(descendants(guardian))
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
