"""docs/changes.md lists every change and every lever, and says of them what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import hotlap.changes
from hotlap.changes import Situation, model
from hotlap.diagnose import Machine
from hotlap.probe.levers import LEVERS
from hotlap.records import Budget, Diagnosis, Environment, Facts
from hotlap.tune.dialects import CANONICAL, canonical_names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "changes.md").read_text()
_FAMILIES = Path(hotlap.changes.__file__).parent
_AT_THE_START, _LIVE, _KEY_ONLY = ", at the start", ", live", "key only"


def rows(first: str) -> list[list[str]]:
    """The cells of the tables whose first row begins so."""
    found, inside = [], False
    for line in PAGE.splitlines():
        if line.startswith(first):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


#: change | what it does | numerics | lever | needs
DESCRIBED = rows("| change | what it does | numerics |")


def names(cell: str) -> set[str]:
    """Of the changes that a cell speaks of, by their ids."""
    return set(re.findall(r"`(\w+)=", cell))


def made() -> dict[str, tuple[set[str], set[str]]]:
    """What the families make: the numerics and the levers that are written out, by the change's name."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in _FAMILIES.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Change"):
                continue
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            name, inject = given["name"], given.get("inject")
            if not isinstance(name, ast.Constant):
                assert path.name == "model.py", f"{path.name} makes a change whose name only a run can tell"
                continue
            numerics, levers = found.setdefault(str(name.value), (set(), set()))
            results = given["numerics"]
            parts = [results.body, results.orelse] if isinstance(results, ast.IfExp) else [results]
            numerics |= {str(part.value) for part in parts if isinstance(part, ast.Constant)}
            keys = inject.keys if isinstance(inject, ast.Dict) else []
            levers |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return found


def of_the_model() -> set[str]:
    """That family names its changes by the keys that it finds."""
    keys = {
        "depths": [8, 8, 8, 8, 4, 4, 4, 8],
        "window_size": 8,
        "patch_size": 64,
        "fuse_chunk_size": 64,
        "spike_chunk_size": 64,
        "max_batch_tokens": 64,
    }
    diagnosis = Diagnosis(
        findings=[],
        will_not_help=[],
        step_seconds=1.0,
        phases={"forward": 1.0},
        throughput=None,
        budget=Budget(wall=1, startup=0, warmup=0, steps=1, validation=0, checkpoint=0, logging=0, end=0),
        steady_from=0,
        steady_steps=10,
    )
    here = Environment(hotlap="0", python="3", cores=2)
    it = Situation(diagnosis=diagnosis, facts=Facts(), environment=here, machine=Machine(), keys=keys)
    changes = model.propose(it)
    assert {change.numerics for change in changes} == {"trajectory"}
    return {change.name for change in changes}


def test_every_change_is_described() -> None:
    """And none that there is not."""
    described = {name for row in DESCRIBED for name in names(row[0])}
    assert described == made().keys() | of_the_model()
    of_requirements = {name for row in rows("| id | lever | changes |") for name in names(row[2])}
    assert len(of_requirements) > 20
    assert of_requirements <= described


def test_classes_and_levers_are_those_of_the_families() -> None:
    """The numerics class of each change, and the levers that apply it."""
    for name, (numerics, levers) in made().items():
        mine = [row for row in DESCRIBED if name in names(row[0])]
        said = {word for row in mine for word in re.findall(r"`(\w+)`", row[2])}
        assert numerics <= said <= {"exact", "rounding", "trajectory"}, name
        assert not numerics or said == numerics, name
        pulled = {lever for row in mine for lever in re.findall(r"`(\w+)`", row[3])}
        assert levers <= pulled, name


def test_every_lever_is_described() -> None:
    """With whether it can be switched in a running training."""
    seen = set()
    for row in DESCRIBED:
        levers = re.findall(r"`(\w+)`", row[3])
        if row[3] == _KEY_ONLY:
            continue
        assert row[3].endswith((_LIVE, _AT_THE_START)), row
        assert row[3].endswith(_LIVE) == all(LEVERS[lever].live for lever in levers), row
        seen |= set(levers)
    assert seen == LEVERS.keys()


def test_recognised_keys_are_recognised() -> None:
    """Every name in the table of keys means the key that it stands beside, and every key is on the page."""
    table = rows("| key | also called |")
    assert len(table) > 20
    for key, aliases, _ in table:
        (canonical,) = re.findall(r"`(\w+)`", key)
        within = canonical in ("fuse_chunk_size", "spike_chunk_size")
        called = re.findall(r"`([\w.]+)`", aliases) + ([] if within else [canonical])
        for alias in called:
            if alias != "train_sampling_strategy":
                assert canonical in canonical_names(f"--{alias}"), alias
    assert {key for key in CANONICAL if f"`{key}`" in PAGE} == CANONICAL
