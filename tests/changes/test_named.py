"""What a finding says could help is something that is proposed."""

from __future__ import annotations

import ast
from pathlib import Path

import hotlap.changes
from hotlap.diagnose.rules import catalogue


def test_changes_of_findings_exist() -> None:
    """By the names that the families write down."""
    names = set()
    for path in Path(hotlap.changes.__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Change":
                given = [each.value for each in call.keywords if each.arg == "name"]
                names |= {each.value for each in given if isinstance(each, ast.Constant)}
    named = {name: rule.code for rule in catalogue() for name in rule.changes}
    assert {"workers", "compile"} <= names
    assert {name: code for name, code in named.items() if name not in names} == {}
