"""The commands on a configuration that has not run yet: what is wrong with it, and what suits this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hotlap.cli.options import Force, Json, RunDir, app
from hotlap.errors import FindingsPresent, UsageError
from hotlap.terminal import Progress, as_bytes, as_seconds, may_write, print_json, print_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from hotlap.records import Comparison, Filled, Tuning

#: Of the budget of --benchmark; the rest is for the comparison with the configuration that was given.
_TUNING = 0.6


@app.command
def lint(
    config: Path,
    /,
    *,
    ranks: int = 1,
    memory: str | None = None,
    cores: int | None = None,
    gpu: str | None = None,
    against: Path | None = None,
    fail_on: Annotated[
        str | None,
        Parameter(help="Leave with exit code 1 if one of these is found, e.g. CONFIG07,CONFIG10, or any."),
    ] = None,
    json: Json = False,
) -> None:
    """Find what in a configuration would harm its training, before it runs.

    `hotlap lint configs/vrt_spike.yaml --ranks 3 --memory 256GiB --gpu "RTX 4090"`

    Of another project's YAML the keys are judged that are recognised: workers, prefetch, batch, precision, cache.

    Parameters
    ----------
    config
        A configuration of `hotlap train`, or another YAML.
    ranks
        Processes of the node that train: its GPUs.
    memory
        Of the node, e.g. 256GiB. [default: this machine's]
    cores
        Of the node. [default: this machine's]
    gpu
        The card that it will run on, or none. [default: this machine's]
    against
        The configuration that this one was made from: was the learning rate rescaled with the batch?
    """
    from hotlap.diagnose.rules import described
    from hotlap.tune.linted import lint_config

    for option, number in (("--ranks", ranks), ("--cores", cores)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: give a number of at least 1")
    wanted = [word.strip() for word in (fail_on or "").split(",") if word.strip()]
    codes = [described(word).code for word in wanted if word.lower() != "any"]
    found = lint_config(
        config,
        ranks=ranks,
        memory=None if memory is None else as_bytes("--memory", memory),
        cores=cores,
        gpu=gpu,
        against=against,
    )
    unknown = [code for code in codes if code not in found.checked]
    if unknown:
        raise UsageError(f"--fail-on {unknown[0]}: that is found in a run; in a configuration {_span(found.checked)}")
    if json:
        print_json(found)
    else:
        from hotlap.report.lint import linted

        print_view(linted(found))
    there = sorted({each.code for each in found.findings})
    asked = there if len(codes) < len(wanted) else [code for code in there if code in codes]
    if asked:
        raise FindingsPresent(f"found {', '.join(asked)}, which --fail-on asked for")


def _span(codes: list[str]) -> str:
    return f"are {codes[0]} to {codes[-1]}"


@app.command
def optimize(
    config: Path,
    /,
    *,
    benchmark: Annotated[bool, Parameter(negative="")] = False,
    budget: str | None = None,
    quality: str | None = None,
    fill: Annotated[bool, Parameter(negative="")] = False,
    ranks: int = 1,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Force = False,
    run_dir: RunDir = None,
    json: Json = False,
) -> None:
    """Write a configuration that suits this machine: NAME_gpu_optimized.yaml beside it.

    `hotlap optimize configs/restoration.yaml`

    `hotlap optimize configs/restoration.yaml --benchmark --budget 20m`

    Keys are changed for what is known of the machine (GPU or none, cores, memory, a short calibration), each with its
    reason; every other character stays as it is. Without a GPU it is made for the CPU.

    Parameters
    ----------
    config
        A configuration of `hotlap train`.
    benchmark
        Then measure: try micro-batches at the same effective batch, compilation and the rest as `hotlap tune` does,
        write what is proven to NAME_gpu_optimized_optimized.yaml, and compare the result with CONFIG itself.
    budget
        Time for --benchmark. [default: 10m]
    quality
        With --benchmark: try larger effective batches, too, with the learning rate rescaled, and compare them at equal
        samples by this metric.
    fill
        Then measure what larger network would train in the time that a sample took before (restoration alone). It makes
        nothing faster, and is another training; no file says it.
    ranks
        Processes of the node that train: its GPUs.
    output
        Write the result to this file instead: the measured one with --benchmark.
    """
    from hotlap.report import optimized as report
    from hotlap.report import terminal
    from hotlap.train.config import load_config
    from hotlap.tune.optimize import optimize as optimized
    from hotlap.tune.optimize import output_of, refuse_to_replace

    if ranks < 1:
        raise UsageError(f"--ranks {ranks}: give a number of at least 1")
    for option, given in (("--budget", budget), ("--quality", quality)):
        if given is not None and not benchmark:
            raise UsageError(f"{option} is for --benchmark: without it nothing is trained")
    first = output_of(config) if benchmark or output is None else output
    last = (output or first.with_name(f"{first.stem}_optimized{first.suffix}")) if benchmark else None
    seconds = as_seconds("--budget", budget or "10m")
    may_write("--output", first, force=force)
    may_write("--output", last, force=force)
    refuse_to_replace([config], first)
    if last is not None:
        refuse_to_replace([config, first], last)
    if fill:
        from hotlap.estimate.fill import may_fill

        may_fill(load_config(config))
    results: dict[str, object] = {}
    best = first
    with Progress() as progress:
        found = optimized(config, first, ranks=ranks, progress=progress)
        results["optimized"] = found
        _show(json, lambda: report.optimized(found))
        if last is not None:
            tuning, written = _tuned(first, last, _TUNING * seconds, quality, run_dir, progress)
            best = last if written else first
            comparison = _compared(config, best, (1 - _TUNING) * seconds, run_dir, progress)
            results |= {"tuning": tuning, "comparison": comparison}
            _show(json, lambda: terminal.tuning(tuning))
            _show(json, lambda: terminal.comparison(comparison), f"{config} (A) against {best} (B)")
        if fill:
            larger = _filled(config, best, progress)
            results["fill"] = larger
            _show(json, lambda: report.filled(larger, str(config), str(best)))
    if json:
        print_json(results)
    progress.say(f"train with it: hotlap train {shlex.quote(str(best))}")


def _show(json: bool, view: Callable[[], RenderableType], above: str = "") -> None:
    if not json:
        if above:
            print(f"{above}\n")
        print_view(view())
        print(flush=True)


def _filled(config: Path, best: Path, progress: Progress) -> Filled:
    from hotlap.estimate.fill import fill
    from hotlap.train.config import load_config

    progress("measuring larger networks")
    return fill(load_config(config), load_config(best))


def _tuned(
    first: Path, last: Path, seconds: float, quality: str | None, run_dir: Path | None, progress: Progress
) -> tuple[Tuning, bool]:
    """Tune what was written, and write what is proven faster; return also whether there was something to write."""
    from hotlap.records import write_whole
    from hotlap.tune.options import Options
    from hotlap.tune.search import tune
    from hotlap.tune.target import Target

    target = Target.of_config(first)
    tuning, directory = tune(target, Options(budget=seconds, quality=quality, run_dir=run_dir), progress)
    rewritten = target.rewritten(tuning.adopted)
    for _, edited in rewritten.values():
        write_whole(last, edited)
    if not rewritten:
        progress.say(f"nothing more was proven that a key is for, so {last} was not written")
    if target.levers(tuning.adopted):
        progress.say(f"what no key is for: hotlap run --with {shlex.quote(str(directory))}")
    return tuning, bool(rewritten)


def _compared(config: Path, best: Path, seconds: float, run_dir: Path | None, progress: Progress) -> Comparison:
    """What was written against what was given: the tuning knows only the first step between them."""
    from hotlap.tune.compare import compare
    from hotlap.tune.options import Options

    a, b = ([sys.executable, "-m", "hotlap", "train", str(path)] for path in (config, best))
    return compare(a, b, Options(budget=seconds, run_dir=run_dir), progress)[0]
