"""SIGKILL at random moments of trainings that share a cache; used by ``faults``.

    this process ── fork ── a training in a session of its own ── 2 workers             "worker", "main"
                                  └──── fork ── 2 ranks (gloo) ── 2 workers each         "rank"

A training reads samples of 1 MiB, whose checksums are known, for some epochs; where its workers die it goes on with new
ones, as a script may that catches torch's error. Whoever is left looks at the cache in the end: every sample of it, by
the checksum that it was written with and against what the dataset gives. What still runs of a session is watched while
the next trainings run, since torch's workers look for their parent every 5 seconds only.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import random
import re
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from hotlap.data import SampleCache, SharedBatches

KINDS = ("worker", "rank", "main")
LENGTH, SIZE, BATCH, WORKERS, EPOCHS = 96, 2**20, 4, 2, 3
#: Of what the samples take: with room for halves that nobody reads, and too little for all.
SHARES = (1.1, 0.6)
#: Seconds for a training to end, for a rank whose other is dead, and for all processes of a session.
PATIENCE, ALONE, GONE = 90.0, 30.0, 30.0
#: Cells of the board that a training shares with us: when its ranks began, when epochs and training were over, and
#: which processes the ranks are.
BEGAN, FIRST, OVER, RANKS = 0, 2, 3, 4


class Samples(Dataset[Any]):
    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, torch.from_numpy(np.random.default_rng(index).integers(0, 256, SIZE, np.uint8))


def checksum(sample: Tensor) -> int:
    return zlib.crc32(sample.contiguous().numpy())


class Trial(NamedTuple):
    kind: str
    number: int
    place: Path
    board: np.ndarray
    sums: list[int]

    @property
    def ranks(self) -> int:
        return 2 if self.kind == "rank" else 1


def train(trial: Trial, rank: int) -> dict[str, Any]:
    """Epochs, and then a look at the whole cache."""
    torch.manual_seed(trial.number)
    bytes_of_samples = SHARES[trial.number % len(SHARES)] * LENGTH * (SIZE + 64)
    trial.board[BEGAN + rank] = time.monotonic_ns()
    cache = SampleCache(Samples(), bytes_of_samples / 2**30, ranks=trial.ranks)
    sampler: DistributedSampler[Any] = DistributedSampler(cache, trial.ranks, rank, seed=trial.number)
    # By twos, so that each comes with each budget.
    kind = (DataLoader, SharedBatches)[trial.number // len(SHARES) % 2]
    interrupted, wrong, epochs = [], 0, 0
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        try:
            for numbers, batch in kind(cache, BATCH, sampler=sampler, num_workers=WORKERS):
                if trial.ranks > 1:
                    distributed.all_reduce(torch.ones(1))
                pairs = zip(numbers.tolist(), batch, strict=True)
                wrong += sum(checksum(sample) != trial.sums[number] for number, sample in pairs)
            epochs += 1
        except Exception as error:
            # Torch's RuntimeError as a rule; EOFError and others where the worker died while it handed over a batch.
            interrupted.append(f"{type(error).__name__}: {error}".splitlines()[0])
            if trial.ranks > 1:
                break
        if epoch == 0:
            trial.board[FIRST] = time.monotonic_ns()
    trial.board[OVER] = time.monotonic_ns()
    store, stats = cache._store, cache.stats()
    ready = [number for number in range(LENGTH) if store.get(number) is not None]
    return {
        "rank": rank,
        "loader": kind.__name__,
        "epochs": epochs,
        "interrupted": interrupted,
        "kept": len(ready),
        # Room was taken for them, and they never became ready.
        "half_written": stats.items - len(ready),
        "not_intact": [number for number in ready if not store.intact(number)],
        "wrong": wrong + sum(checksum(cache[number][1]) != trial.sums[number] for number in range(LENGTH)),
    }


# -- in forked processes, which end here -------------------------------------------------------------------------------


def ranked(trial: Trial, rank: int) -> None:
    if trial.ranks > 1:
        os.environ["LOCAL_RANK"] = str(rank)
        place = f"file://{trial.place}/gloo"
        distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=trial.ranks)
    found = train(trial, rank)
    half = trial.place / f"half-{rank}"
    half.write_text(json.dumps(found))
    half.rename(trial.place / f"{rank}.json")


def agent(trial: Trial) -> None:
    """Starts the ranks, and ends one that does not end by itself once the other is dead."""
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(20_000 + trial.number)}
    for rank in range(trial.ranks):
        trial.board[RANKS + rank] = forked(ranked, trial, rank)
    os.wait()
    until = time.monotonic() + ALONE
    while os.waitpid(-1, os.WNOHANG)[0] == 0:
        if time.monotonic() > until:
            print(f"the other rank did not end in {ALONE:.0f} s", file=sys.stderr)
            for process in psutil.Process().children():
                process.terminate()
        time.sleep(0.02)


def forked(function: Any, *arguments: Any) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        function(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def alone(trial: Trial) -> None:
    os.setsid()
    said = os.open(trial.place / "stderr", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 2)
    faulthandler.enable(said)
    if trial.kind == "rank":
        agent(trial)
    else:
        ranked(trial, 0)


# -- here --------------------------------------------------------------------------------------------------------------


def running(session: int) -> Iterator[int]:
    """Processes of a session; one that is over and was not waited for holds nothing any more."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(of) == session and state != "Z":
                yield int(entry.name)


def ended(leader: int, patience: float) -> int | None:
    """Its exit code, or the negative number of a signal."""
    until = time.monotonic() + patience
    while True:
        process, status = os.waitpid(leader, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.005)


def victim(trial: Trial, leader: int, draw: random.Random) -> int | None:
    """None where the training is over."""
    if trial.kind == "main":
        return leader
    if trial.kind == "rank":
        return int(trial.board[RANKS + draw.randrange(2)])
    while not trial.board[OVER]:
        workers = psutil.Process(leader).children()
        if workers:
            return draw.choice(workers).pid
        time.sleep(0.001)
    return None


def run(kind: str, number: int, folder: Path, sums: list[int], draw: random.Random, longest: float | None) -> Any:
    """A training that is struck within so many seconds of its beginning, or not at all.

    Returns its board, and what came of it.
    """
    board = np.frombuffer(mmap.mmap(-1, 4096), np.int64)
    trial = Trial(kind, number, folder / f"{kind}-{number}", board, sums)
    trial.place.mkdir()
    leader = forked(alone, trial)
    until = time.monotonic() + PATIENCE
    while not board[BEGAN : BEGAN + trial.ranks].all():
        if time.monotonic() > until:
            raise SystemExit(f"{trial.place} has not begun: {(trial.place / 'stderr').read_text()}")
        time.sleep(0.001)
    moment = None if longest is None else draw.uniform(0, longest)
    struck, process = False, None
    if moment is not None:
        time.sleep(moment)
        process = victim(trial, leader, draw)
        if process is not None and not board[OVER]:
            # A worker may be at its end just now.
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                struck = True
    code = ended(leader, PATIENCE)
    if code is None:
        os.kill(leader, signal.SIGKILL)
        os.waitpid(leader, 0)
    found = [json.loads(path.read_text()) for path in sorted(trial.place.glob("?.json"))]
    # Whoever was not struck looks at the cache; of a main process nobody is left.
    silent = len(found) < {"worker": 1, "rank": 2 - struck, "main": 1 - struck}[kind]
    return board, {
        "kind": kind,
        "number": number,
        "session": leader,
        "after_s": moment,
        "struck": struck,
        "process": process,
        "hung": code is None,
        "exit_code": code,
        "left_to_tell": found,
        "last_words": (trial.place / "stderr").read_text().splitlines()[-3:] if silent else [],
        "silent": silent,
    }


def shared_memory() -> int:
    """Of the whole machine, in bytes: files in /dev/shm and memory without a name."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Shmem:"))
    return 1024 * int(line.split()[1])


class Remains:
    """Sessions whose processes have not all ended."""

    def __init__(self) -> None:
        self.since: dict[int, tuple[float, dict[str, Any]]] = {}

    def add(self, found: dict[str, Any]) -> None:
        self.since[found["session"]] = time.monotonic(), found

    def look(self) -> None:
        for session, (since, found) in list(self.since.items()):
            left = len(list(running(session)))
            waited = time.monotonic() - since
            if not left or waited > GONE:
                found["processes_left"], found["all_gone_after_s"] = left, round(waited, 1)
                del self.since[session]
                for process in running(session):
                    os.kill(process, signal.SIGKILL)

    def wait(self) -> None:
        while self.since:
            self.look()
            time.sleep(0.1)


def kills(times: int, seed: int, folder: Path) -> dict[str, Any]:
    """So many of each kind."""
    torch.set_num_threads(1)
    sums = [checksum(Samples()[number][1]) for number in range(LENGTH)]
    before, memory = set(os.listdir("/dev/shm")), shared_memory()
    draw, remains = random.Random(seed), Remains()
    trials: list[dict[str, Any]] = []
    undisturbed: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        board, whole = run(kind, 0, folder, sums, draw, None)
        first, over = ((int(board[place]) - int(board[BEGAN])) / 1e9 for place in (FIRST, OVER))
        undisturbed[kind] = {"first_epoch_s": first, "training_s": over, **whole}
        # Workers write in the first epoch alone.
        longest = first if kind == "worker" else over
        struck, number = 0, 0
        while struck < times:
            number += 1
            _, found = run(kind, number, folder, sums, draw, longest)
            struck += found["struck"]
            if found["struck"]:
                trials.append(found)
                remains.add(found)
            remains.look()
            print(found, file=sys.stderr)
    remains.wait()
    left = sorted(set(os.listdir("/dev/shm")) - before)
    return {
        "undisturbed": undisturbed,
        "by_kind": {kind: summary([each for each in trials if each["kind"] == kind]) for kind in KINDS},
        "left_in_dev_shm": [whose(name, trials) for name in left],
        "shared_memory_mb": {"before": memory / 1e6, "after": shared_memory() / 1e6},
        "trials": trials,
    }


def whose(name: str, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a file in /dev/shm; one of a worker that was killed here is removed.

    Torch makes one for every tensor that a worker sends, with the worker's number in its name, and takes the name away
    when it has its pages. A worker that dies in between leaves it, whatever the dataset.
    """
    made_by = re.match(r"torch_(\d+)_", name)
    trial = next((each for each in trials if made_by and each["process"] == int(made_by[1])), None)
    loader = trial["left_to_tell"][0]["loader"] if trial and trial["left_to_tell"] else None
    if trial:
        Path("/dev/shm", name).unlink()
    return {"file": name, "of_a_killed_worker": trial is not None, "loader": loader}


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    told = [each for trial in trials for each in trial["left_to_tell"]]
    return {
        "kills": len(trials),
        "hung": sum(trial["hung"] for trial in trials),
        "silent": sum(trial["silent"] for trial in trials),
        "told_of_the_cache": len(told),
        "interrupted": sum(bool(each["interrupted"]) for each in told),
        "half_written": sum(each["half_written"] for each in told),
        "not_intact": sum(len(each["not_intact"]) for each in told),
        "wrong": sum(each["wrong"] for each in told),
        "processes_left": sum(trial["processes_left"] for trial in trials),
        "longest_until_all_gone_s": max(trial["all_gone_after_s"] for trial in trials),
    }
