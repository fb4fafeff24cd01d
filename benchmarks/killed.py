"""SIGKILL `hotlap tune` at random moments: what is left, and does it go on where it stopped?

    python benchmarks/killed.py [TIMES] [SEED]

Each time: start a tuning of the reference trainer, kill it (and nothing else) at a random moment, look for processes
that still work in its folder and for changed files. In the end the same command is run to its end.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import keep

ROOT = Path(__file__).resolve().parents[1]


def left_in(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder) in os.readlink(entry / "cwd"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".hotlap" not in path.parts
    }


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    moments = random.Random(seed)
    kills = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "restoration.yaml").write_bytes((ROOT / "configs" / "restoration.yaml").read_bytes())
        before = files(folder)
        command = [sys.executable, "-m", "hotlap", "tune", "restoration.yaml"]
        for _ in range(times):
            after = moments.uniform(3, 45)
            with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as tuning:
                time.sleep(after)
                os.kill(tuning.pid, signal.SIGKILL)
                assert tuning.stderr is not None
                said = tuning.stderr.read().splitlines()
            time.sleep(1)
            kills.append(
                {
                    "killed_after_s": round(after, 1),
                    "doing": said[-1] if said else "",
                    "resumed": any("going on with" in line for line in said),
                    "processes_left": left_in(folder),
                    "user_files_changed": files(folder) != before,
                }
            )
            print(kills[-1], file=sys.stderr)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        said = done.stderr.splitlines()
        keep(
            "killed",
            {
                "kills": kills,
                "then": {
                    "exit_code": done.returncode,
                    "first_line": said[0] if said else "",
                    "new_files": sorted(files(folder).keys() - before.keys()),
                    "user_files_changed": any(files(folder)[path] != digest for path, digest in before.items()),
                },
            },
        )


if __name__ == "__main__":
    main()
