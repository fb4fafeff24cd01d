"""What the machine is good at, measured in the interpreter that trains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

import msgspec

from hotlap.diagnose import Machine
from hotlap.estimate import machine
from hotlap.tune.target import python_of


def calibrated(command: Sequence[str], *, on_cpu: bool = False) -> tuple[Machine, str | None]:
    """Return also why nothing is known of it, where it cannot be told. ``on_cpu``: even where there is a GPU."""
    words = [python_of(command), machine.__file__, *([machine.ON_CPU] if on_cpu else [])]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
        return msgspec.convert(json.loads(done.stdout.splitlines()[-1]), Machine), None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return Machine(), f"the machine could not be calibrated ({error})"
