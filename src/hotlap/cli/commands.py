"""The commands that train: each is a function, whose docstring is its help and whose parameters are its options.

Results go to stdout, progress to stderr. What a command needs is imported when it is called, so that help is there at
once.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from hotlap.cli.options import (
    Budget,
    Command,
    Force,
    Fresh,
    Json,
    MemoryLimit,
    Page,
    RunDir,
    app,
    checked_steps,
    training_words,
)
from hotlap.cli.results import short, tuning_options, write_page
from hotlap.errors import FindingsPresent, RunError, TrainingFailed, UsageError
from hotlap.records import DID, Goal
from hotlap.terminal import Progress, as_seconds, may_write, print_json, print_view


@app.command(usage="Usage: hotlap profile [OPTIONS] -- COMMAND")
def profile(
    *,
    steps: int | None = None,
    seconds: str | None = None,
    prove: Annotated[bool, Parameter(negative="")] = False,
    data: Annotated[bool, Parameter(negative="")] = False,
    budget: str | None = None,
    memory: Annotated[bool, Parameter(negative="")] = False,
    trace: Annotated[bool, Parameter(negative="")] = False,
    report: Page = None,
    force: Force = False,
    fail_on: Annotated[
        str | None, Parameter(help="Leave with exit code 1 if one of these findings is there, e.g. DATA01,PRECISION01.")
    ] = None,
    run_dir: RunDir = None,
    json: Json = False,
    command: Command = None,
) -> None:
    """Find out where a step's time goes, and why.

    Runs an unchanged training command to its end with the probe inside:

    `hotlap profile -- python train.py --config my.yaml`

    Parameters
    ----------
    steps
        End the training after so many steps; what it writes then goes to the run directory.
    seconds
        End the training after so much time in steps, e.g. 30s; what it writes then goes to the run directory.
    prove
        Then take the suspects away one by one in short runs, and measure what each of them really costs.
    data
        Then measure in short runs what waiting for data costs: with the same batch again, and with samples at hand.
    budget
        Time for --prove and --data. [default: 60s]
    memory
        Count what the dataset holds when its loader starts, which takes up to a few seconds once: its Python objects,
        its own caches, and what each worker gets of them.
    trace
        Trace a few steps with torch.profiler, for Perfetto, and count what one computes and moves, to say what it takes
        beyond that: on a processor after `hotlap estimate --calibrate`.
    """
    from hotlap import api
    from hotlap.diagnose import diagnose, rule

    training = training_words(command, "hotlap profile -- python train.py")
    wanted = [rule(code).code for code in (fail_on or "").split(",") if code.strip()]
    may_write("--report", report, force=force)
    if steps is not None and steps < 1:
        raise UsageError(f"--steps {steps}: a profile needs at least one step")
    if budget is not None and not (prove or data):
        raise UsageError("--budget is the time for --prove and --data: a profile alone takes as long as the training")
    with Progress() as progress:
        run = api.profile(
            training,
            steps=steps,
            seconds=None if seconds is None else as_seconds("--seconds", seconds),
            prove=prove,
            data=data,
            budget=as_seconds("--budget", budget or "60s"),
            memory=memory,
            trace=trace,
            run_dir=run_dir,
            progress=progress,
        )
    if trace and run.steps and run.trace is None:
        progress.say("nothing was traced: the training ended before its first steps were over")
    if memory and run.steps and run.memory.dataset is None:
        progress.say("no dataset was counted: no DataLoader of torch started before the first step was over")
    directory = _directory(run_dir, run.info.name)
    if not run.steps:
        diagnose(run)  # raises, with what was seen
    diagnosis = diagnose(run)
    if json:
        print_json(
            {
                "directory": str(directory),
                "info": run.info,
                "facts": run.facts,
                "trace": run.trace,
                "gap": run.gap,
                "diagnosis": diagnosis,
            }
        )
    else:
        from hotlap.report import terminal

        print_view(terminal.profile(run, diagnosis))
    write_page(report, directory)
    if run.info.outcome not in ("finished", "stopped"):
        raise TrainingFailed(f"the training {DID.get(run.info.outcome, run.info.outcome)}: {run.info.reason}")
    there = sorted({finding.code for finding in diagnosis.findings} & set(wanted))
    if there:
        raise FindingsPresent(f"found {', '.join(there)}, which --fail-on asked for")


@app.command(usage="Usage: hotlap tune [OPTIONS] CONFIG\n       hotlap tune [OPTIONS] -- COMMAND")
def tune(
    config: Path | None = None,
    /,
    *,
    budget: Budget = "10m",
    goal: Goal = "throughput",
    quality: str | None = None,
    planned_steps: int | None = None,
    engine: Literal["local", "ray"] = "local",
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="", allow_leading_hyphen=True)] = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    gpu: str | None = None,
    gpu_memory: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    report: Page = None,
    force: Force = False,
    memory_limit: MemoryLimit = None,
    fresh: Fresh = False,
    run_dir: RunDir = None,
    json: Json = False,
    command: Command = None,
) -> None:
    """Try what could make a training faster, keep what is proven, write it down.

    For a configuration of `hotlap train`, whose keys are known, or for any training command:

    `hotlap tune configs/restoration.yaml`

    `hotlap tune -- python train.py --config my.yaml`

    Your files stay as they are: trials write into the run directory. A tuning that was stopped goes on where it
    stopped when the same command is given again.

    Parameters
    ----------
    config
        A configuration of `hotlap train`. The faster one is written next to it as NAME_optimized.yaml.
    goal
        What is to become better: samples per second, peak memory (at no less than 0.6 of the speed), seconds until the
        loss that the baseline ends with, or device hours.
    quality
        Try other trainings, too (larger batches, lighter models), and compare them at equal samples by this metric: one
        that the training reports with `hotlap.metric` or prints, as in `psnr: 28.3`, or `loss`.
    planned_steps
        Steps of the whole training. A change that takes longer to start than it saves over them is dropped.
    engine
        Measure on this machine, a comparison on each of its GPUs at once, or on the machines of a Ray cluster (the one
        of RAY_ADDRESS), which see the same files.
    set_
        Try these values of a key or a flag of your own, too: `--set TRAIN.BATCH_SIZE=1,2,4` or
        `--set=--batch-size=16,32`. Can be given several times.
    dry_run
        Say what would be tried and what not, how the time is divided and what is written; start nothing.
    gpu
        With --dry-run, of a configuration: what fits on this card, as in "RTX 4090". [default: this machine's]
    gpu_memory
        What the card has, e.g. 48GiB, where that is another than usual or no name is given.
    output
        Write the faster configuration to this file instead.
    """
    from hotlap.cli import dry_runs
    from hotlap.records import write_whole
    from hotlap.tune.asked import asked
    from hotlap.tune.search import tune as search
    from hotlap.tune.target import Target

    if (config is None) == (command is None):
        raise UsageError(
            "give either a configuration (`hotlap tune configs/restoration.yaml`) or, after `--`, a training command "
            "(`hotlap tune -- python train.py`)"
        )
    dry_runs.check(dry_run, gpu, gpu_memory, config, report)
    if config is None:
        if output is not None:
            raise UsageError("--output is for a tuned configuration; with a command use `hotlap run --with RESULT`")
        target = Target.of_command(training_words(command, "hotlap tune -- python train.py"))
    else:
        target = Target.of_config(config)
        output = output or config.with_name(f"{config.stem}_optimized{config.suffix}")
    may_write("--output", output, force=force)
    may_write("--report", report, force=force)
    options = msgspec.structs.replace(
        tuning_options(budget, memory_limit, run_dir, fresh),
        goal=goal,
        quality=quality,
        planned_steps=checked_steps("--planned-steps", planned_steps),
        engine=engine,
        asked=asked(set_ or [], target),
    )
    if dry_run:
        dry_runs.show(target, options, output, gpu, gpu_memory, json)
        return
    with Progress() as progress:
        for line in target.told():
            progress.say(line)
        tuning, directory = search(target, options, progress)
    written = None
    rewritten = target.rewritten(tuning.adopted)
    for source, (_, tuned) in rewritten.items():
        written = output or directory / f"{Path(source).stem}_optimized{Path(source).suffix}"
        write_whole(written, tuned)
    page = directory / "report.html"
    write_page(page, directory)
    write_page(report, directory)
    if json:
        print_json(tuning)
    else:
        from hotlap.report import terminal

        print_view(terminal.tuning(tuning))
    patch = directory / "changes.patch" if tuning.handover and tuning.handover.patch else None
    if patch is not None and not json:
        sys.stdout.write("\n" + patch.read_bytes().decode(errors="replace"))
    for what, path in (
        ("configuration", written),
        ("patch", patch),
        ("result", directory / "result.json"),
        ("page", page),
        ("page, as asked with --report", report),
    ):
        if path is not None:
            progress.say(f"{what}: {short(path)}")
    if tuning.adopted:
        # What no key is for is in no file.
        whole = None if target.levers(tuning.adopted) else written
        progress.say(f"train with it: {_how_to_run(target.config, whole, directory)}")


@app.command(usage="Usage: hotlap run --with RESULT [-- COMMAND]")
def run(
    *,
    with_: Annotated[Path | None, Parameter(name="--with")] = None,
    run_dir: RunDir = None,
    command: Command = None,
) -> int:
    """Train for real with the proven changes of a tuning, the source untouched.

    `hotlap run --with .hotlap/runs/tune-.../result.json -- python train.py --config my.yaml`

    Leaves with the exit code of the training.

    Parameters
    ----------
    with_
        The result of a tuning, which is needed: its name, its directory, or its result.json.
    """
    from hotlap import api
    from hotlap.records import Tuning
    from hotlap.report import load
    from hotlap.report.loading import locate

    if with_ is None:
        raise UsageError("give the result of a tuning: `hotlap run --with RESULT -- python train.py`")
    result = load(locate(with_, run_dir))
    if not isinstance(result, Tuning):
        raise RunError(f"{with_} is not the result of a tuning: `hotlap tune` writes one")
    if not result.adopted:
        raise UsageError(f"{with_} adopted no change, so there is nothing to train with")
    print(f"hotlap: training with {', '.join(change.id for change in result.adopted)}", file=sys.stderr)
    return api.run(result, command, run_dir=run_dir)


def _directory(root: Path | None, name: str) -> Path:
    from hotlap.launch.rundir import DEFAULT_ROOT

    return (root or DEFAULT_ROOT) / name


def _how_to_run(config: str | None, written: Path | None, directory: Path) -> str:
    if config is not None and written is not None:
        return f"hotlap train {shlex.quote(short(written))}"
    command = "" if config is not None else " -- COMMAND"
    return f"hotlap run --with {shlex.quote(short(directory))}{command}"
