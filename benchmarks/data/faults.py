"""Faults of the data side: processes that are killed, memory that is not there, datasets that are not what they say.

    python benchmarks/data/faults.py [--times 50] [--seed 0] [--only killed|wrong] [--control-group FOLDER] [--small]

Killed: SIGKILL at random moments (see ``kills``), so many times each to a worker in the epoch in which it writes into
the cache, to one of two ranks, and to the main process. The training goes on or ends; to whoever is left every sample
of the cache is right; no process, nothing in /dev/shm and no shared memory is left. Files that torch itself leaves in
/dev/shm, of a worker that dies while it sends a batch, are counted by loader.

Wrong: each in a process of its own, with 2 workers and for 3 epochs, with the cache and without. The batches and the
errors must be the same, and where the cache does less than it was asked for, a sentence says so:

    full tmpfs          4 MB of /dev/shm, in a mount namespace of its own (needs root and ``unshare``)
    no more memory      no pages are to be had after the first 64 MiB: a posix_fallocate that says so is preloaded
                        (needs ``cc``)
    no address space    RLIMIT_AS, below what the cache wants to map
    control group       3 GB for all processes, and a cache of 10 GiB; with --control-group, the folder of a memory
                        control group that was made for this, into which a process is moved
    ...                 and datasets: see ``WRONG``

Asked: all of it. Writes ``results/data/faults.json`` and ``.md``. About 5 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from kills import KINDS, kills
from torch.utils.data import DataLoader, Dataset
from turns import circumstances, keep

from hotlap.data import SampleCache, SharedBatches

LENGTH, EPOCHS = 100, 3
MIB = 2**20
#: What posix_fallocate is replaced by: it refuses the cache whatever begins behind 64 MiB.
REFUSING = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int posix_fallocate(int fd, off_t begin, off_t size) {
    char link[64], name[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    readlink(link, name, sizeof name - 1);
    if (strstr(name, "memfd:hotlap") && begin >= (off_t)64 << 20) return ENOSPC;
    return fallocate(fd, 0, begin, size) ? errno : 0;
}
int posix_fallocate64(int fd, off_t begin, off_t size) { return posix_fallocate(fd, begin, size); }
"""


class Samples(Dataset[Any]):
    """All of one size."""

    def __init__(self, size: int = 16 * 1024) -> None:
        self.size = size

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> Any:
        return index, torch.full((self.size,), index % 251, dtype=torch.uint8)


class OneLarge(Samples):
    def __getitem__(self, index: int) -> Any:
        return index, torch.full((8 * MIB if index == 7 else self.size,), index, dtype=torch.uint8)


class Shapes(Samples):
    def __getitem__(self, index: int) -> Any:
        return index, torch.full((index % 7 + 1, self.size), index, dtype=torch.uint8)


class Augmented(Samples):
    def __getitem__(self, index: int) -> Any:
        return index, torch.rand(self.size // 4) + index


class Broken(Samples):
    def __getitem__(self, index: int) -> Any:
        if index == 41:
            raise OSError("picture 41 is cut off")
        return super().__getitem__(index)


class TooFew(Samples):
    """Has fewer than it says."""

    def __len__(self) -> int:
        return LENGTH + 20

    def __getitem__(self, index: int) -> Any:
        if index >= LENGTH:
            raise IndexError(f"there is no picture {index}")
        return super().__getitem__(index)


class Fault(NamedTuple):
    dataset: Callable[[], Samples]
    #: What must be said, by the cache or as the error of the dataset; empty where there is nothing to say.
    says: str = ""
    #: Of the cache, in MiB; by default there is room for everything.
    budget: float = 64
    batch: int = 4
    #: Samples that the training asks for.
    asks: int = LENGTH
    #: Of hits in the second and third epoch; None where it depends.
    hit_rate: float | None = 1.0


LARGE = partial(Samples, MIB)
WRONG = {
    "full tmpfs": Fault(Samples),
    "no more memory": Fault(LARGE, "no more memory", budget=200, hit_rate=None),
    "no address space": Fault(LARGE, "cannot be made", budget=4096, hit_rate=0.0),
    "control group": Fault(partial(Samples, 32 * MIB), "control group", budget=10 * 1024, batch=1, hit_rate=None),
    "a sample larger than the budget": Fault(OneLarge, "larger than", budget=4, batch=1, hit_rate=0.99),
    "changing shapes": Fault(Shapes, batch=1),
    "random augmentation": Fault(Augmented, "samples are random", hit_rate=0.0),
    "an exception in decode": Fault(Broken, "picture 41 is cut off", hit_rate=None),
    "a length that is too long": Fault(TooFew, "there is no picture 100", asks=LENGTH + 20, hit_rate=None),
    "a length that is too short": Fault(Samples, "beyond", asks=LENGTH + 20, hit_rate=LENGTH / (LENGTH + 20)),
}


def trained(dataset: Any, fault: Fault, kind: type[DataLoader[Any]]) -> tuple[list[int], list[str]]:
    """Checksums of all batches, and errors that ended an epoch."""
    torch.manual_seed(0)
    loader = kind(dataset, batch_size=fault.batch, sampler=range(fault.asks), num_workers=2)
    sums, errors = [], []
    for _ in range(EPOCHS):
        try:
            for numbers, samples in loader:
                sums.append(zlib.crc32(samples.numpy(), zlib.crc32(numbers.numpy())))
        except Exception as error:
            # The worker's own error, below its traceback.
            errors.append(str(error).strip().splitlines()[-1])
    return sums, errors


def scenario(name: str) -> dict[str, Any]:
    """Runs in a process of its own."""
    torch.set_num_threads(1)
    fault = WRONG[name]
    loaders: list[type[DataLoader[Any]]] = [DataLoader, SharedBatches]
    expected = trained(fault.dataset(), fault, DataLoader)
    if name == "no address space":
        mapped = 1024 * int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 1024 * MIB, resource.RLIM_INFINITY))
    found: list[dict[str, Any]] = []
    for kind in loaders:
        cache = SampleCache(fault.dataset(), fault.budget / 1024, name="the dataset")
        batches, errors = trained(cache, fault, kind)
        stats = cache.stats()
        del cache
        found.append(
            {
                "loader": kind.__name__,
                "batches": len(batches),
                "right": (batches, errors) == expected,
                "errors": sorted(set(errors)),
                "items": stats.items,
                "budget": stats.budget,
                "hit_rate": stats.hits / ((EPOCHS - 1) * fault.asks),
                "not_kept": stats.not_kept,
                "stopped": stats.stopped,
            }
        )
    return {"runs": found}


def started(name: str, folder: Path, group: Path | None) -> tuple[list[str], dict[str, str]] | str:
    """The command of a scenario and its environment; or why it cannot be had here."""
    command = [sys.executable, __file__, "--scenario", name]
    if name == "full tmpfs":
        small = 'mount -t tmpfs -o size=4m tmpfs /dev/shm && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", small, "sh", *command]
        works = shutil.which("unshare") and not subprocess.run([*command[:6], "true"], capture_output=True).returncode
        return (command, {}) if works else "no mount namespace may be made here"
    if name == "no more memory":
        compiler = shutil.which("cc")
        if compiler is None:
            return "there is no C compiler here"
        (folder / "refusing.c").write_text(REFUSING)
        library = folder / "refusing.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "refusing.c"], check=True)
        return command, {"LD_PRELOAD": str(library)}
    if name == "control group":
        if group is None:
            return "no --control-group was given"
        limit = next(file for file in ("memory.max", "memory.limit_in_bytes") if (group / file).exists())
        (group / limit).write_text(str(3 * 10**9))
        return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command], {}
    return command, {}


def wrong(name: str, folder: Path, group: Path | None) -> dict[str, Any]:
    how = started(name, folder, group)
    if isinstance(how, str):
        return {"fault": name, "not_here": how}
    command, more = how
    known = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(command, capture_output=True, text=True, env=known, timeout=300)
    found: dict[str, Any] = {"runs": []}
    with suppress(ValueError, IndexError):
        found = json.loads(done.stdout.splitlines()[-1])
    sentences = list(dict.fromkeys(re.findall(r"UserWarning: (.*)", done.stderr)))
    errors = sorted({error for each in found["runs"] for error in each["errors"]})
    fault = WRONG[name]
    said = [each for each in (*sentences, *errors) if fault.says in each] if fault.says else []
    hits = [each["hit_rate"] for each in found["runs"]]
    return {
        "fault": name,
        "exit_code": done.returncode,
        "says": sentences + errors,
        "as_asked": done.returncode == 0
        and len(found["runs"]) == 2
        and all(each["right"] for each in found["runs"])
        and (bool(said) if fault.says else not sentences + errors)
        and (fault.hit_rate is None or all(abs(each - fault.hit_rate) < 0.03 for each in hits)),
        "stderr": done.stderr.splitlines()[-5:] if done.returncode else [],
        **found,
    }


def lines_of_kills(found: dict[str, Any]) -> list[str]:
    lines = [
        "| killed | times | interrupted | hung | half-written samples left | altered samples | wrong samples |"
        " processes left | all gone after at most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        each = found["by_kind"][kind]
        keys = ("kills", "interrupted", "hung", "half_written", "not_intact", "wrong", "processes_left")
        cells = [kind, *(str(each[key]) for key in keys), f"{each['longest_until_all_gone_s']:.0f} s"]
        lines.append(f"| {' | '.join(cells)} |")
    memory = found["shared_memory_mb"]
    told = sum(found["by_kind"][kind]["told_of_the_cache"] for kind in KINDS)
    silent = sum(found["by_kind"][kind]["silent"] for kind in KINDS)
    files = Counter(each["loader"] for each in found["left_in_dev_shm"] if each["of_a_killed_worker"])
    left = "nothing of the cache" + "".join(f", {files[name]} files of torch by workers of {name}" for name in files)
    return [
        *lines,
        "",
        f"{told} processes were left that looked at every sample of the cache; {silent} that should have did not.",
        f"Left in /dev/shm: {left}. Shared memory of the machine: {memory['before']:.1f} MB before, "
        f"{memory['after']:.1f} MB after.",
    ]


def lines_of_wrong(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| fault | what is said | as without the cache |", "|---|---|---|"]
    for row in rows:
        if "not_here" in row:
            lines.append(f"| {row['fault']} | not tried: {row['not_here']} | |")
            continue
        verdict = "yes" if row["as_asked"] else f"NO, exit code {row['exit_code']}"
        lines.append(f"| {row['fault']} | {' / '.join(row['says']) or 'nothing'} | {verdict} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("killed", "wrong"), help="a part, which writes no results")
    parser.add_argument("--control-group", type=Path)
    parser.add_argument("--small", action="store_true", help="a trial of the benchmark itself, which writes no results")
    parser.add_argument("--scenario", choices=WRONG, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.scenario is not None:
        print(json.dumps(scenario(given.scenario)))
        return
    about = circumstances()
    figures: dict[str, Any] = {"seed": given.seed}
    lines = ["# Faults of the data side", ""]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.only != "wrong":
            figures["killed"] = kills(2 if given.small else given.times, given.seed, folder)
            lines += [*lines_of_kills(figures["killed"]), ""]
        if given.only != "killed":
            figures["wrong"] = []
            for each in WRONG:
                figures["wrong"].append(wrong(each, folder, given.control_group))
                print(figures["wrong"][-1], file=sys.stderr)
            lines += lines_of_wrong(figures["wrong"])
    keep("faults", about, figures, lines, small=given.small or given.only is not None)


if __name__ == "__main__":
    main()
