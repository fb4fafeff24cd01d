"""In which order samples will be read: a loader's or a sampler's, replayed before the training.

    DistributedSampler, GroupedSampler      by seed and epoch: all ranks of the node, in turns
    RandomSampler with a generator          from its state now, of which a copy is used up
    RandomSampler without one               another order like it: its seed is drawn when the training asks
    any other sampler                       a copy of it, epoch after epoch

What the training will draw from stays as it is: generators, and samplers that remember something.
"""

from __future__ import annotations

import copy
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler

from hotlap.probe.randomness import unchanged

_RANDOM = (random.Random, np.random.Generator, np.random.RandomState)


class Order(NamedTuple):
    #: What is read, over all epochs.
    keys: list[Any]
    #: Readings in each of them.
    epochs: list[int]
    #: Whether the training will read in this very order; else in another one that is drawn in the same way.
    known: bool


def order_of(source: Any, epochs: int = 2, keys: Callable[[Any], Iterable[Any]] | None = None) -> Order:
    """Of a loader or a sampler, from its next epoch on; or of a list for each epoch.

    ``keys``: what is read for each of these numbers. Raises ``ValueError`` where nothing is read by number.
    """
    sampler, generator = source, None
    if isinstance(source, DataLoader):
        if isinstance(source.dataset, IterableDataset):
            raise ValueError("an iterable dataset is not read by numbers, so there is no order of them")
        sampler = source.sampler if source.batch_sampler is None else source.batch_sampler
        generator = source.generator
    if isinstance(sampler, (list, tuple)):
        each = [_flat(epoch, keys) for epoch in sampler]
    else:
        found = [_epochs(sampler, generator, rank, epochs, keys) for rank in _ranks(sampler)]
        each = [list(_in_turns(parts)) for parts in zip(*found, strict=True)]
    return Order([key for epoch in each for key in epoch], [len(epoch) for epoch in each], _known(sampler))


def _epochs(
    sampler: Any,
    generator: torch.Generator | None,
    rank: int | None,
    epochs: int,
    keys: Callable[[Any], Iterable[Any]] | None,
) -> list[list[Any]]:
    """What one rank reads in each epoch."""
    twins: dict[int, Any] = {}
    twin = _twin(sampler, twins)
    drawn_from = None if generator is None else _twin(generator, twins)
    parts = list(_parts(twin))
    first = next((part.epoch for part in parts if hasattr(part, "epoch")), 0)
    read = []
    with unchanged(torch):
        for epoch in range(first, first + epochs):
            for part in parts:
                if hasattr(part, "set_epoch"):
                    part.set_epoch(epoch)
                if rank is not None and hasattr(part, "num_replicas"):
                    part.rank = rank
            if drawn_from is not None:
                # A loader draws the seed of its workers before its sampler draws.
                torch.empty((), dtype=torch.int64).random_(generator=drawn_from)
            read.append(_flat(twin, keys))
    return read


def _ranks(sampler: Any) -> list[int | None]:
    """The ranks of this node, where a sampler gives each its part."""
    of_ranks = next((part for part in _parts(sampler) if hasattr(part, "num_replicas")), None)
    if of_ranks is None:
        return [None]
    first = of_ranks.rank - int(os.environ.get("LOCAL_RANK", "0"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return [rank for rank in range(first, first + here) if 0 <= rank < of_ranks.num_replicas]


def _in_turns(parts: tuple[list[Any], ...]) -> Iterator[Any]:
    missing = object()
    for row in itertools.zip_longest(*parts, fillvalue=missing):
        yield from (key for key in row if key is not missing)


def _flat(sampler: Any, keys: Callable[[Any], Iterable[Any]] | None) -> list[Any]:
    read: list[Any] = []
    # Some go on for ever, and say how long an epoch is.
    for item in itertools.islice(sampler, len(sampler) if hasattr(sampler, "__len__") else None):
        for number in item if isinstance(item, (list, tuple)) else (item,):
            read += (number,) if keys is None else keys(number)
    return read


def _parts(sampler: Any) -> Iterator[Any]:
    """A sampler, and those that it takes numbers from."""
    while sampler is not None:
        yield sampler
        sampler = getattr(sampler, "batch_sampler", getattr(sampler, "sampler", None))


def _known(sampler: Any) -> bool:
    # Those of torch have one attribute for it, and without a generator take the global one, as it will be then.
    return all(getattr(part, "generator", part) is not None for part in _parts(sampler))


def _twin(thing: Any, twins: dict[int, Any]) -> Any:
    """A copy that draws what the original would draw, and leaves that alone. One for each, however often it is met."""
    if id(thing) in twins:
        return twins[id(thing)]
    twin: Any
    if isinstance(thing, torch.Generator):
        twin = torch.Generator(thing.device)
        twin.set_state(thing.get_state())
    elif isinstance(thing, _RANDOM):
        twin = copy.deepcopy(thing)
    else:
        twin = copy.copy(thing)
    twins[id(thing)] = twin
    for name, value in getattr(twin, "__dict__", {}).items():
        if isinstance(value, (torch.Generator, Sampler, *_RANDOM)):
            setattr(twin, name, _twin(value, twins))
        elif isinstance(value, list):
            # Some samplers shuffle one where it lies.
            setattr(twin, name, value.copy())
    return twin
