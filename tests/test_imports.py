"""Imports between the rooms of ``src/hotlap`` go in one direction, and few of them import torch.

    errors <- records <- launch <- diagnose <- changes <- tune, report <- watch, api <- cli
    errors <- records <- launch <- diagnose <- changes <- tune, report <- api <- cli
                   `- read

``train.config`` stands by itself: it knows the keys of a configuration and imports no torch, so ``tune`` may ask it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "hotlap"

#: What each room may import. ``hotlap`` is the package itself: the version, and the marks for a training loop.
MAY_IMPORT = {
    "hotlap": set(),
    "errors": set(),
    "callable": set(),
    "allocator": set(),
    "shallow": set(),
    "workers": set(),
    "records": {"errors"},
    "probe": {"allocator", "shallow"},
    "integrations": {"probe"},
    "data": {"probe", "workers"},
    "launch": {"hotlap", "errors", "records", "workers"},
    "diagnose": {"errors", "callable", "records", "workers"},
    "changes": {"errors", "records", "diagnose"},
    "train.config": {"errors", "workers"},
    "workloads": {"errors", "data", "train.config"},
    "train": {
        "hotlap",
        "allocator",
        "shallow",
        "errors",
        "callable",
        "data",
        "train.config",
        "workers",
        "workloads",
    },
    "estimate": {"errors", "records", "probe", "launch", "train", "train.config", "workloads"},
    "tune": {"errors", "callable", "records", "launch", "diagnose", "changes", "estimate", "train.config"},
    "read": {"errors", "records", "diagnose"},
    "report": {"errors", "callable", "records", "launch", "diagnose"},
    "watch": {"errors", "records", "launch", "diagnose", "report", "train.config", "workers"},
    "export": {"hotlap", "errors", "records", "launch", "diagnose", "report"},
    "api": {"errors", "records", "launch", "diagnose", "estimate", "tune", "report", "train", "export"},
    "terminal": {"errors"},
    "cli": {
        "hotlap",
        "errors",
        "records",
        "launch",
        "diagnose",
        "estimate",
        "read",
        "tune",
        "report",
        "export",
        "train",
        "train.config",
        "watch",
        "terminal",
        "api",
    },
    "__main__": {"cli"},
}
#: What a room may import when one of its functions is called, against the direction: so ``hotlap.tune(...)`` works.
AT_CALL = {"hotlap": {"api", "estimate", "probe"}, "callable": {"api"}, "probe": {"estimate"}}

#: And ``integrations``, whose trainers do.
TORCH = {"probe", "estimate", "data", "train", "workloads", "integrations"}

#: Of the probe: what its levers load when torch is there, and numpy, and ``data`` uses too.
AFTER_TORCH = sorted(PACKAGE.glob("probe/shared/*.py"))

#: These run in an interpreter that may have nothing of ours installed.
STANDARD_LIBRARY_ALONE = [
    *sorted(PACKAGE.glob("probe/**/*.py")),
    PACKAGE / "allocator.py",
    PACKAGE / "launch" / "guardian.py",
]


class Import(NamedTuple):
    path: Path
    line: int
    module: str
    #: Not when the module is loaded, but when a function of it is called.
    at_call: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE)}:{self.line} imports {self.module}"


def imports(path: Path) -> list[Import]:
    """Every import of a file that can happen at run time, those of ``importlib`` with a literal name too."""
    found: list[Import] = []

    def visit(node: ast.AST, at_call: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child, at_call)
            return
        found.extend(Import(path, getattr(node, "lineno", 0), module, at_call) for module in modules(node))
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, at_call or inside)

    visit(ast.parse(path.read_text()), False)
    return found


def modules(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: imports name the whole module here"
        assert node.module is not None
        # `from hotlap import api` may name a module or an attribute, `from hotlap.train import config` too.
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        yield from (
            part.value
            for argument in node.args
            for part in ast.walk(argument)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "hotlap" if parts == ("__init__",) else room_of_module(".".join(("hotlap", *parts)))


def room_of_module(module: str) -> str:
    """The room of ``hotlap.train.loop.train``, be it a module or something in one."""
    parts = module.split(".")[1:]
    if parts[:2] == ["train", "config"]:
        return "train.config"
    is_module = parts and ((PACKAGE / parts[0]).is_dir() or (PACKAGE / f"{parts[0]}.py").is_file())
    return parts[0] if is_module else "hotlap"


EVERY_FILE = sorted(PACKAGE.rglob("*.py"))
EVERY_IMPORT = [each for path in EVERY_FILE for each in imports(path)]


def test_table_has_one_direction() -> None:
    """The permitted imports form no circle."""
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


def test_every_room_is_known() -> None:
    """A new room is written into the table, at its place."""
    assert {room(path) for path in EVERY_FILE} <= MAY_IMPORT.keys()


def test_direction() -> None:
    """A room imports only what the table permits."""
    wrong = [
        str(each)
        for each in EVERY_IMPORT
        if each.module.split(".")[0] == "hotlap"
        for here, there in [(room(each.path), room_of_module(each.module))]
        if here != there and there not in MAY_IMPORT[here] and not (each.at_call and there in AT_CALL.get(here, set()))
    ]
    assert not wrong


def test_table_permits_no_more_than_is_used() -> None:
    """Edges between rooms that nothing uses any more are taken out of the table; errors and records are everybody's."""
    used = {(room(each.path), room_of_module(each.module)) for each in EVERY_IMPORT if each.module.startswith("hotlap")}
    permitted = {(here, there) for table in (MAY_IMPORT, AT_CALL) for here in table for there in table[here]}
    assert not {(here, there) for here, there in permitted - used if there not in ("errors", "records")}


def test_torch_is_imported_where_it_trains() -> None:
    """Only probe, estimate, data, train and workloads import torch, in functions too."""
    wrong = [
        str(each)
        for each in EVERY_IMPORT
        if each.module.split(".")[0] in ("torch", "torchvision") and room(each.path) not in TORCH
    ]
    assert not wrong


def test_torch_is_not_loaded_by_the_command_line() -> None:
    """Every module of the rooms that import no torch can be loaded, and torch is not there afterwards."""
    names = [
        ".".join(("hotlap", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in EVERY_FILE
        if room(path) not in {*TORCH, "hotlap", "__main__"} and path.name != "__main__.py"
    ]
    script = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr or "torch was loaded"


def test_what_goes_through_a_script_needs_torch_alone() -> None:
    """It runs in the script's interpreter, which may have nothing of ours installed."""
    folder = PACKAGE / "estimate"
    names = ("imitation", "tracker", "on_cuda", "onednn", "timeline")
    paths = [*folder.glob("script/*.py"), *(folder / f"{name}.py" for name in names)]
    known = ("hotlap.errors", "hotlap.probe", "hotlap.estimate.script", *(f"hotlap.estimate.{name}" for name in names))
    wrong = [
        str(each)
        for path in paths
        for each in imports(path)
        if each.module.split(".")[0] not in {*sys.stdlib_module_names, "torch"} and not each.module.startswith(known)
    ]
    assert not wrong


@pytest.mark.parametrize("path", STANDARD_LIBRARY_ALONE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_standard_library_alone(path: Path) -> None:
    """What runs in somebody else's interpreter imports the standard library and the probe.

    torch never at the top, but where it is there already; that is not loaded before.
    """
    late = path in AFTER_TORCH
    wrong = [
        str(each)
        for each in imports(path)
        if (name := each.module.split(".")[0]) not in sys.stdlib_module_names
        and not each.module.startswith(("hotlap.probe", "hotlap.allocator", "hotlap.shallow"))
        and not (name == "torch" and (each.at_call or late))
        # To which it hands over, where a script is estimated.
        and not (each.module.startswith("hotlap.estimate.script") and each.at_call)
        and not (name == "numpy" and late)
        # The lever that needs one of them says so where it is not there.
        and not (name in ("bitsandbytes", "torchao") and each.at_call)
        # Python loads the user's own one after ours.
        and name != "sitecustomize"
    ]
    wrong += [
        str(each) for each in imports(path) if "hotlap.probe.shared" in each.module and not (each.at_call or late)
    ]
    assert not wrong


def test_calibration_needs_torch_alone() -> None:
    """``estimate/machine.py`` is run as a script by the interpreter that trains: the standard library and torch."""
    names = {each.module.split(".")[0] for each in imports(PACKAGE / "estimate" / "machine.py")}
    assert names <= {*sys.stdlib_module_names, "torch"}
