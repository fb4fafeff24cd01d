"""Where benchmark results are kept: the figures, with the machine, the versions and the command that makes them."""

from __future__ import annotations

import json
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hotlap.launch import environment

FOLDER = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    here = environment()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": here.cpu,
        "cores": here.cores,
        "gpus": here.gpus,
        "load": here.load,
        "python": platform.python_version(),
        "torch": here.torch,
        "hotlap": here.hotlap,
    }


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write ``results/NAME.json`` and print it."""
    text = json.dumps({"command": f"python benchmarks/{name}.py", **machine(), **figures}, indent=1)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(text + "\n")
    print(text, file=sys.stderr)
