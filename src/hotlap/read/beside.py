"""What ``config.json`` beside a log of ``hotlap train`` says, for logs that are older than the line with settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hotlap.read.formats import FORMATS
from hotlap.read.remarks import OWN_SETTINGS
from hotlap.read.state import State

_OWN = {form.name for form in FORMATS if form.whole_steps}


def take_settings(state: State, log: Path) -> None:
    """Add what the lines read last leave open. A file that is not there, or of something else, adds nothing."""
    if not _OWN & state.sources[-1].formats.keys():
        return
    try:
        config = msgspec.json.decode((log.parent / "config.json").read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError):
        return
    if "accumulation_steps" not in config:
        return
    for name, key in OWN_SETTINGS.items():
        value = config.get(key)
        if type(value) is int and value > 0:
            state.remarks.settings.setdefault(name, (value, f"{key} in config.json beside the log"))
