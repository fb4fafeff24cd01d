"""The commands of the reference trainings: train one, and check it afterwards."""

from __future__ import annotations

from pathlib import Path

from hotlap.cli.options import Json, app
from hotlap.errors import FindingsPresent
from hotlap.terminal import print_json


@app.command
def train(config: Path, /, *, json: Json = False) -> None:
    """Train one of the reference trainings.

    `hotlap train configs/restoration.yaml`

    Parameters
    ----------
    config
        The configuration; every key is explained in the files of the folder configs.
    """
    from hotlap.train import main as train_config
    from hotlap.train import summary

    result = train_config(config)
    if result["rank"] == 0:
        print_json(result) if json else print(summary(result), flush=True)


@app.command
def verify(run: Path, /, *, json: Json = False) -> None:
    """Go through the checklist after a training, a verdict and its evidence a line; exit code 1 when one fails.

    `hotlap verify runs/restoration`

    What is asked is in the configuration's `goals`: data_time_ms, gpu_utilization, gpu_memory, cpu, disk_wait,
    memory_growth, loss_change, throughput, hit_rate, and the metrics of the validation.

    Parameters
    ----------
    run
        The output_dir of a training of `hotlap train`.
    """
    from hotlap.train.verify import describe
    from hotlap.train.verify import verify as verified

    checks = verified(run)
    print_json(checks) if json else print(describe(checks), flush=True)
    failed = [check.name for check in checks if check.verdict == "failed"]
    if failed:
        raise FindingsPresent(f"failed: {', '.join(failed)}")
