"""What a test of the command line gets."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Hotlap = Callable[..., "subprocess.CompletedProcess[str]"]
