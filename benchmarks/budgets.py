"""What `hotlap tune` proves with little time: the five scripts of ``peers.py``, each with each budget, once.

    python benchmarks/budgets.py [--budget 90s ...]

No launch of it is measured anew: the figures are those of its own claims, which `peers.py` holds against fresh launches
for five minutes. Writes ``results/budgets.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import RESULTS, circumstances, sentence
from peer_verdicts import HOTLAP, SCRIPTS

from hotlap.records import write_whole

HERE = Path(__file__).resolve().parent


def tuned(script: str, budget: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        shutil.copy(HERE / "scripts" / f"{script}.py", work)
        command = [*HOTLAP, "tune", "--json", "--budget", budget, "--", sys.executable, f"{script}.py"]
        began = time.monotonic()
        done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - began
    found = json.loads(done.stdout)
    return {
        "budget": budget,
        "seconds": round(seconds, 1),
        "adopted": [f"{each['name']}={each['value']}" for each in found["adopted"]],
        "kept": [each["change"]["name"] for each in found["trials"] if each["kept"]],
        "judgement": found["judgement"],
        "effect": found["effect"],
        "same_training": found["same_training"] and found["same_training"]["same"],
    }


def row(script: str, found: dict[str, Any]) -> str:
    effect, adopted = found["effect"], ", ".join(found["adopted"])
    said = "nothing was kept"
    if effect is not None:
        said = f"{effect['ratio']:.2f}x [{effect['low']:.2f}, {effect['high']:.2f}]"
        said += "" if adopted else f", {found['judgement']}"
    elif found["kept"]:
        said = f"{', '.join(found['kept'])} kept, no time for a proof"
    return f"| {script} | {found['budget']} | {found['seconds']:.0f} s | {adopted or 'nothing'} | {said} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", action="append")
    budgets = parser.parse_args().budget or ["90s"]
    about = circumstances()
    results = [(script.name, tuned(script.name, budget)) for script in SCRIPTS for budget in budgets]
    page = [
        "# What hotlap proves with little time",
        "",
        "| script | budget | took | adopted | it says |",
        "|---|---|---|---|---|",
        *[row(*each) for each in results],
        "",
        sentence(about),
        "",
    ]
    kept = [{"script": script, **found} for script, found in results]
    write_whole(RESULTS / "budgets.json", json.dumps(about | {"results": kept}, indent=1) + "\n")
    write_whole(RESULTS / "budgets.md", "\n".join(page))
    print("\n".join(page))


if __name__ == "__main__":
    main()
