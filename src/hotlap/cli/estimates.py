"""What can be known before a training runs: so far the memory of its data side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from hotlap.cli.options import Json, app
from hotlap.errors import UsageError
from hotlap.records import DataPlan
from hotlap.terminal import as_bytes, print_json, print_view


@app.command(usage="Usage: hotlap estimate --data [OPTIONS] [CONFIG]")
def estimate(
    config: Path | None = None,
    /,
    *,
    data: Annotated[bool, Parameter(negative="")] = False,
    samples: int | None = None,
    sample: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    prefetch: int | None = None,
    ranks: int = 1,
    cache: str | None = None,
    cache_each: Annotated[bool, Parameter(negative="")] = False,
    memory: str | None = None,
    json: Json = False,
) -> None:
    """Say what a training will take, before it runs: so far the memory of its data side.

    `hotlap estimate --data configs/vrt_spike.yaml --ranks 3`

    `hotlap estimate --data --samples 2222 --sample 720x1280x3,720x1280x3,32x720x1280 --workers 36 --ranks 3
    --cache 50GiB --cache-each`

    Parameters
    ----------
    config
        A configuration of `hotlap train`, which knows the rest; what is given besides wins.
    data
        The data side: samples, what caches of them come to, batches on their way.
    samples
        How many there are.
    sample
        What one holds, as shapes: `720x1280x3:uint8,32x720x1280`. Without a type it is float32.
    batch_size
        Samples of a batch. [default: 1]
    workers
        Of each rank. [default: 0]
    prefetch
        Batches that each worker keeps ready. [default: 2]
    ranks
        Processes of the node that train: its GPUs.
    cache
        Samples that are kept, e.g. 50GiB: once for the node, as `hotlap.data.SampleCache` does.
    cache_each
        Each process that fetches samples keeps as much for itself.
    memory
        Of the node, e.g. 512GiB. [default: this machine's]
    """
    if not data:
        raise UsageError("hotlap estimate counts the memory of the data side so far: add --data")
    for option, number in (("--samples", samples), ("--batch-size", batch_size), ("--prefetch", prefetch)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: give a number of at least 1")
    if ranks < 1 or (workers is not None and workers < 0):
        raise UsageError(f"--ranks {ranks} --workers {workers or 0}: there is at least one rank, and no worker below 0")
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
