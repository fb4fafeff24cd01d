"""What each command prints, writes and leaves with, and that every option has its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Hotlap

from hotlap.cli import app

#: A flag needs a reason. Add one here only together with it.
OPTIONS = {
    "profile": {
        "--steps",
        "--seconds",
        "--prove",  # the suspects are taken away, which takes longer
        "--data",  # only those are, that tell what waiting for data costs
        "--budget",  # ... so long
        "--memory",  # walking through a dataset takes seconds
        "--trace",  # kernels and operators, for those who read traces
        "--report",
        "--force",
        "--fail-on",
        "--run-dir",
        "--json",
    },
    "tune": {
        "--budget",  # how long one is willing to wait
        "--set",  # what only the user's own keys can change
        "--goal",  # memory, and the time until a quality, want other changes than throughput
        "--quality",  # the user's word that other trainings may be tried, and what they are judged by
        "--planned-steps",  # no script says how long it will train
        "--engine",  # where the machines are
        "--dry-run",  # minutes are asked for: on what they would be spent
        "--gpu",  # with it: the card that the training will have, which is not here
        "--gpu-memory",
        "--output",
        "--report",
        "--force",
        "--memory-limit",  # the machine is shared
        "--fresh",  # the machine was noisy, or has changed
        "--run-dir",
        "--json",
    },
    "compare": {
        "--a",
        "--b",
        "--budget",
        "--report",
        "--force",
        "--fail-on",
        "--memory-limit",  # as in a tuning
        "--fresh",
        "--run-dir",
        "--json",
    },
    "read": {
        "--batch-size",  # a log seldom says it,
        "--world-size",  # nor this
        "--ranks",  # the same
        "--compare",  # two traces side by side, where several are ranks otherwise
        "--json",
    },
    "estimate": {
        "--gpu",  # the card
        "--gpu-memory",  # it was given more, or is in no catalogue
        "--all",  # which one to buy
        "--variants",  # minutes, where a card is answered in seconds
        "--data",  # the other memory: that of the node
        "--samples",  # the set
        "--sample",
        "--batch-size",  # the loader
        "--workers",
        "--prefetch",
        "--ranks",
        "--cache",  # what is kept,
        "--cache-each",  # and whose it is: a size by itself was misread by a factor of 108
        "--memory",  # the training will run on another machine
        "--price",  # of an hour
        "--calibrate",  # this machine's own rates: a measurement, which takes the machine for half a minute
        "--threads",  # of an operator: a calibration is for so many
        "--from-run",  # a step that was measured
        "--gap",  # another question about it: where the rest of it goes
        "--json",
    },
    "lint": {
        "--ranks",  # how many share the node,
        "--memory",  # and what node it will be
        "--cores",
        "--gpu",
        "--against",  # whether the learning rate follows the batch can only be told beside another configuration
        "--fail-on",
        "--json",
    },
    "optimize": {
        "--benchmark",  # measuring takes minutes
        "--budget",  # ... so many
        "--quality",  # the user's word that the effective batch may change
        "--fill",  # another question than what is faster
        "--ranks",
        "--output",
        "--force",
        "--run-dir",
        "--json",
    },
    "run": {"--with", "--run-dir"},
    "watch": {
        "--seconds",  # a watch in a script must end
        "--interval",  # what changes fast, and what shall cost nothing
        "--once",  # a look from a script
        "--planned-steps",  # as in a tuning, for the time that is left
        "--run-dir",
        "--json",
    },
    "report": {"--md", "--png", "--output", "--force", "--run-dir", "--json"},
    "export": {
        "--to",  # each tool has its own format
        "--output",
        "--force",
        "--run-dir",
        "--json",
    },
    "explain": {"--json"},
    "train": {"--json"},
    "verify": {"--json"},
}


def test_there_are_no_options_but_these() -> None:
    """Every command, every option."""
    commands = {name for name in app if not name.startswith("-")}
    assert commands == set(OPTIONS)
    for name, options in OPTIONS.items():
        names = {
            alias
            for argument in app[name].assemble_argument_collection()
            for alias in argument.names
            if alias.startswith("--") and argument.parse
        }
        assert names == options, name


@pytest.mark.parametrize("command", ["", *OPTIONS])
def test_help_is_there_and_imports_no_torch(command: str) -> None:
    """The command line answers at once: torch alone takes seconds."""
    code = (
        "import sys; from hotlap.cli import main\n"
        f"try: main({[*([command] if command else []), '--help']!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Usage: hotlap {command or 'COMMAND'}" in done.stdout


def test_profile_prints_phases_to_stdout_and_leaves_the_script_alone(
    hotlap: Hotlap, script: Callable[..., Path], tmp_path: Path
) -> None:
    """The training's own output goes to stderr, the result to stdout, the record into the run directory."""
    path = script(update="optimizer.step(); print('loss', loss.item()) if step == 7 else None")
    before = path.read_bytes()
    done = hotlap("profile", "--report", "page.html", "--", sys.executable, path)
    assert done.returncode == 0, done.stderr
    assert "backward" in done.stdout
    assert "loss 0" not in done.stdout
    assert "loss" in done.stderr
    assert path.read_bytes() == before
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert len(list((tmp_path / ".hotlap" / "runs").iterdir())) == 1


def test_profile_as_json_can_be_cut_short_and_fail_on_a_finding(
    hotlap: Hotlap, script: Callable[..., Path], tmp_path: Path
) -> None:
    """What a short profile writes goes to the run directory, since the training's own files would be half done."""
    update = "optimizer.step(); time.sleep(0.003); torch.save(model.state_dict(), 'model.pt')"
    path = script(update=update, epochs=100, slow_fetch=True)
    done = hotlap("profile", "--steps", "20", "--json", "--", sys.executable, path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["info"]["outcome"] == "stopped"
    assert result["facts"]["optimizer"] == "SGD"
    assert not (tmp_path / "model.pt").exists()
    assert "DATA01" in {finding["code"] for finding in result["diagnosis"]["findings"]}
    failed = hotlap("profile", "--steps", "20", "--fail-on", "DATA01,LOOP03", "--", sys.executable, path)
    assert failed.returncode == 1
    assert "found DATA01, which --fail-on asked for" in failed.stderr


@pytest.mark.noisy
@pytest.mark.slow
def test_compare_fails_on_a_regression(hotlap: Hotlap, script: Callable[..., Path]) -> None:
    """B sleeps in every step: exit code 1, with the reason. What is none: tests/tune/test_compare.py."""
    path, slow = script(epochs=100), Path(script(epochs=100).parent, "slow.py")
    slow.write_text(path.read_text().replace("loss.backward()", "loss.backward(); time.sleep(0.03)"))
    commands = [f"{sys.executable} {each}" for each in (path, slow)]
    failed = hotlap("compare", "--a", commands[0], "--b", commands[1], "--budget", "10s", "--fail-on", "regression")
    assert failed.returncode == 1, failed.stderr
    assert " a regression, which --fail-on asked for: it " in failed.stderr


def test_explain_prints_the_finding_and_lists_all(hotlap: Hotlap) -> None:
    """In capitals or not."""
    assert "How it is measured" in hotlap("explain", "data01").stdout
    listed = hotlap("explain").stdout.splitlines()
    codes = [line.split()[0] for line in listed]
    data = [code for code in codes if code.startswith("DATA")]
    assert codes[: len(data)] == data == sorted(data)
    assert any(line.startswith("DATA01") for line in listed)
    assert json.loads(hotlap("explain", "--json").stdout).keys() >= {"DATA01"}
    assert json.loads(hotlap("explain", "data01", "--json").stdout)["code"] == "DATA01"


def test_train_prints_one_line_or_json(hotlap: Hotlap, config: Callable[..., Path]) -> None:
    """Progress to stderr, the quality reached to stdout."""
    path = config()
    done = hotlap("train", path)
    assert done.returncode == 0, done.stderr
    assert "dB" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(hotlap("train", path, "--json").stdout)["steps"] == 6


def test_a_room_is_callable_by_the_name_of_the_function() -> None:
    """`hotlap.train(...)` calls the function whether or not the room of that name has been imported."""
    code = (
        "import hotlap\nfrom hotlap.errors import ConfigError\n"
        "def refused(function):\n"
        "    try: function('nowhere.yaml')\n"
        "    except ConfigError: return True\n"
        "assert refused(hotlap.train)\nimport hotlap.train\nassert refused(hotlap.train)\n"
        "assert refused(hotlap.tune)\nimport hotlap.tune.search\nassert refused(hotlap.tune)\n"
        "import hotlap.report, hotlap.diagnose\nassert callable(hotlap.report) and callable(hotlap.diagnose)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_api_lists_its_names() -> None:
    """Every name in __all__ can be used."""
    import hotlap

    for name in hotlap.__all__:
        assert callable(getattr(hotlap, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hotlap.nothing
