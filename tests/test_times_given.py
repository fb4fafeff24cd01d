"""Times as a user gives them, e.g. for ``--budget``."""

from __future__ import annotations

import pytest

from hotlap.errors import UsageError
from hotlap.terminal import as_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("10min", 600),
        ("1.5h", 5400),
        ("2m30s", 150),
        ("2 min 30 s", 150),
        ("1h 1m 1s", 3661),
        ("1H", 3600),
    ],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert as_seconds("--budget", text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "0m", "-5", "30s2m", "2m2m", "2m30", "1.5.2", "soon", "10m!", "inf"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--budget.*give a time such as"):
        as_seconds("--budget", text)
