"""What `make demo` shows, kept: the terminal output, the result, and the page.

python benchmarks/demo.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from machine import RESULTS, keep

from hotlap.records import Tuning, read_record

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "configs").mkdir()
        shutil.copy(ROOT / "configs" / "restoration.yaml", folder / "configs")
        began = time.monotonic()
        command = ["hotlap", "tune", "configs/restoration.yaml", "--budget", "5m"]
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.monotonic() - began
        directory = next((folder / ".hotlap" / "runs").glob("tune-*"))
        tuning = read_record(directory / "result.json", Tuning)
        for kept, name in (("report.html", "demo.html"), ("result.json", "demo.result.json")):
            text = (directory / kept).read_text()
            (RESULTS / name).write_text(text.replace(sys.executable, "python"))
        output = f"$ {' '.join(command)}\n{done.stderr}\n{done.stdout}".replace(sys.executable, "python")
        (RESULTS / "demo.txt").write_text("\n".join(line.rstrip() for line in output.splitlines()) + "\n")
    effect = tuning.effect
    keep(
        "demo",
        {
            "seconds": round(seconds, 1),
            "adopted": [change.id for change in tuning.adopted],
            "effect": None if effect is None else msgspec.to_builtins(effect),
            "judgement": tuning.judgement,
            "same_training": None if tuning.same_training is None else tuning.same_training.same,
            "evidence": None if tuning.same_training is None else tuning.same_training.evidence,
            "warnings": tuning.warnings,
        },
    )


if __name__ == "__main__":
    main()
