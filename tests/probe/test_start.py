"""How the probe comes into a process, and what it leaves alone there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hotlap

SITE = Path(hotlap.__file__).parent / "probe" / "site"


def python(code: str, folder: Path, *options: str, path: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "probe.json").write_text(json.dumps({"run_dir": str(folder)}))
    environ = os.environ | {
        "HOTLAP_PROBE": str(folder / "probe.json"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SITE), path])),
    }
    return subprocess.run([sys.executable, *options, "-c", code], env=environ, capture_output=True, text=True)


def test_a_script_without_torch(tmp_path: Path) -> None:
    """Nothing but the standard library and the probe itself is imported, and nothing is written."""
    code = "import sys; print(*sys.modules)"
    loaded = set(python(code, tmp_path).stdout.split())
    alone = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    others = {name.partition(".")[0] for name in loaded - alone} - set(sys.stdlib_module_names)
    assert others == {"hotlap", "sitecustomize"}
    assert {name for name in loaded if name.startswith("hotlap")} == {
        "hotlap",
        "hotlap.probe",
        "hotlap.probe.frameworks",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]


def test_a_script_with_torch(tmp_path: Path) -> None:
    """Torch brings no more along than without the probe, and a script that does not train leaves no record."""
    code = (
        "import sys, torch\n"
        "model = torch.nn.Linear(2, 2)\n"
        "with torch.no_grad(): model(torch.zeros(1, 2))\n"
        "print(*sys.modules)"
    )
    loaded = set(python(code, tmp_path).stdout.split())
    alone = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    others = {name.partition(".")[0] for name in loaded - alone} - set(sys.stdlib_module_names)
    assert others == {"hotlap", "sitecustomize"}
    assert not any(name.startswith("torch") for name in loaded - alone)
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]


def test_the_scripts_own_sitecustomize_still_runs(tmp_path: Path) -> None:
    """Another one further down the path is loaded as if ours were not there."""
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.planted = 'here'\n")
    done = python("print(planted); import sys; print(sys.path)", tmp_path, path=str(tmp_path))
    assert done.stdout.startswith("here"), done.stderr
    assert str(SITE) not in done.stdout


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    """The script runs, and stderr says that the probe does not."""
    (tmp_path / "probe.json").mkdir()
    environ = os.environ | {"HOTLAP_PROBE": str(tmp_path / "probe.json"), "PYTHONPATH": str(SITE)}
    done = subprocess.run([sys.executable, "-c", "print(1)"], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "hotlap: the probe could not start" in done.stderr


@pytest.mark.parametrize(
    "code", ["import torch.nn", "try:\n    import torch.none\nexcept ImportError:\n    import torch"]
)
def test_torch_by_any_way(tmp_path: Path, code: str) -> None:
    """However torch is imported first, it is wrapped once."""
    done = python(
        f"{code}\nimport torch\n"
        "call = torch.nn.Module.__call__\n"
        "print(call.__code__.co_filename, call.__wrapped__.__name__)",
        tmp_path,
    )
    assert done.stdout.split()[0].endswith("modules.py"), done.stderr
    assert done.stdout.split()[1] == "_wrapped_call_impl"
