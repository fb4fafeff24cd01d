"""One training process under a guardian: started with the probe inside, gated, limited, ended for sure.

with Training(command, directory, Plan(gated=True)) as training:
    training.wait_for_gate()                 the first step boundary
    steps = training.block(seconds, steps)   let it run, get the steps
run = training.run()
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import msgspec

from hotlap.errors import RunError, TrainingFailed
from hotlap.launch import guardian
from hotlap.launch.ending import Exit, Reason, kills_for_memory, outcome_of, shell_status
from hotlap.launch.environment import environment
from hotlap.launch.following import Lines, Tee
from hotlap.launch.plan import Limits, Plan
from hotlap.launch.rundir import MEMORY, UNFINISHED, has_room, read_lines, read_run, run_of, steps_of
from hotlap.launch.watching import MemoryWatch
from hotlap.records import Environment, Outcome, Run, RunInfo, Step, write_record

__all__ = ["Limits", "Output", "Plan", "Training"]

#: What becomes of the training's output: kept in ``output.log``; kept, and copied to our stderr as it comes; or
#: ours, like stdin, untouched and not kept.
Output = Literal["capture", "tee", "inherit"]

#: Seconds between looks: what the training wrote is seldom awaited by the millisecond, and looking costs.
_LOOK = 0.02
_LOOK_AT_GATE = 0.003
#: A rank that has left on purpose may leave other ranks waiting for it.
_OTHER_RANKS = 5.0
_TAIL = 16384


class Training:
    """A running training command. Use as a context manager: leaving it ends the command and all it started.

    Raises:
        RunError: the run directory cannot be written, or holds a run already.
        TrainingFailed: the command cannot be started.
    """

    def __init__(
        self,
        command: list[str],
        directory: Path,
        plan: Plan,
        limits: Limits | None = None,
        *,
        output: Output = "capture",
        stream: BinaryIO | None = None,
        changes: dict[str, Any] | None = None,
        known_environment: Environment | None = None,
    ) -> None:
        self.command = command
        self.directory = directory.absolute()
        self.plan = plan
        self.limits = limits or Limits()
        #: Moment of the monotonic clock at which it is ended, while it is waited for.
        self.until: float | None = None
        self.changes = changes or {}
        self.environment = known_environment or environment()
        self.pid = 0
        #: How it ended, None while it runs.
        self.exit: Exit | None = None
        self.frozen = False
        #: The first step of the last block.
        self.leading: Step | None = None
        #: What the probe has written, all but the steps of a training that is not gated.
        self.lines: list[dict[str, Any]] = []
        self.started = time.perf_counter()
        self._date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._cwd = os.getcwd()
        self._kills_before = kills_for_memory()
        self._report = b""
        self._gates = 0
        self._control_fifo: int | None = None
        self._seen_at = time.monotonic()
        self._left_at: float | None = None
        self._ranks_at = 0.0
        self._memory: MemoryWatch | None = None
        self._prepare()
        self._file = Lines(self.directory / "steps.jsonl")
        self._tee = Tee(self.directory / "output.log", stream) if output == "tee" else None
        self._start(output)

    def _prepare(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            has_room(self.directory)
            if (self.directory / "probe.json").exists():
                raise RunError(f"{self.directory} holds a run already: choose another with --run-dir")
            if self.plan.gated:
                os.mkfifo(self.directory / "control")
            (self.directory / "probe.json").write_text(self.plan.settings(self.directory))
        except OSError as error:
            raise RunError(f"cannot write the run directory {self.directory}: {error.strerror}") from error

    def _start(self, output: Output) -> None:
        control_read, self._control = os.pipe()
        self._report_fd, report_write = os.pipe()
        spec = {
            "command": self.command,
            "cwd": self._cwd,
            "output": str(self.directory / "output.log") if output == "capture" else None,
            "output_pipe": self._tee.input if self._tee is not None else None,
            "memory_limit": self.limits.memory,
            "control": control_read,
            "report": report_write,
        }
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-S", "-E", guardian.__file__, json.dumps(spec)],
                pass_fds=(control_read, report_write, *([self._tee.input] if self._tee is not None else [])),
                env=self.plan.environ(self.directory),
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._control)
            os.close(self._report_fd)
            if self._tee is not None:
                self._tee.close()
            raise TrainingFailed(f"cannot start {self.command[0]!r}: {error.strerror}") from error
        finally:
            os.close(control_read)
            os.close(report_write)
            if self._tee is not None:
                self._tee.started()
        try:
            first = self._next_report(timeout=30)
            if first is None or "error" in first:
                reason = first["error"] if first else "its guardian did not answer"
                raise TrainingFailed(f"cannot start {self.command[0]!r}: {reason}; check the command after `--`")
            self.pid = first["pid"]
            # From now on the directory can be read, even if this process is killed.
            write_record(self.directory / "run.json", self._info())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Training:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.interrupt()
        self.close()

    # what the probe and the guardian say

    def poll(self) -> None:
        """Take in what the probe and the training have written and what the guardian has reported."""
        if self.exit is None:
            self._next_report(timeout=0)
        if self._tee is not None:
            self._tee.copy()
        if self.lines and self.exit is None and not self.plan.gated:  # one that is measured in blocks is left alone
            self._memory = self._memory or MemoryWatch(self.directory / MEMORY)
            self._memory.look(self.pid)
        new = self._file.read()
        if new:
            # A training that nobody asks in between may run for millions of steps: the file has them.
            self.lines += new if self.plan.gated else [line for line in new if line["k"] != "step"]
            self._seen_at = time.monotonic()
            for line in new:
                self._gates += line["k"] == "gate"
                if line["k"] == "end" and line.get("outcome") == "stopped":
                    self._left_at = self._seen_at

    def _next_report(self, timeout: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._report:
            ready, _, _ = select.select([self._report_fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            received = os.read(self._report_fd, 65536)
            if not received:
                if self.exit is None:
                    self._ended("guardian_gone")
                return None
            self._report += received
        line, _, self._report = self._report.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        if "exit" in report:
            self.exit = msgspec.convert(report, Exit)
        return report

    def _ended(self, reason: Reason) -> None:
        self.exit = Exit(exit=None, peak=None, reason=reason, ended=time.perf_counter())

    def wait(self) -> bool:
        """Wait for the end. Ends the training when it has been silent for too long. Returns False."""
        return self._wait(lambda: False, _LOOK)

    def _wait(self, until: Callable[[], bool], look: float) -> bool:
        """Wait for the end, or until something is so. Returns whether it is."""
        while True:
            over = self.exit is not None
            self.poll()
            if until():
                return True
            if over:
                return False
            now = time.monotonic()
            if self.until is not None and now > self.until:
                self.close(reason="late")
                return False
            if now - self._seen_at > self.limits.silence and not self.plan.silent:
                self.close(reason="hung")
                return False
            if self._left_at is None and now > self._ranks_at:
                self._ranks_at = now + 1.0
                self._left_at = now if self._rank_left() else None
            if self._left_at is not None and now - self._left_at > _OTHER_RANKS:
                self.close()
                return False
            if self.exit is None:
                select.select([self._report_fd], [], [], look)

    def _rank_left(self) -> bool:
        """Whether a rank other than the first has left on purpose: by the clock it may be the first to do so."""
        if self.plan.stop_steps is None and self.plan.stop_seconds is None:
            return False
        ranks = self.directory.glob("steps.rank*.jsonl")
        return any(line.get("outcome") == "stopped" for path in ranks for line in read_lines(path))

    # gates

    def wait_for_gate(self) -> bool:
        """Wait until the training stands at its next gate; False when it ended instead."""
        wanted = self._gates + 1
        return self._wait(lambda: self._gates >= wanted, _LOOK_AT_GATE)

    def block(self, seconds: float, steps: int, settings: dict[str, Any] | None = None) -> list[Step] | None:
        """Let the training run for at least so long and so many steps; return them, None if it ended instead.

        The first step of a block holds the wait itself and the cold caches after it, and is left out. ``settings``
        are those of the probe's levers from now on, None for those that it has.
        """
        self.thaw()
        self.poll()
        before = len(self.lines)
        self._say(f"go {seconds:.6f} {steps + 1}{'' if settings is None else f' {json.dumps(settings)}'}\n")
        if not self.wait_for_gate():
            return None
        self.leading, *block = steps_of(self.lines[before:])
        return block

    def release(self) -> None:
        """Let the training run to its end, ungated."""
        self.thaw()
        self._say("run\n")

    def _say(self, line: str) -> None:
        if self._control_fifo is None:
            # Opened for reading as well: what is said before the training listens then waits in the pipe.
            self._control_fifo = os.open(self.directory / "control", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(self._control_fifo, line.encode())

    def freeze(self) -> None:
        """Stop every process of the training, its workers included, while another one is measured."""
        if not self.frozen and self.exit is None and self._tell_guardian("stop"):
            self._next_report(timeout=10)
            self.frozen = True

    def thaw(self) -> None:
        if self.frozen and self.exit is None:
            self._tell_guardian("continue")
        self.frozen = False
        self._seen_at = time.monotonic()

    def _tell_guardian(self, word: str) -> bool:
        try:
            os.write(self._control, f"{word}\n".encode())
        except OSError:  # it has just ended
            return False
        return True

    # the end

    def interrupt(self) -> None:
        """End the training as Ctrl-C does: it is asked first, and has a while to save what it wants to."""
        with contextlib.suppress(KeyboardInterrupt):  # a second one means now
            if self.exit is None and not self.plan.gated and self._tell_guardian("interrupt"):
                self._seen_at = time.monotonic()
                deadline = self._seen_at + self.limits.grace
                self._wait(lambda: time.monotonic() > deadline, _LOOK)
        self.close(reason="interrupted")
        assert self.exit is not None
        self.exit["reason"] = "interrupted"
        write_record(self.directory / "run.json", self._info())

    def close(self, reason: Reason = "stopped") -> None:
        """End the training and everything it started, and write ``run.json``."""
        if self._control < 0:
            return
        ran = self.exit is None
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
        if ran and (self.exit is None or self.exit["reason"] == "guardian_gone"):
            self._ended(reason)
        os.close(self._report_fd)
        self._file.close()
        if self._tee is not None:
            self._tee.close()
        if self.pid:
            write_record(self.directory / "run.json", self._info())

    @property
    def exit_status(self) -> int:
        """What a shell would give: the exit code, or 128 and the number of the signal that ended it."""
        assert self.exit is not None
        return shell_status(self.exit)

    def snapshot(self) -> Run:
        """The record so far, while the training lives."""
        return run_of(msgspec.structs.replace(self._info(), outcome="stopped", reason=None), self.lines)

    def _outcome(self, end: Exit) -> tuple[Outcome, str | None]:
        now = kills_for_memory()
        killed = None if now is None or self._kills_before is None else now > self._kills_before
        return outcome_of(end, self.lines, self.tail(), self.limits, killed)

    def _info(self) -> RunInfo:
        outcome, why = self._outcome(self.exit) if self.exit else UNFINISHED
        if outcome == "crashed" and self._rank_left():
            outcome, why = "stopped", None  # the others miss it
        return RunInfo(
            name=self.directory.name,
            command=self.command,
            cwd=self._cwd,
            environment=self.environment,
            started=self.started,
            ended=self.exit["ended"] if self.exit is not None else time.perf_counter(),
            date=self._date,
            outcome=outcome,
            exit_code=self.exit["exit"] if self.exit is not None else None,
            reason=why,
            changes=self.changes,
        )

    def tail(self) -> str:
        """The end of what the training printed."""
        try:
            with open(self.directory / "output.log", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def run(self) -> Run:
        return read_run(self.directory)
