"""Small samples that lie in memory: 2 workers, none, and the batched fetch of ``hotlap tune``.

    python benchmarks/data/tokens.py [--rounds 25] [--small]

12,800 sequences of 128 tokens and their targets, in batches of 32, shuffled. The batched fetch makes each batch by one
indexing (``hotlap.probe.levers.rows``): it reads the dataset's ``__getitem__``, and compares its first batches with
the ordinary ones. The floor is ``index_select`` by a permutation, written by hand. All give the same batches from the
same seed, which is checked before. Ways take turns, an epoch each. Asked: a tenth of the time of 2 workers.
Writes ``results/data/tokens.json`` and ``.md``. About a minute on 2 cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from turns import arguments, brief, circumstances, in_turns, keep, median_interval, times

from hotlap.probe.levers.fetching import BatchedFetch

SEQUENCES, LENGTH, VOCABULARY, BATCH = 12_800, 128, 50_257, 32
WORKERS, NONE, BATCHED, FLOOR = "2 workers", "no workers", "no workers, batched fetch", "index_select by hand"


class Tokens(Dataset[Any]):
    def __init__(self, sequences: int) -> None:
        text = torch.randint(0, VOCABULARY, (sequences, LENGTH + 1))
        self.inputs, self.targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index], self.targets[index]


def by_hand(tokens: Tokens) -> Iterator[list[Tensor]]:
    # What a loader draws for its workers, and then the permutation of its sampler.
    torch.empty((), dtype=torch.int64).random_()
    seed = int(torch.empty((), dtype=torch.int64).random_().item())
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed))
    for numbers in order.split(BATCH):
        yield [tokens.inputs.index_select(0, numbers), tokens.targets.index_select(0, numbers)]


def ways(tokens: Tokens, lever: BatchedFetch) -> dict[str, Callable[[], Iterator[list[Tensor]]]]:
    plain = DataLoader(tokens, batch_size=BATCH, shuffle=True)
    workers = DataLoader(tokens, batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True)

    def batched() -> Iterator[list[Tensor]]:
        lever.switch(True)
        yield from plain
        lever.switch(None)

    return {
        WORKERS: lambda: iter(workers),
        NONE: lambda: iter(plain),
        BATCHED: batched,
        FLOOR: lambda: by_hand(tokens),
    }


def same(one: list[list[Tensor]], other: list[list[Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def seeded(way: Callable[[], Iterator[list[Tensor]]]) -> list[list[Tensor]]:
    torch.manual_seed(1)
    return list(way())


def epoch(way: Callable[[], Iterator[list[Tensor]]]) -> float:
    """Seconds a batch."""
    began, batches = time.perf_counter(), 0
    for inputs, _ in way():
        assert inputs.shape[1] == LENGTH
        batches += 1
    return (time.perf_counter() - began) / batches


def main() -> None:
    given = arguments(__doc__, rounds=25).parse_args()
    rounds, sequences = (2, 640) if given.small else (given.rounds, SEQUENCES)
    about = circumstances()
    torch.set_num_threads(1)
    lever = BatchedFetch(torch, None)
    lever.install()
    found = ways(Tokens(sequences), lever)
    batches = {name: seeded(way) for name, way in found.items()}
    unlike = [name for name, each in batches.items() if not same(each, batches[NONE])]
    if not lever.applied or lever.obstacles:
        raise SystemExit(f"the batched fetch was not applied: {lever.obstacles}")
    seconds = in_turns({name: partial(epoch, way) for name, way in found.items()}, rounds)
    rows = [
        {
            "way": name,
            "seconds": each,
            "interval": median_interval(each),
            "times_as_fast": times(seconds[WORKERS], each),
            "same_batches": name not in unlike,
        }
        for name, each in seconds.items()
    ]
    lines = [
        "# Small samples that lie in memory",
        "",
        f"{sequences} sequences of {LENGTH} tokens and their targets, batches of {BATCH}, shuffled. {rounds} epochs",
        "each, in turns. Microseconds a batch: median and interval.",
        "",
        "| way | us a batch | times as fast as 2 workers | the same batches |",
        "|---|---|---|---|",
    ]
    for row in rows:
        microseconds = [1e6 * value for value in row["interval"]]
        equal = "yes" if row["same_batches"] else "NO"
        lines.append(f"| {row['way']} | {brief(microseconds, 0)} | {brief(row['times_as_fast'], 1)} | {equal} |")
    keep("tokens", about, {"rounds": rounds, "sequences": sequences, "rows": rows}, lines, small=given.small)


if __name__ == "__main__":
    main()
