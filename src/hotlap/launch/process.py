"""One training process under a guardian: started with the probe inside, gated, limited, ended for sure.

with Training(command, directory, gated=True) as training:
    training.wait_for_gate()                 the first step boundary
    steps = training.block(seconds, steps)   let it run, get the steps
run = training.run()
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from hotlap.errors import RunError, TrainingFailed
from hotlap.launch import guardian
from hotlap.launch.environment import environment
from hotlap.launch.rundir import has_room, read_run, run_of, steps_of
from hotlap.records import Environment, Outcome, Run, RunInfo, Step, write_record

_SITE = Path(__file__).parent.parent / "probe" / "site"
_OUT_OF_MEMORY = ("OutOfMemoryError", "CUDA out of memory", "DefaultCPUAllocator: can't allocate memory", "MemoryError")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a training is ended from outside."""

    #: Seconds without a new step, an ended process or a gate.
    silence: float = 300.0
    #: Resident bytes of all its processes together.
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the probe is told; see ``hotlap.probe.Settings``."""

    gated: bool = False
    stop_steps: int | None = None
    stop_seconds: float | None = None
    levers: dict[str, Any] = field(default_factory=dict)
    #: Whether the script's files are kept as they are; what it writes goes to the run directory.
    contained: bool = False
    seed_offset: int = 0
    silent: bool = False


class Training:
    """A running training command. Use as a context manager: leaving it ends the command and all it started."""

    def __init__(
        self,
        command: list[str],
        directory: Path,
        plan: Plan,
        limits: Limits | None = None,
        *,
        show_output: bool = False,
        changes: dict[str, Any] | None = None,
        known_environment: Environment | None = None,
    ) -> None:
        self.command = command
        self.directory = directory
        self.plan = plan
        self.limits = limits or Limits()
        self.changes = changes or {}
        self.environment = known_environment or environment()
        self.pid = 0
        self.exit: dict[str, Any] | None = None
        self.frozen = False
        self.lines: list[dict[str, Any]] = []
        self._offset = 0
        self._partial = b""
        self._report = b""
        self._control_fifo: int | None = None
        self._interrupted = False
        self._seen_at = time.monotonic()
        self._start(show_output)

    def _start(self, show_output: bool) -> None:
        directory, plan = self.directory, self.plan
        try:
            directory.mkdir(parents=True, exist_ok=True)
            has_room(directory)
            if plan.gated:
                os.mkfifo(directory / "control")
            settings = {
                "run_dir": str(directory),
                "cwd": os.getcwd(),
                "gated": plan.gated,
                "stop_steps": plan.stop_steps,
                "stop_seconds": plan.stop_seconds,
                "levers": plan.levers,
                "contain": str(directory / "files") if plan.contained else None,
                "seed_offset": plan.seed_offset,
                "silent": plan.silent,
            }
            (directory / "probe.json").write_text(json.dumps(settings))
        except OSError as error:
            raise RunError(f"cannot write the run directory {directory}: {error.strerror}") from error
        environ = dict(os.environ)
        environ["HOTLAP_PROBE"] = str(directory / "probe.json")
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_SITE), environ.get("PYTHONPATH")]))
        control_read, self._control = os.pipe()
        self._report_fd, report_write = os.pipe()
        spec = {
            "command": self.command,
            "cwd": os.getcwd(),
            "output": None if show_output else str(directory / "output.log"),
            "memory_limit": self.limits.memory,
            "control": control_read,
            "report": report_write,
        }
        self.started = time.perf_counter()
        self.date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._guardian = subprocess.Popen(
            [sys.executable, "-S", "-E", guardian.__file__, json.dumps(spec)],
            pass_fds=(control_read, report_write),
            env=environ,
            start_new_session=not show_output,
        )
        os.close(control_read)
        os.close(report_write)
        first = self._next_report(timeout=30)
        if first is None or "error" in first:
            self.close()
            reason = first["error"] if first else "its guardian did not answer"
            raise TrainingFailed(f"cannot start {self.command[0]!r}: {reason}; check the command after `--`")
        self.pid = first["pid"]

    def __enter__(self) -> Training:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupted = kind is KeyboardInterrupt
        self.close()

    # what the probe says

    def poll(self) -> None:
        """Read what the probe has written and what the guardian has reported since the last look."""
        try:
            with open(self.directory / "steps.jsonl", "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            data = b""
        if data:
            self._offset += len(data)
            *whole, self._partial = (self._partial + data).split(b"\n")
            for line in whole:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    continue
            self._seen_at = time.monotonic()
        if self.exit is None:
            self._next_report(timeout=0)

    def _next_report(self, timeout: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._report:
            ready, _, _ = select.select([self._report_fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            received = os.read(self._report_fd, 65536)
            if not received:
                self.exit = self.exit or {
                    "exit": None,
                    "peak": None,
                    "reason": "guardian_gone",
                    "ended": time.perf_counter(),
                }
                return None
            self._report += received
        line, _, self._report = self._report.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        if "exit" in report:
            self.exit = report
        return report

    def wait(self, until: int | None = None) -> bool:
        """Wait for the end, or until ``until`` lines are there that say the training waits at its gate.

        Returns False when the training has ended. Ends it when it has been silent for too long.
        """
        while True:
            self.poll()
            if until is not None and sum(line["k"] == "gate" for line in self.lines) >= until:
                return True
            if self.exit is not None:
                self.poll()
                return False
            if time.monotonic() - self._seen_at > self.limits.silence:
                self.close(reason="hung")
                return False
            time.sleep(0.003)

    # gates

    def gates(self) -> int:
        return sum(line["k"] == "gate" for line in self.lines)

    def wait_for_gate(self) -> bool:
        return self.wait(until=self.gates() + 1)

    def block(self, seconds: float, steps: int) -> list[Step] | None:
        """Let the training run for at least so long and so many steps; return them, None if it ended instead.

        The first step of a block holds the wait itself and the cold caches after it, and is left out.
        """
        self.thaw()
        self.poll()
        before = len(self.lines)
        gates = self.gates()
        self._say(f"go {seconds:.6f} {steps + 1}\n")
        if not self.wait(until=gates + 1):
            return None
        return steps_of(self.lines[before:])[1:]

    def release(self) -> None:
        """Let the training run to its end, ungated."""
        self.thaw()
        self._say("run\n")

    def _say(self, line: str) -> None:
        if self._control_fifo is None:
            try:
                self._control_fifo = os.open(self.directory / "control", os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return  # nobody reads: the training has ended, and wait() will see it
                raise
        with contextlib.suppress(BrokenPipeError):
            os.write(self._control_fifo, line.encode())

    def freeze(self) -> None:
        """Stop every process of the training, its workers included, while another one is measured."""
        if not self.frozen and self.exit is None:
            os.write(self._control, b"stop\n")
            self._next_report(timeout=5)
            self.frozen = True

    def thaw(self) -> None:
        if self.frozen and self.exit is None:
            os.write(self._control, b"continue\n")
        self.frozen = False
        self._seen_at = time.monotonic()

    # the end

    def close(self, reason: str | None = None) -> None:
        """End the training and everything it started, and write ``run.json``."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
            if self._control_fifo is not None:
                os.close(self._control_fifo)
            try:
                self._guardian.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._guardian.kill()
                self._guardian.wait()
            self.poll()
            os.close(self._report_fd)
            ended_by_us = self.exit is None or self.exit.get("reason") == "guardian_gone"
            if ended_by_us:
                self.exit = {"exit": None, "peak": None, "reason": reason or "stopped", "ended": time.perf_counter()}
            if self.pid:
                write_record(self.directory / "run.json", self._info())

    def snapshot(self) -> Run:
        """The record so far, while the training lives."""
        return run_of(self._info(), self.lines)

    def _info(self) -> RunInfo:
        outcome, why = self._outcome() if self.exit is not None else ("stopped", None)
        ended = self.exit or {"exit": None, "ended": time.perf_counter()}
        return RunInfo(
            name=self.directory.name,
            command=self.command,
            cwd=os.getcwd(),
            environment=self.environment,
            started=self.started,
            ended=ended["ended"],
            date=self.date,
            outcome=outcome,
            exit_code=ended["exit"],
            reason=why,
            changes=self.changes,
        )

    def _outcome(self) -> tuple[Outcome, str | None]:
        assert self.exit is not None
        code, reason = self.exit["exit"], self.exit["reason"]
        if self._interrupted:
            return "interrupted", "interrupted by the user"
        if reason == "hung":
            return "hung", f"no step and no end for {self.limits.silence:.0f} s"
        if reason == "memory_limit":
            limit = (self.limits.memory or 0) / 2**30
            return "out_of_memory", f"its processes held more than the limit of {limit:.1f} GiB"
        if reason == "stopped":
            return "stopped", None
        if code == 0:
            ended = [line for line in self.lines if line["k"] == "end"]
            return ("stopped" if ended and ended[-1]["outcome"] == "stopped" else "finished"), None
        tail = self.tail()
        if code == -9:
            return "out_of_memory", "it was killed (SIGKILL), most often by the kernel for want of memory"
        if any(sign in tail for sign in _OUT_OF_MEMORY):
            return "out_of_memory", _last_line(tail)
        return "crashed", f"exit code {code}: {_last_line(tail)}" if tail else f"exit code {code}"

    def tail(self, size: int = 4000) -> str:
        try:
            return (self.directory / "output.log").read_bytes()[-size:].decode(errors="replace")
        except OSError:
            return ""

    def run(self) -> Run:
        return read_run(self.directory)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
