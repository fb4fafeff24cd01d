"""What a family calls live, the probe can switch between two steps."""

from __future__ import annotations

import ast
from pathlib import Path

import hotlap.changes
from hotlap.probe.levers import LEVERS

_FAMILIES = Path(hotlap.changes.__file__).parent


def test_families_and_levers_agree() -> None:
    """Each setting that a family writes down exists, and is live exactly where the family says so."""
    seen = set()
    for path in _FAMILIES.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Change"):
                continue
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            inject, live = given.get("inject"), given.get("live")
            if not isinstance(inject, ast.Dict):
                continue
            names = {key.value for key in inject.keys if isinstance(key, ast.Constant)}
            for name in names:
                assert name in LEVERS, f"{path.name}: {name}"
            if live is not None and not isinstance(live, ast.Constant):
                continue  # it depends on the device
            said = isinstance(live, ast.Constant) and live.value is True
            assert not names or said == all(LEVERS[str(name)].live for name in names), f"{path.name}: {names}"
            seen |= names
    assert {"autocast", "workers"} <= seen
