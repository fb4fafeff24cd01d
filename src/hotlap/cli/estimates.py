"""What can be known before a training runs: whether it fits on a card, and the memory of its data side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from hotlap.cli import scripts, times
from hotlap.cli.options import Command, Json, app, training_words
from hotlap.errors import UsageError
from hotlap.records import DataPlan
from hotlap.terminal import Progress, as_bytes, print_json, print_view

_NO = ""  # as a flag's negative: there is none
_GPU = Parameter(group="On a GPU")
_DATA = Parameter(group="The data side")
_TIME = Parameter(group="Time")
_TIME_FLAG = Parameter(negative=_NO, group="Time")


@app.command(usage="Usage: hotlap estimate --gpu NAME [OPTIONS] CONFIG | -- COMMAND")
def estimate(
    config: Path | None = None,
    /,
    *,
    gpu: Annotated[str | None, _GPU] = None,
    gpu_memory: Annotated[str | None, _GPU] = None,
    all_gpus: Annotated[bool, Parameter(name="--all", negative=_NO, group="On a GPU")] = False,
    variants: Annotated[bool, Parameter(negative=_NO, group="On a GPU")] = False,
    batch_size: int | None = None,
    ranks: int = 1,
    samples: int | None = None,
    price: Annotated[float | None, _TIME] = None,
    calibrate: Annotated[bool, _TIME_FLAG] = False,
    threads: Annotated[int | None, _TIME] = None,
    from_run: Annotated[Path | None, _TIME] = None,
    gap: Annotated[bool, _TIME_FLAG] = False,
    data: Annotated[bool, Parameter(negative=_NO, group="The data side")] = False,
    sample: Annotated[str | None, _DATA] = None,
    workers: Annotated[int | None, _DATA] = None,
    prefetch: Annotated[int | None, _DATA] = None,
    cache: Annotated[str | None, _DATA] = None,
    cache_each: Annotated[bool, Parameter(negative=_NO, group="The data side")] = False,
    memory: Annotated[str | None, _DATA] = None,
    json: Json = False,
    command: Command = None,
) -> None:
    """Say what a training will take before it runs: whether it fits on a GPU, how fast, or what its data side holds.

    `hotlap estimate configs/vrt_spike.yaml --gpu "RTX 4090"`

    `hotlap estimate configs/vrt_spike.yaml --gpu "RTX 4090" --variants --price 2.5`

    `hotlap estimate --gpu "RTX 4090" -- python train.py`

    `hotlap estimate --from-run .hotlap/runs/profile-... --gpu "RTX 4090"`

    `hotlap estimate --data configs/vrt_spike.yaml --ranks 3`

    `hotlap estimate --data --samples 2222 --sample 720x1280x3,720x1280x3,32x720x1280 --workers 36 --ranks 3
    --cache 50GiB --cache-each`

    Parameters
    ----------
    config
        A configuration of `hotlap train`, which knows the rest; what is given besides wins. Instead of it, a training
        command after `--`: two steps of the script are gone through as it is, and it is ended before it saves anything.
    gpu
        The card, as in "RTX 4090"; cpu is this machine's processor. [default: this machine's card]
    gpu_memory
        What the card has, e.g. 48GiB, where that is another than usual or no name is given.
    all_gpus
        Every card of the catalogue.
    variants
        With other checkpointing, precision and optimizer too; takes a few minutes.
    batch_size
        Samples of a micro-batch; of a script, of its DataLoaders. [default: as configured, else 1]
    ranks
        Processes of the node that train: its GPUs.
    samples
        How many there are, of an epoch or of the data side. [default: what the configuration's data have]
    price
        Of an hour of one GPU, in any currency: what the training costs.
    calibrate
        Measure this machine's processor, in half a minute; kept in the user's cache directory, for --gpu cpu.
    threads
        That operators use, of the calibration. [default: torch's]
    from_run
        A run of `hotlap profile`, by its name or directory: its measured step, on the card of --gpu.
    gap
        With --from-run: what its step takes beyond what its work needs.
    data
        The data side: samples, what caches of them come to, batches on their way.
    sample
        What one holds, as shapes: `720x1280x3:uint8,32x720x1280`. Without a type it is float32.
    workers
        Of each rank. [default: 0]
    prefetch
        Batches that each worker keeps ready. [default: 2]
    cache
        Samples that are kept, e.g. 50GiB: once for the node, as `hotlap.data.SampleCache` does.
    cache_each
        Each process that fetches samples keeps as much for itself.
    memory
        Of the node, e.g. 512GiB. [default: this machine's]
    """
    _check(batch_size=batch_size, ranks=ranks, samples=samples, prefetch=prefetch, workers=workers, threads=threads)
    if price is not None and not 0 < price < float("inf"):
        raise UsageError(f"--price {price:g}: give what an hour of a GPU costs, above 0")
    if command is not None:
        others: dict[str, object] = {
            "--data": data,
            "--variants": variants,
            "--calibrate": calibrate,
            "--threads": threads,
            "--sample": sample,
            "--workers": workers,
            "--prefetch": prefetch,
            "--cache": cache,
            "--memory": memory,
            "--cache-each": cache_each,
            "--from-run": from_run,
            "--gap": gap,
            str(config): config,
        }
        refused = [option for option, value in others.items() if value is not None and value is not False]
        if refused:
            raise UsageError(f"{refused[0]} does not go with a training command after `--`: leave one of them out")
        scripts.estimate(
            training_words(command, "hotlap estimate -- python train.py"),
            gpu,
            gpu_memory,
            all_gpus=all_gpus,
            batch_size=batch_size,
            ranks=ranks,
            samples=samples,
            price=price,
            json=json,
        )
        return
    of_data = {"--sample": sample, "--workers": workers, "--prefetch": prefetch, "--cache": cache}
    of_data |= {"--cache-each": cache_each or None, "--memory": memory}
    of_gpu: dict[str, object] = {
        "--gpu": gpu,
        "--gpu-memory": gpu_memory,
        "--all": all_gpus or None,
        "--variants": variants or None,
    }
    of_gpu |= {"--price": price, "--calibrate": calibrate or None, "--threads": threads, "--from-run": from_run}
    foreign = [option for option, value in (of_gpu if data else of_data).items() if value is not None]
    if foreign and data:
        raise UsageError(
            f"{foreign[0]} is of the training on a GPU, and --data asks about the data side: leave one out"
        )
    if foreign:
        raise UsageError(f"{foreign[0]} is of the data side: add --data")
    if gap and from_run is None:
        raise UsageError("--gap is about a measured step: say of which run with --from-run")
    if from_run is not None or calibrate:
        single = {"--gpu-memory": gpu_memory, "--all": all_gpus, "--variants": variants, "--batch-size": batch_size}
        unused = [option for option, value in single.items() if value] + ["--ranks"] * (ranks > 1)
        if unused:
            asked = (
                "--calibrate measures this machine" if calibrate else "--from-run is about one step that was measured"
            )
            raise UsageError(f"{asked}: leave out {unused[0]}")
    if data:
        _data_side(config, samples, sample, batch_size, workers, prefetch, ranks, cache, cache_each, memory, json)
    elif calibrate:
        times.calibrate(config, threads, json)
    elif from_run is not None:
        times.from_run(from_run, config, gpu, gap=gap, samples=samples, price=price, json=json)
    elif threads is not None:
        raise UsageError("--threads is of the calibration: add --calibrate")
    else:
        _on_gpu(config, gpu, gpu_memory, all_gpus, variants, batch_size, ranks, samples, price, json)


def _check(
    *,
    batch_size: int | None,
    ranks: int,
    samples: int | None,
    prefetch: int | None,
    workers: int | None,
    threads: int | None,
) -> None:
    counts = {"--samples": samples, "--batch-size": batch_size, "--prefetch": prefetch, "--threads": threads}
    for option, number in counts.items():
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: give a number of at least 1")
    if ranks < 1 or (workers is not None and workers < 0):
        raise UsageError(f"--ranks {ranks} --workers {workers or 0}: there is at least one rank, and no worker below 0")


def _on_gpu(
    config: Path | None,
    gpu: str | None,
    gpu_memory: str | None,
    all_gpus: bool,
    variants: bool,
    batch_size: int | None,
    ranks: int,
    samples: int | None,
    price: float | None,
    json: bool,
) -> None:
    if config is None:
        raise UsageError(
            'give a configuration of hotlap train, as in `hotlap estimate configs/vrt_spike.yaml --gpu "RTX 4090"`, a '
            'script, as in `hotlap estimate --gpu "RTX 4090" -- python train.py`, or add --data to count the data side'
        )
    scripts.check_all(gpu, gpu_memory, price, all_gpus=all_gpus)
    if all_gpus and variants:
        raise UsageError("--variants is about one card: leave out --all, and name it with --gpu")
    from hotlap.estimate.device import device_of
    from hotlap.report import fits
    from hotlap.train.config import load_config

    training = load_config(config)
    if batch_size is not None:
        training = msgspec.structs.replace(training, batch_size=batch_size)
    size = None if gpu_memory is None else as_bytes("--gpu-memory", gpu_memory)
    if gpu is not None and gpu.lower() == "cpu":
        times.on_cpu(training, size, variants=variants, ranks=ranks, samples=samples, price=price, json=json)
        return
    device = None if all_gpus else device_of(gpu, size)
    # They import torch, which a wrong configuration or card need not wait for.
    from hotlap.estimate.epochs import horizon
    from hotlap.estimate.on_cards import estimate_training

    ahead = horizon(training, ranks=ranks, samples=samples, price=price)
    with Progress() as progress:
        found = estimate_training(training, device, ranks=ranks, variants=variants, ahead=ahead, say=progress)
    print_json(found) if json else print_view(fits.training(found))


def _data_side(
    config: Path | None,
    samples: int | None,
    sample: str | None,
    batch_size: int | None,
    workers: int | None,
    prefetch: int | None,
    ranks: int,
    cache: str | None,
    cache_each: bool,
    memory: str | None,
    json: bool,
) -> None:
    if config is None and (samples is None or sample is None):
        raise UsageError(
            "give a configuration of hotlap train, or --samples and --sample, as in `hotlap estimate --data --samples "
            "2222 --sample 720x1280x3,32x720x1280`"
        )
    from hotlap.estimate.configured import configured
    from hotlap.estimate.data_side import estimate as estimated
    from hotlap.estimate.data_side import parts_of
    from hotlap.launch.environment import usable_memory
    from hotlap.report import estimates

    parts = None if sample is None else parts_of(sample)
    room = usable_memory() if memory is None else as_bytes("--memory", memory)
    plan = DataPlan(samples=samples or 1, sample=parts or [], ranks=ranks, memory=room)
    if config is not None:
        plan = configured(config, plan, with_data=samples is None or parts is None)
    given = {
        "samples": samples,
        "batch_size": batch_size,
        "workers": workers,
        "prefetch": prefetch,
        "cache": None if cache is None else as_bytes("--cache", cache),
        "cache_each": cache_each or None,
        "sample": parts,
    }
    plan = msgspec.structs.replace(plan, **{name: value for name, value in given.items() if value is not None})
    if parts is not None:
        plan = msgspec.structs.replace(plan, in_batch=None)
    if cache_each and not plan.cache:
        raise UsageError("--cache-each says whose the cache is, and there is none: give its size with --cache")
    found = estimated(plan)
    print_json(found) if json else print_view(estimates.data_side(found))
