"""Each kind of wrong input gets one clear sentence and its exit code, before anything is measured where possible."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Hotlap


def sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line of the error; nothing on stdout, and no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("hotlap: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("command", ["profile", "tune"])
def test_a_training_command_without_the_separator_is_refused_with_the_right_line(hotlap: Hotlap, command: str) -> None:
    """`hotlap profile python train.py` names the command as it should be."""
    said = sentence(hotlap(command, "python", "train.py"), 2)
    assert f"after `--`, as in `hotlap {command} -- python train.py`" in said


def test_a_configuration_where_a_command_belongs_is_trained(hotlap: Hotlap) -> None:
    """The hint is a command that runs."""
    said = sentence(hotlap("profile", "--json", "restoration.yaml"), 2)
    assert "as in `hotlap profile -- hotlap train restoration.yaml`" in said


def test_no_command_at_all_says_what_to_write(hotlap: Hotlap) -> None:
    """`hotlap profile` alone."""
    assert "write it after `--`, as in `hotlap profile -- python train.py`" in sentence(hotlap("profile"), 2)
    assert "either a configuration" in sentence(hotlap("tune"), 2)


def test_a_misspelt_command_or_option_gets_a_suggestion(hotlap: Hotlap) -> None:
    """Did you mean."""
    assert 'Did you mean "profile"' in sentence(hotlap("profil", "--", "true"), 2)
    assert "Did you mean --steps" in sentence(hotlap("profile", "--stps", "3", "--", "true"), 2)


def test_options_after_the_separator_belong_to_the_training(hotlap: Hotlap) -> None:
    """A command that takes no training refuses one."""
    assert "takes no training command" in sentence(hotlap("explain", "--", "true"), 2)
    assert 'but --a "python train.py" --b' in sentence(hotlap("compare", "--", "python", "a.py"), 2)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["profile", "--seconds", "soon", "--", "true"], "such as 90s"),
        (["tune", "--budget", "-3", "--", "true"], "budget"),
        (["tune", "--memory-limit", "lots", "--", "true"], "such as 8GiB"),
        (["profile", "--steps", "0", "--", "true"], "at least one step"),
        (["profile", "--fail-on", "DATA99", "--", "true"], "no finding 'DATA99'"),
        (["compare", "--a", "true", "--b", "true", "--memory-limit", "lots"], "such as 8GiB"),
        (["compare", "--a", "true"], "--b"),
        (["compare", "--a", "true", "--b", "'"], "quotation"),
        (["compare", "--a", "true", "--b", "true", "--fail-on", "sad"], "use one or more of"),
        (["explain", "DATA0"], "did you mean"),
        (["report", "nowhere"], "nowhere"),
        (["run", "--with", "nowhere", "--", "true"], "nowhere"),
        (["run", "--", "true"], "hotlap run --with RESULT"),
        (["tune", "--planned-steps", "0", "--", "true"], "--planned-steps 0: a training has at least one step"),
        (["tune", "--dry-run", "--set=precision=", "--", "python", "a.py"], "--set precision="),
        (["tune", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_values_are_named(hotlap: Hotlap, words: list[str], part: str) -> None:
    """The value, the place, and what to do."""
    assert part in sentence(hotlap(*words), 2)


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize(
    ("replace", "part"),
    [
        ({"num_workers: 0": "num_worker: 0"}, "did you mean 'num_workers'"),
        ({"lr: 0.001": "lr: quick"}, "lr"),
        ({"seed: 0": "seed:\t0"}, "tab"),
        ({"seed: 0": "seed: [0]"}, "seed"),
        ({"seed: 0": "\tseed: 0"}, "tab"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_starts(
    hotlap: Hotlap, config: Callable[..., Path], command: str, replace: dict[str, str], part: str
) -> None:
    """A misspelt key, a word or a list where a number belongs, a tab."""
    path = config(replace)
    said = sentence(hotlap(command, path), 2)
    assert part in said
    assert sorted(each.name for each in path.parent.iterdir()) == ["my.yaml"]


def test_an_existing_output_is_never_replaced_unasked(hotlap: Hotlap, config: Callable[..., Path]) -> None:
    """Refused before anything is measured, the file as it was."""
    path = config()
    there = path.with_name("my_optimized.yaml")
    there.write_text("mine")
    assert "exists already" in sentence(hotlap("tune", path), 2)
    assert "exists already" in sentence(hotlap("profile", "--report", there, "--", "true"), 2)
    assert there.read_text() == "mine"
    assert not (path.parent / ".hotlap").exists()


def test_a_report_into_no_folder_is_refused_at_once(hotlap: Hotlap) -> None:
    """Not after the training."""
    assert "not a folder" in sentence(hotlap("profile", "--report", "no/where.html", "--", "true"), 2)


@pytest.mark.parametrize("command", ["profile", "tune"])
def test_no_such_program_or_script(hotlap: Hotlap, command: str) -> None:
    """The training command failed: exit code 3, and what Python said, or that there is no such file."""
    assert "nosuch" in sentence(hotlap(command, "--", "nosuch", "train.py"), 3)
    done = hotlap(command, "--", sys.executable, "-u", "nosuch.py", "--steps", "3")
    assert "nosuch.py" in sentence(done, 3)
    assert "calibrating" not in done.stderr


@pytest.mark.parametrize("command", ["profile", "tune"])
def test_a_script_that_never_steps_or_trains_nothing(
    hotlap: Hotlap, script: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    """Said in words that tell what a step is."""
    never = script(update="pass")
    assert "optimizer.step()" in sentence(hotlap(command, "--", sys.executable, never), 3)
    nothing = tmp_path / "hello.py"
    nothing.write_text("print('hello')\n")
    assert "optimizer.step()" in sentence(hotlap(command, "--", sys.executable, nothing), 3)


def test_a_script_that_crashes_at_step_3(hotlap: Hotlap, script: Callable[..., Path]) -> None:
    """A tuning ends with the reason; a profile shows what it saw and says so, too."""
    crashing = script(update="optimizer.step(); assert step < 2, 'no more'")
    said = sentence(hotlap("tune", "--", sys.executable, crashing), 3)
    assert "crashed after" in said
    assert "no more" in said
    profiled = hotlap("profile", "--", sys.executable, crashing)
    assert profiled.returncode == 3
    assert "AssertionError: no more" in profiled.stderr
    assert "Traceback (most recent call last)" in profiled.stderr  # the script's own, passed on


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "full"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("command", ["profile", "tune"])
def test_a_full_disk_is_said_before_anything_starts(
    hotlap: Hotlap, script: Callable[..., Path], full_disk: Path, command: str
) -> None:
    """With the place and the way out."""
    said = sentence(hotlap(command, "--run-dir", full_disk, "--", sys.executable, script()), 2)
    assert "full" in said
    assert "--run-dir" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_directory_that_cannot_be_written(hotlap: Hotlap, tmp_path: Path) -> None:
    """With the place and the way out."""
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "--run-dir" in sentence(hotlap("profile", "--run-dir", "closed", "--", "true"), 2)
