"""A dry run of a tuning: it reads what is there, starts nothing, and writes nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from hotlap.cli import main
from hotlap.diagnose import Machine
from hotlap.estimate.device import Device
from hotlap.estimate.of_changes import changed
from hotlap.launch import environment
from hotlap.records import Change, DryRun, Environment, Facts, RunInfo, write_record
from hotlap.report import dry_run as views
from hotlap.train.config import VrtSpikeConfig
from hotlap.tune.dry_run import dry_run
from hotlap.tune.foreseen import unseen
from hotlap.tune.journal import open_journal
from hotlap.tune.options import Options, name_of
from hotlap.tune.room import unfit
from hotlap.tune.target import Target

SMALL = "workload: restoration\npatch_size: 48\nbatch_size: 2\nbase_channels: 16\nnum_blocks: 3\n"
#: Fails when it is run or imported, and leaves a file.
SCRIPT = "from pathlib import Path\nPath('started').touch()\nraise SystemExit(9)\n"
PHASES = {"data_wait": 0.05, "forward": 0.02, "backward": 0.029, "optimizer": 0.001}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "user"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "train.py").write_text(SCRIPT)
    (place / "small.yaml").write_text(SMALL)
    return place


def plan(target: Target, device: Device | None = None) -> DryRun:
    found = dry_run(target, Options(), device=device, say=lambda _: None)
    assert msgspec.json.decode(msgspec.json.encode(found), type=DryRun) == found
    return found


def profiled(command: list[str], name: str = "profile-1", date: str = "2026-01-01") -> None:
    """A record of a profile, whose steps wait for data half of their time."""
    directory = Path(".hotlap/runs", name)
    directory.mkdir(parents=True)
    info = RunInfo(
        name=name,
        command=command,
        cwd=str(Path.cwd()),
        environment=msgspec.structs.replace(environment(), torch="1.0"),
        started=0.0,
        ended=5.0,
        date=date,
        outcome="finished",
    )
    write_record(directory / "run.json", info)
    facts = {"k": "facts", "device": "cpu", "optimizer": "Adam", "workers": 0, "iterable_dataset": False}
    steps = [{"k": "step", "i": i, "t": 2 + i / 10, "wall": 0.1, "phases": PHASES} for i in range(20)]
    (directory / "steps.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [facts, *steps]))


def test_nothing_is_started_or_written(folder: Path) -> None:
    """Neither the script nor anything of it; the folder is as before, and the files that stay are named."""
    found = plan(Target.of_command([sys.executable, "train.py"]))
    assert sorted(path.name for path in folder.iterdir()) == ["small.yaml", "train.py"]
    assert found.untouched == ["train.py"]
    assert found.before is None
    assert found.writes[0].path.startswith(".hotlap/runs/tune-")
    assert found.division.proof == (150.0, 240.0)
    assert found.no_fits is not None


def test_a_profile_of_the_same_command_gives_bounds(folder: Path) -> None:
    """The last one counts; of another command, or with changes, none does."""
    command = [sys.executable, "train.py"]
    profiled([sys.executable, "other.py"], "profile-3", "2026-03-01")
    assert plan(Target.of_command(command)).before is None
    profiled(command)
    profiled(command, "profile-2", "2026-02-01")
    found = plan(Target.of_command(command))
    assert found.before is not None
    assert found.before.directory == ".hotlap/runs/profile-2"
    assert "DATA01" in found.before.findings
    assert any("torch" in each for each in found.before.differences)
    changes = {each.change.id: each for each in found.changes}
    assert changes["workers=1"].why == "at most 2.00x"
    assert changes["optimizer=fused"].prospect == "not tried"
    # Five pairs of launches, each of which starts in 2.1 s.
    assert found.division.first_look is not None
    assert found.division.first_look > 2 * 5 * 2.1
    assert found.division.proof == (150.0, 150.0)


def test_a_profile_of_the_configuration_is_found(folder: Path) -> None:
    """However the training was called."""
    profiled(["/usr/bin/hotlap", "train", "small.yaml"])
    assert plan(Target.of_config(Path("small.yaml"))).before is not None


def test_an_unfinished_tuning_goes_on(folder: Path) -> None:
    target = Target.of_config(Path("small.yaml"))
    assert not plan(target).resumes
    journal = open_journal(name_of(target, Options(), environment()), None, fresh=False)
    journal.once("a", int, lambda: 1)
    journal.close()
    found = plan(target)
    assert found.resumes
    assert found.writes[0].path == f".hotlap/runs/{journal.directory.name}"


def shown(found: DryRun) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(views.dry_run(found))
    page = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, page.splitlines())) <= 80
    return str(page)


def card(memory: int) -> Device:
    return Device(name="Card", memory=memory, capability=(8, 9), reported=True)


def test_what_does_not_fit_is_not_tried(folder: Path) -> None:
    """Of a configuration each change that moves memory is estimated; on the card that is named, as if it were here."""
    found = plan(Target.of_config(Path("small.yaml")), card(2**26))
    assert found.fits is not None
    needed = {each.change: each for each in found.fits.changes}
    assert {"", "precision=bf16", "precision=fp16", "micro_batch=1x2", "checkpointing=all"} <= needed.keys()
    assert needed["micro_batch=1x2"].allocated < needed[""].allocated
    assert needed["checkpointing=all"].allocated < needed[""].allocated
    assert {each.verdict for each in needed.values()} == {"does not fit"}
    changes = {each.change.id: each for each in found.changes}
    assert {changes[name].prospect for name in needed if name} == {"not tried"}
    assert "and the Card has 0.1 (estimated)" in changes["precision=fp16"].why
    assert changes["optimizer=fused"].prospect == "tried"
    assert changes["pin_memory=true"].prospect == "tried"
    page = shown(found)
    assert "no GPU; as on a machine with Card" in " ".join(page.split())
    assert "does not fit there, so a tuning would have nothing to measure" in " ".join(page.split())


def test_a_key_may_stand_for_several() -> None:
    """Checkpointing of VRT-Spike has two keys, and a tuning knows one for both."""
    config = changed(VrtSpikeConfig(), {"use_checkpoint": False, "batch_size": 7})
    assert (config.use_checkpoint_attn, config.use_checkpoint_ffn, config.batch_size) == (False, False, 7)
    assert changed(config, {"use_checkpoint": True}).use_checkpoint_ffn is True


def test_a_tuning_leaves_out_what_cannot_fit(folder: Path) -> None:
    """On a GPU alone, and only what may need more than there is; it is estimated once."""
    target = Target.of_config(Path("small.yaml"))
    journal = open_journal("tune-x", folder, fresh=False)
    larger = Change(name="b", value="1", title="b", numerics="trajectory", edits={"batch_size": 4000})
    smaller = Change(name="b", value="2", title="b", numerics="trajectory", edits={"batch_size": 1}, memory=(-9, 0))
    gpu = Environment(hotlap="0", python="3", gpus=["Card"])
    it = unseen(target.keys, gpu, [], 1, "throughput")
    it = msgspec.structs.replace(
        it,
        machine=Machine(device_memory=2**30),
        memory_limit=2**30,
        facts=msgspec.structs.replace(it.facts, peak_device_memory=2**28),
    )
    why = unfit([larger], [larger], it, target, journal)
    assert why is not None
    assert "and there are 1.00 (estimated)" in why
    assert journal.entries.keys() == {"fits b=1"}
    assert unfit([smaller], [smaller], it, target, journal) is None
    compiled = msgspec.structs.replace(it, facts=msgspec.structs.replace(it.facts, compiled=True))
    assert unfit([larger], [larger], compiled, target, journal) is None
    on_cpu = msgspec.structs.replace(it, facts=Facts(device="cpu", peak_memory=2**28))
    assert unfit([larger], [larger], on_cpu, target, journal) is None
    assert journal.entries.keys() == {"fits b=1"}
    journal.close()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_as_a_user_types_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page to read, or JSON, on stdout."""
    words = ["tune", "--dry-run", "--budget", "20m", "--", sys.executable, "train.py"]
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert "Nothing was started." in " ".join(out.split())
    for title in ("Would be tried, in this order", "Would not be tried", "Never at once", "The time: 20 min", "Files"):
        assert title in out
    assert not Path("started").exists()
    code, out, _ = run(capsys, *words[:2], "--json", *words[2:])
    assert code == 0
    assert json.loads(out)["command"][1:] == ["train.py"]


def test_what_the_user_sets_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The length of the training, the memory of a trial, a budget that is short."""
    given = ["--planned-steps", "70", "--memory-limit", "3GiB", "--budget", "90s"]
    code, out, _ = run(capsys, "tune", "--dry-run", *given, "--", sys.executable, "train.py")
    said = " ".join(out.split())
    assert code == 0
    assert "What takes longer to start than it saves over 70 steps is dropped." in said
    assert "A trial whose processes hold more than 3.00 GiB is ended." in said
    assert "budgets below 3 min 00 s find little" in said


def test_a_program_that_is_not_there_is_no_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "tune", "--dry-run", "--", "notaprogram", "train.py")
    assert (code, out) == (3, "")
    assert "there is no program notaprogram" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "small.yaml", "--gpu", "RTX 4090"], "--gpu is for --dry-run"),
        (["tune", "--dry-run", "--gpu", "RTX 4090", "--", "python", "train.py"], "for a configuration of hotlap train"),
        (["tune", "small.yaml", "--dry-run", "--gpu", "RTX 4O90"], "RTX 4090"),
        (["tune", "small.yaml", "--dry-run", "-o", "train.py"], "train.py exists already"),
        (["tune", "small.yaml", "--dry-run", "--report", "page.html"], "--dry-run measures nothing"),
        (["tune", "gone.yaml", "--dry-run"], "gone.yaml"),
    ],
)
def test_what_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    """In one sentence, as the tuning itself would refuse it."""
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
