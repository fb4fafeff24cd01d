"""Hit rates of real workers and ranks against theory, and how often each sample is decoded.

    python benchmarks/data/hit_rates.py [--seeds 3] [--small]

torchrun starts 2 ranks (gloo) with 2 workers each. A DistributedSampler gives each rank its half of 2000 samples, in an
order drawn anew in each of 3 epochs. Every decoding is a line in a file, with the process that did it. At each budget:

    SampleCache           by its own counters, and by the lines. In theory the share that fits: never-evict
    LRU in each worker    the dictionary that is usually written, of a quarter of the bytes in each of the four. Beside
                          it the same rule simulated on the order that each worker got
    LRU in one worker     which sees all samples, so that c + (1-c) ln(1-c) should hold; epochs 2 to 6 together

Then both ranks read all samples, in the same order, so that two workers want each at once: it must be decoded once.
Second looks of the cache (is a sample random, is it that of this rank), a few in each worker, are lines too; its
counters leave them out.

Asked: within 1 point of theory, each sample decoded once in the first epoch. Writes ``results/data/hit_rates.json`` and
``.md``. About 2 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from turns import PerWorker, circumstances, keep

from hotlap.data import SampleCache
from hotlap.data.policies import lru, lru_in_theory

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
RANKS, WORKERS, BATCH, EPOCHS, ALONE = 2, 2, 16, 3, 6
SIZE = 16 * 1024
#: What a sample takes in the cache: its bytes, and its form.
STORED = SIZE + 64
OURS, USUAL = "SampleCache", "LRU in each worker"


class Logged(Dataset[Any]):
    """Each decoding is a line: the sample and the process."""

    def __init__(self, length: int, log: Path) -> None:
        self.length, self.log, self.read = length, log, 0
        log.touch()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{index} {os.getpid()}\n".encode())
        os.close(descriptor)
        return index, torch.full((SIZE,), index % 251, dtype=torch.uint8)

    def since(self) -> list[tuple[int, int]]:
        """(sample, process) of each decoding since this was asked before."""
        lines = self.log.read_text().splitlines()
        new, self.read = lines[self.read :], len(lines)
        return [(int(index), int(process)) for index, process in map(str.split, new)]


def epoch(loader: Iterable[tuple[Tensor, Tensor]]) -> int:
    seen = 0
    for numbers, samples in loader:
        assert torch.equal(samples[:, -1], (numbers % 251).to(torch.uint8))
        seen += len(numbers)
    return seen


# -- in the ranks ------------------------------------------------------------------------------------------------------


def shared(folder: Path, length: int, way: str, share: float, seed: int) -> dict[str, Any]:
    """Three epochs, each rank its half."""
    logged = Logged(length, folder / f"{way}-{share}-{seed}")
    most = round(share * length)
    kept: Any = (
        SampleCache(logged, most * STORED / 2**30)
        if way == OURS
        else PerWorker(logged, most * SIZE / (RANKS * WORKERS))
    )
    sampler: DistributedSampler[Any] = DistributedSampler(kept, seed=seed)
    loader = DataLoader(kept, BATCH, sampler=sampler, num_workers=WORKERS, persistent_workers=True)
    epochs: list[dict[str, Any]] = []
    hits = misses = 0
    for number in range(EPOCHS):
        sampler.set_epoch(number)
        distributed.barrier()
        seen = torch.tensor(epoch(loader))
        distributed.all_reduce(seen)
        assert seen == length
        decoded = logged.since()
        found: dict[str, Any] = {"decodings": len(decoded), "by_lines": 1 - len({each for each, _ in decoded}) / length}
        if way == OURS:
            stats = kept.stats()
            found["by_counters"] = (stats.hits - hits) / (stats.hits + stats.misses - hits - misses)
            hits, misses = stats.hits, stats.misses
        epochs.append(found)
    distributed.barrier()
    return {"way": way, "share": share, "seed": seed, "epochs": epochs}


def same_order(folder: Path, length: int, seed: int) -> dict[str, Any]:
    """An epoch in which both ranks read all samples in one order, and a second one."""
    logged = Logged(length, folder / f"same-{seed}")
    kept = SampleCache(logged, length * STORED / 2**30)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed)).tolist()
    loader = DataLoader(kept, BATCH, sampler=order, num_workers=WORKERS, persistent_workers=True)
    found = []
    for _ in range(2):
        distributed.barrier()
        assert epoch(loader) == length
        distributed.barrier()
        lines = Counter(index for index, _ in logged.since())
        stats = kept.stats()
        found.append(
            {
                "misses": stats.misses,
                "hits": stats.hits,
                "waiting_s": stats.waiting,
                "decodings": sum(lines.values()),
                "looked_at_again": sum(each > 1 for each in lines.values()),
            }
        )
    distributed.barrier()
    return {"seed": seed, "samples": length, "epochs": found}


def rank(folder: Path, length: int, seeds: int, shares: list[float]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    cases = [
        shared(folder, length, way, share, seed) for seed in range(seeds) for share in shares for way in (OURS, USUAL)
    ]
    same = [same_order(folder, length, seed) for seed in range(seeds)]
    if distributed.get_rank() == 0:
        (folder / "found.json").write_text(json.dumps({"cases": cases, "same_order": same}))
    distributed.barrier()
    distributed.destroy_process_group()


# -- theory, and one worker --------------------------------------------------------------------------------------------


def streams(length: int, seed: int) -> list[list[list[int]]]:
    """By worker and epoch: the samples that a loader gives it, batch after batch in turn."""
    found = []
    for number in range(RANKS):
        sampler: DistributedSampler[Any] = DistributedSampler(range(length), RANKS, number, seed=seed)
        of_workers: list[list[list[int]]] = [[] for _ in range(WORKERS)]
        for turn in range(EPOCHS):
            sampler.set_epoch(turn)
            order = list(sampler)
            batches = [order[begin : begin + BATCH] for begin in range(0, len(order), BATCH)]
            for worker in range(WORKERS):
                of_workers[worker].append([index for batch in batches[worker::WORKERS] for index in batch])
        found += of_workers
    return found


def simulated(length: int, share: float, seed: int) -> list[float]:
    """Hit rate of every epoch, with a least-recently-used cache in each worker."""
    most, sizes = round(share * length) // (RANKS * WORKERS), defaultdict(lambda: 1.0)
    hits = [0] * EPOCHS
    for epochs in streams(length, seed):
        found = iter(lru(most, [index for each in epochs for index in each], sizes))
        for number, each in enumerate(epochs):
            hits[number] += sum(next(found) for _ in each)
    return [each / length for each in hits]


def alone(folder: Path, length: int, share: float, seed: int) -> float:
    logged = Logged(length, folder / f"alone-{share}-{seed}")
    kept = PerWorker(logged, round(share * length) * SIZE)
    loader = DataLoader(kept, BATCH, shuffle=True, num_workers=1, persistent_workers=True)
    torch.manual_seed(seed)
    rates = []
    for _ in range(ALONE):
        epoch(loader)
        rates.append(1 - len(logged.since()) / length)
    return mean(rates[1:])


def row(share: float, found: dict[str, Any], length: int, by_one: list[float]) -> dict[str, Any]:
    ours, usual = (
        [case for case in found["cases"] if (case["way"], case["share"]) == (way, share)] for way in (OURS, USUAL)
    )
    later = [each for case in ours for each in case["epochs"][1:]]
    theory = round(share * length) / length
    apart = [
        abs(measured["by_lines"] - expected)
        for case in usual
        for measured, expected in zip(case["epochs"], simulated(length, share, case["seed"]), strict=True)
    ]
    return {
        "share": share,
        "second_epoch": [case["epochs"][1]["by_counters"] for case in ours],
        "third_epoch": [case["epochs"][2]["by_counters"] for case in ours],
        "furthest_from_never_evict": max(abs(each["by_counters"] - theory) for each in later),
        "furthest_by_lines": max(abs(each["by_lines"] - theory) for each in later),
        "first_epoch_decodings": [case["epochs"][0]["decodings"] for case in ours],
        "lru_formula": lru_in_theory(share),
        "lru_in_one_worker": by_one,
        "lru_in_each_worker": [each["by_lines"] for case in usual for each in case["epochs"][1:]],
        "furthest_from_simulated": max(apart),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a trial of the benchmark itself, which writes no results")
    parser.add_argument("--ranks-in", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    seeds, length, shares = (1, 320, [0.5, 1.0]) if given.small else (given.seeds, 2000, list(SHARES))
    if given.ranks_in is not None:
        rank(given.ranks_in, length, seeds, shares)
        return
    about = circumstances()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
        own = [__file__, f"--ranks-in={folder}", f"--seeds={seeds}", *(["--small"] if given.small else [])]
        subprocess.run([*launch, *own], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        found = json.loads((folder / "found.json").read_text())
        torch.set_num_threads(1)
        rows = [
            row(share, found, length, [alone(folder, length, share, seed) for seed in range(seeds)]) for share in shares
        ]
    lines = [
        "# Hit rates against theory",
        "",
        f"{length} samples, each read once an epoch, {RANKS} ranks with {WORKERS} workers each. In per cent; the mean",
        f"of {seeds} seeds.",
        "",
        "| budget | SampleCache, 2nd epoch | 3rd epoch | furthest from never-evict | LRU, formula | LRU, one worker |"
        " LRU in each worker, the same bytes in all |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        figures = [
            mean(each["second_epoch"]),
            mean(each["third_epoch"]),
            each["furthest_from_never_evict"],
            each["lru_formula"],
            mean(each["lru_in_one_worker"]),
            mean(each["lru_in_each_worker"]),
        ]
        lines.append(f"| {100 * each['share']:.0f} | " + " | ".join(f"{100 * value:.2f}" for value in figures) + " |")
    one_worker = max(abs(mean(each["lru_in_one_worker"]) - each["lru_formula"]) for each in rows)
    same = found["same_order"]
    by_lines, from_simulated = (
        max(each[key] for each in rows) for key in ("furthest_by_lines", "furthest_from_simulated")
    )
    lines += [
        "",
        f"By the decodings themselves SampleCache is at most {100 * by_lines:.2f} points from never-evict, with "
        f"second looks. LRU in one worker is at most {100 * one_worker:.2f} points from its formula, and LRU in each "
        f"worker at most {100 * from_simulated:.2f} from the rule simulated on what each got.",
        "",
        f"The first epoch of {length} samples took {min(min(each['first_epoch_decodings']) for each in rows)} to "
        f"{max(max(each['first_epoch_decodings']) for each in rows)} decodings: one each, and the second looks.",
        "",
        f"Both ranks reading all {length} samples in one order: "
        + ", ".join(str(each["epochs"][0]["misses"]) for each in same)
        + " of them were fetched in the first epoch, "
        + ", ".join(str(each["epochs"][1]["misses"] - each["epochs"][0]["misses"]) for each in same)
        + " in the second; with second looks "
        + ", ".join(str(each["epochs"][0]["decodings"]) for each in same)
        + " decodings.",
    ]
    keep("hit_rates", about, {"rows": rows, **found}, lines, small=given.small)


if __name__ == "__main__":
    main()
