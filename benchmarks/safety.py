"""Stop `hotlap tune` at random moments: is every byte of the user as before, is nothing left, does it go on?

    python benchmarks/safety.py [--times 8] [--seed 0] [--budget 2m] [--only script|configuration]

Two targets in folders of their own: a script that writes checkpoints, event files, a table, a database and a run folder
beside itself (``scripts/writes_everywhere.py``, which has trained there before), and the reference trainer. Each time a
tuning is stopped at a random moment, in turn by Ctrl-C (SIGINT to its process group) and by SIGKILL to hotlap alone.
Then: processes that still carry a mark in their environment, and what differs of the folder by type, mode, time of
modification, size, hash and target of links. In the end the same command is run to its end. Run directories lie
elsewhere, so that nothing in the folder may change at all, but for the tuned configuration. Writes
``results/safety.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from machine import keep

HERE = Path(__file__).resolve().parent
#: Inherited by everything that a tuning starts, wherever it works.
MARK = "HOTLAP_SAFETY_MARK"
#: Seconds within which everything must have ended.
PATIENCE = 10.0


def prepare_script(folder: Path) -> list[str]:
    script = folder / "train.py"
    shutil.copy(HERE / "scripts" / "writes_everywhere.py", script)
    subprocess.run([sys.executable, str(script), "--steps", "100"], cwd=folder, capture_output=True, check=True)
    return ["--", sys.executable, "train.py"]


def prepare_configuration(folder: Path) -> list[str]:
    shutil.copy(HERE.parent / "configs" / "restoration.yaml", folder)
    return ["restoration.yaml", "--force"]


def contents(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What can be told of every file, folder and link, the folder itself among them."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in [folder, *folder.rglob("*")]:
        known = path.lstat()
        if path.is_symlink():
            content = os.readlink(path)
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        size = 0 if path.is_dir() else known.st_size
        found[str(path.relative_to(folder))] = (known.st_mode, known.st_mtime_ns, size, content)
    return found


def changed(before: dict[str, tuple[Any, ...]], folder: Path) -> list[str]:
    after = contents(folder)
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def alive(mark: str) -> list[str]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it has ended meanwhile
                continue
    return found


def ended_within(mark: str) -> tuple[float | None, list[str]]:
    """Seconds until nothing with this mark runs; None, and what runs, where that takes too long."""
    began = time.monotonic()
    while left := alive(mark):
        if time.monotonic() - began > PATIENCE:
            return None, left
        time.sleep(0.05)
    return round(time.monotonic() - began, 2), []


def stop(command: list[str], folder: Path, kind: signal.Signals, after: float) -> dict[str, Any]:
    """Start the tuning in a session of its own, and stop it ``after`` so many seconds."""
    mark = uuid.uuid4().hex
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, MARK: mark},
            start_new_session=True,
        ) as tuning,
    ):
        try:
            tuning.wait(after)
        except subprocess.TimeoutExpired:
            # A terminal sends Ctrl-C to all of its foreground group.
            os.killpg(tuning.pid, kind) if kind == signal.SIGINT else os.kill(tuning.pid, kind)
        seconds, left = ended_within(mark)
        if left:
            os.killpg(tuning.pid, signal.SIGKILL)
        exit_code = tuning.wait()
        said.seek(0)
        lines = said.read().splitlines()
    return {
        "signal": kind.name,
        "after_s": round(after, 1),
        "doing": lines[-2] if kind == signal.SIGINT and len(lines) > 1 else lines[-1] if lines else "",
        "last_line": lines[-1] if lines else "",
        "resumed": any("going on with" in line for line in lines),
        "exit_code": exit_code,
        "all_ended_after_s": seconds,
        "processes_left": left,
    }


def trial(prepare: Any, times: int, moments: random.Random, longest: float, budget: str) -> dict[str, Any]:
    stops = []
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as runs:
        folder = Path(name).resolve()
        arguments = prepare(folder)
        hotlap = [sys.executable, "-m", "hotlap", "tune", "--budget", budget, "--run-dir", runs]
        command = [*hotlap, *arguments]
        before = contents(folder)
        for number in range(times):
            kind = (signal.SIGINT, signal.SIGKILL)[number % 2]
            stops.append(stop(command, folder, kind, moments.uniform(2, longest)))
            stops[-1]["changed"] = changed(before, folder)
            print(stops[-1], file=sys.stderr)
        mark = uuid.uuid4().hex
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, MARK: mark})
        seconds, left = ended_within(mark)
        said = done.stderr.splitlines()
        permitted = {".", "restoration_optimized.yaml"} if arguments[0] != "--" else set()
        return {
            "files": len(before),
            "stops": stops,
            "then": {
                "exit_code": done.returncode,
                "seconds": round(time.monotonic() - began, 1),
                "first_line": said[0] if said else "",
                "resumed": any("going on with" in line for line in said),
                "verdict": done.stdout.strip().splitlines()[:3],
                "all_ended_after_s": seconds,
                "processes_left": left,
                "changed": [path for path in changed(before, folder) if path not in permitted],
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--longest", type=float, default=45.0, help="stop after at most so many seconds")
    parser.add_argument("--only", choices=("script", "configuration"))
    given = parser.parse_args()
    targets = {"script": prepare_script, "configuration": prepare_configuration}
    results = {
        name: trial(prepare, given.times, random.Random(given.seed), given.longest, given.budget)
        for name, prepare in targets.items()
        if given.only in (None, name)
    }
    rounds = [each for result in results.values() for each in (*result["stops"], result["then"])]
    keep(
        "safety",
        {
            "stops": sum(len(result["stops"]) for result in results.values()),
            "stops_that_left_a_process": sum(bool(each["processes_left"]) for each in rounds),
            "stops_that_changed_a_file": sum(bool(each["changed"]) for each in rounds),
            "ended_in_the_end": all(result["then"]["exit_code"] == 0 for result in results.values()),
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
