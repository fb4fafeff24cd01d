"""The commands of docs/quickstart.md, run as they stand there, and what they print, kept in results/quickstart.

    python benchmarks/quickstart.py FOLDER

All run in FOLDER, in which docs/examples/train.py is put. On a busy machine the tuning may need more time than its
budget; then the same command goes on where it stopped, and so does this one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from machine import RESULTS, keep

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "quickstart.md"
KEPT = RESULTS / "quickstart"
_TUNING = re.compile(r"tune-[0-9a-f]{12}-\d")


def commands(page: str) -> list[list[str]]:
    """The words of each command of hotlap in a page's blocks of code."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("hotlap ")]


def main(folder: Path) -> None:
    KEPT.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    if not (folder / "train.py").exists():
        # A tuning goes on only where the script is as old as it was.
        shutil.copy(ROOT / "docs" / "examples" / "train.py", folder)
    # `python` is this interpreter, as in an environment that is active.
    surroundings = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    tuning = ""
    for words in commands(PAGE.read_text()):
        # The page names the tuning that was kept; this one has a name of its own.
        given = [_TUNING.sub(tuning, word) if tuning else word for word in words]
        print("$", shlex.join(given), file=sys.stderr)
        done = subprocess.run(
            [sys.executable, "-m", *given], cwd=folder, env=surroundings, capture_output=True, text=True
        )
        if done.returncode or "goes on from here" in done.stderr:
            sys.exit(f"{shlex.join(given)} left with {done.returncode}:\n{done.stderr}")
        output = f"$ {shlex.join(given)}\n{done.stderr}\n{done.stdout}"
        (KEPT / f"{words[1]}.txt").write_text("\n".join(line.rstrip() for line in output.splitlines()) + "\n")
        if words[1] == "tune":
            tuning = next((folder / ".hotlap" / "runs").glob("tune-*")).name
            shutil.copy(folder / ".hotlap" / "runs" / tuning / "changes.patch", KEPT)
    keep("quickstart/quickstart", {"command": "python benchmarks/quickstart.py FOLDER", "tuning": tuning})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
