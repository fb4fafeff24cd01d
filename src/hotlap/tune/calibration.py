"""What the machine is good at, measured in the interpreter that trains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

import msgspec

from hotlap.diagnose import Machine
from hotlap.estimate import machine
from hotlap.tune.target import python_of


def calibrated(command: Sequence[str]) -> tuple[Machine, str | None]:
    """Return also why nothing is known of it, where it cannot be told."""
    try:
        done = subprocess.run(
            [python_of(command), machine.__file__], capture_output=True, text=True, timeout=120, check=True
        )
        return msgspec.convert(json.loads(done.stdout.splitlines()[-1]), Machine), None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return Machine(), f"the machine could not be calibrated ({error})"
