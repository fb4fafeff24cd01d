"""What is taken away from a training is gone, and the rest goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "scripts" / "ablated.py"


def test_each_suspect_is_taken_away_and_nothing_else() -> None:
    """The script trains once with each, and once with nothing taken away; batches that it changed come back clean."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
