"""What the benchmarks of the data side share: ways that take turns, the cache that is usually written, and results."""

from __future__ import annotations

import argparse
import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from machine import RESULTS, circumstances, median_interval, sentence

__all__ = [
    "Interval",
    "PerWorker",
    "arguments",
    "brief",
    "circumstances",
    "in_turns",
    "keep",
    "median_interval",
    "size_of",
    "times",
]

Interval = tuple[float, float, float, float]


class PerWorker(Dataset[Any]):
    """As it is usually written, a dictionary in each worker, of so many bytes: what was not read for longest goes."""

    def __init__(self, dataset: Any, most: float, *, evicts: bool = True) -> None:
        self.dataset, self.most, self.evicts = dataset, most, evicts
        self.kept: OrderedDict[int, Any] = OrderedDict()
        self.used = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if index in self.kept:
            self.kept.move_to_end(index)
            return self.kept[index]
        sample = self.dataset[index]
        size = size_of(sample)
        while self.evicts and self.kept and self.used + size > self.most:
            self.used -= size_of(self.kept.popitem(last=False)[1])
        if self.used + size <= self.most:
            self.kept[index] = sample
            self.used += size
        return sample


def size_of(sample: Any) -> int:
    """Bytes of its tensors."""
    return sum(leaf.nbytes for leaf in tree.tree_leaves(sample) if isinstance(leaf, Tensor))


def in_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each way once a round, in an order that rotates."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(ways[name]())
    return found


def times(slow: list[float], fast: list[float]) -> Interval:
    """How many times as fast, a ratio for each round."""
    return median_interval([one / other for one, other in zip(slow, fast, strict=True)])


def brief(interval: Sequence[float], digits: int = 2) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in interval[:3])
    return f"{middle} [{low}, {high}]"


def arguments(about: str | None, rounds: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--small", action="store_true", help="a trial of the benchmark itself, which writes no results")
    return parser


def keep(name: str, about: dict[str, Any], figures: dict[str, Any], lines: list[str], *, small: bool) -> None:
    """Write ``results/data/NAME.json`` and ``.md``, and show the page."""
    page = "\n".join([*lines, "", sentence(about), ""])
    print(page)
    if small:
        return
    place = RESULTS / "data"
    place.mkdir(exist_ok=True)
    (place / f"{name}.json").write_text(json.dumps(about | figures, indent=1) + "\n")
    (place / f"{name}.md").write_text(page)
