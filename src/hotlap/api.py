"""The commands as functions: the same words, the same records, exceptions instead of exit codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from hotlap.errors import HotlapError, UsageError
from hotlap.records import Comparison, Diagnosis, Goal, Lint, MemoryEstimate, Optimized, Run, Tuning

#: A real training may be silent for long: between steps it may validate, or wait for a queue.
_A_DAY = 86400.0


def _quiet(message: str) -> None:
    pass


def _nonempty(command: Sequence[str]) -> None:
    if not command:
        raise UsageError("there is no training command: write it after `--`, as in `hotlap profile -- python train.py`")


def profile(
    command: Sequence[str],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    prove: bool = False,
    data: bool = False,
    budget: float = 60.0,
    trace: bool = False,
    memory: bool = False,
    run_dir: Path | None = None,
    progress: Callable[[str], None] = _quiet,
) -> Run:
    """Run a training command with the probe inside and return its record.

    With ``steps`` or ``seconds`` (of training) it is ended early, and what it writes goes to the run directory;
    without, it runs to its end and writes its files as usual. With ``prove``, short runs of at most ``budget`` seconds
    together follow, which measure what the suspects of the first findings cost; they write to the run directory too.
    With ``data`` those two are measured that tell what waiting for data costs: the same batch, and the same samples.
    With ``trace``, a few steps are traced with torch.profiler, and one is held against what its work needs, where the
    device's rates are known. With ``memory``, what the dataset holds is counted when its loader starts.

    Raises:
        TrainingFailed: the command cannot be started. How it ended otherwise is ``run.info.outcome``.
    """
    from hotlap.launch import Limits, Training, new_run_directory
    from hotlap.launch.process import Plan

    _nonempty(command)
    short = steps is not None or seconds is not None
    plan = Plan(stop_steps=steps, stop_seconds=seconds, contained=short, trace=trace, memory=memory)
    directory = new_run_directory("profile", run_dir)
    try:
        with Training(list(command), directory, plan, Limits(silence=_A_DAY), output="tee") as training:
            training.wait()
    except KeyboardInterrupt:
        if training.run().steps:
            progress(f"hotlap report {directory} -o report.html shows what was measured until now")
        raise
    run = training.run()
    if run.trace is not None and run.trace.flops:
        run = _with_gap(_with_peak(run, directory, command, progress), directory, progress)
    if not (prove or data) or not run.steps or run.info.outcome not in ("finished", "stopped"):
        return run
    import msgspec

    from hotlap.tune.ablation import DATA_SIDE, prove_suspects

    proven = prove_suspects(
        command,
        run,
        diagnose(run),
        directory,
        budget=budget,
        progress=progress,
        asked=DATA_SIDE if data else (),
        suspected=prove,
    )
    return msgspec.structs.replace(run, ablations=proven)


def _with_peak(run: Run, directory: Path, command: Sequence[str], progress: Callable[[str], None]) -> Run:
    from hotlap.estimate.peak import measured_peak
    from hotlap.launch.rundir import add_peak
    from hotlap.tune.target import python_of

    progress("measuring what this machine reaches in a large matrix product")
    facts = run.facts
    dtype = facts.autocast or facts.parameter_dtype or "float32"
    return add_peak(
        directory, run, measured_peak(python_of(command), facts.device or "cpu", dtype, facts.threads or 1), dtype
    )


def _with_gap(run: Run, directory: Path, progress: Callable[[str], None]) -> Run:
    import msgspec

    from hotlap.estimate.from_run import gap_of
    from hotlap.launch.rundir import GAP
    from hotlap.records import write_record

    try:
        gap = gap_of(run, None, run.info.environment.cpu)
        write_record(directory / GAP, gap)
    except HotlapError as why:
        progress(f"what the step takes beyond its work is left out: {why}")
        return run
    return msgspec.structs.replace(run, gap=gap)


def diagnose(run: Run) -> Diagnosis:
    """Name what costs the time of a run.

    Raises:
        TrainingFailed: the run has no step.
    """
    from hotlap.diagnose import diagnose as diagnose_run

    return diagnose_run(run)


def tune(
    target: str | Path | Sequence[str],
    *,
    budget: float = 600.0,
    goal: Goal = "throughput",
    quality: str | None = None,
    planned_steps: int | None = None,
    engine: Literal["local", "ray"] = "local",
    set: Sequence[str] = (),  # noqa: A002 - the option's name
    run_dir: Path | None = None,
    fresh: bool = False,
    progress: Callable[[str], None] = _quiet,
) -> Tuning:
    """Tune a configuration of the reference trainer (a path), or any training command (a list of words).

    ``goal``: what is to become better. ``quality``: a metric by which other trainings are compared at equal samples;
    without one they are not tried. ``planned_steps``: those of the whole training, which a longer start is charged to.
    ``engine``: this machine, or those of a Ray cluster.
    ``set`` names keys and flags of the user's own with values to try, as in ``["TRAIN.BATCH_SIZE=1,2,4"]``.

    Raises:
        UsageError: there is no such key, or it does not take such a value.
        ConfigError: the configuration is wrong.
        TrainingFailed: the training itself crashes, or never steps.
    """
    from hotlap.tune.asked import asked
    from hotlap.tune.options import Options
    from hotlap.tune.search import tune as search
    from hotlap.tune.target import Target

    chosen = Target.of_config(Path(target)) if isinstance(target, (str, Path)) else Target.of_command(target)
    options = Options(
        budget=budget,
        goal=goal,
        quality=quality,
        planned_steps=planned_steps,
        engine=engine,
        run_dir=run_dir,
        fresh=fresh,
        asked=asked(set, chosen),
    )
    return search(chosen, options, progress)[0]


def compare(
    a: Sequence[str],
    b: Sequence[str],
    *,
    budget: float = 600.0,
    run_dir: Path | None = None,
    fresh: bool = False,
    progress: Callable[[str], None] = _quiet,
) -> Comparison:
    """Say whether B is faster than A, and whether it is the same training.

    Raises:
        TrainingFailed: one of them crashes, or never steps.
    """
    from hotlap.tune.compare import compare as compare_commands
    from hotlap.tune.options import Options

    return compare_commands(a, b, Options(budget=budget, run_dir=run_dir, fresh=fresh), progress)[0]


def run(result: Tuning, command: Sequence[str] | None = None, *, run_dir: Path | None = None) -> int:
    """Train for real with the adopted changes of a tuning; return the exit code of the training.

    Without ``command`` it is the tuned one.

    Raises:
        UsageError: a change can only be made in the configuration file, and another command was given.
    """
    from hotlap.launch import Limits, Training, new_run_directory
    from hotlap.launch.process import Plan
    from hotlap.tune.target import Target

    if command is None and result.config is not None:
        target = Target.of_config(Path(result.config))
    else:
        target = Target.of_command(result.command if command is None else command)
    levers = target.levers(result.adopted)
    unapplied = [change.id for change in result.adopted if not change.inject and not target.has_keys(change)]
    if unapplied:
        raise UsageError(
            f"{', '.join(unapplied)} can only be set in the configuration file: use the one that was written"
        )
    directory = new_run_directory("run", run_dir)
    arranged = target.arrange(result.adopted, directory)
    plan = Plan(levers=levers, silent=True)
    with Training(arranged, directory, plan, Limits(silence=_A_DAY), output="inherit") as training:
        training.wait()
    return training.exit_status


def lint(
    config: str | Path,
    *,
    ranks: int = 1,
    memory: int | None = None,
    cores: int | None = None,
    gpu: str | None = None,
    against: str | Path | None = None,
) -> Lint:
    """Find what in a configuration would harm its training, before it runs; for this machine, or the one described.

    Raises:
        ConfigError: it cannot be read, or no key of it is recognised.
        UsageError: there is no such card as ``gpu``.
    """
    from hotlap.tune.linted import lint_config

    base = None if against is None else Path(against)
    return lint_config(Path(config), ranks=ranks, memory=memory, cores=cores, gpu=gpu, against=base)


def optimize(config: str | Path, output: str | Path, *, ranks: int = 1) -> Optimized:
    """Write ``output``: the configuration with the keys that suit this machine. A file that is there is replaced.

    Raises:
        ConfigError: the configuration is wrong, or cannot be edited safely.
        UsageError: ``output`` is the configuration itself.
    """
    from hotlap.tune.optimize import optimize as optimized

    return optimized(Path(config), Path(output), ranks=ranks)


def auto_optimize_config(in_path: str | Path, out_path: str | Path) -> Optimized:
    """``optimize``, by the name that the VRT-Spike and restoration projects have for it."""
    return optimize(in_path, out_path)


def report(path: str | Path) -> str:
    """Return the HTML page of a run, a tuning or a comparison."""
    from hotlap.report import load_report

    return load_report(Path(path))


def export_to(run: Run | str | Path, logger: Any) -> int:
    """Hand every step of a run to a tracker of experiments: ``logger.log(values, step=...)``; return how many.

    ``logger`` is anything with such a method (a run of wandb or trackio), or a function that takes the same, such as
    ``mlflow.log_metrics``. ``run`` may be a directory. The names are those of ``hotlap.export.scalars``.

    Raises:
        RunError: there is no run.
        UsageError: it is no such logger.
    """
    from hotlap.export import export_to as export
    from hotlap.report.loading import load_run

    return export(run if isinstance(run, Run) else load_run(Path(run))[0], logger)


def explain(code: str) -> str:
    """Return what a finding means, how it is measured and what to do about it, in Markdown."""
    from hotlap.diagnose import explain as explain_code

    return explain_code(code)


def estimate_memory(
    build: Callable[[], Callable[[], object]],
    *,
    device: Literal["cuda", "cpu"] = "cuda",
    capability: tuple[int, int] | None = None,
) -> MemoryEstimate:
    """Return what a training of your own needs of a device's memory, without the device and without the memory.

    ``build`` makes all of it, network, optimizer and batch, on the CPU, and returns its step: a function that computes
    the loss, goes backward and lets the optimizer step. It is called with tensors that have no memory. ``device``: what
    they stand for. ``capability``: of the card, as (9, 0).

    Raises:
        HotlapError: what the step does depends on the values of tensors, or is not known to torch.
    """
    from hotlap.estimate.memory import estimate

    return estimate(build, device=device, capability=capability)


def train(config: str | Path) -> dict[str, Any]:
    """Run a reference training and return its results.

    Raises:
        ConfigError: the configuration is wrong.
        TrainingFailed: the loss is no longer a number.
    """
    from hotlap.train import main

    return main(config)
