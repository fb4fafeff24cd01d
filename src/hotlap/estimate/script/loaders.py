"""The script's DataLoaders: batches are made in this process, and with other batch sizes where that is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import data

from hotlap.estimate.script.cycles import Cycles, Loader
from hotlap.estimate.script.follower import Follower
from hotlap.probe.levers.loader import wrap_loader_construction

#: Samples of a batch that are really fetched, where its size is not the script's; they stand for the others.
_FETCHED = 64
_KNOWN = "_hotlap_known"


def watch(cycles: Cycles, follower: Follower, batch_size: int | None) -> None:
    def change(arguments: dict[str, Any], iterable: bool) -> None:
        arguments["num_workers"], arguments["pin_memory"] = 0, False
        own = arguments.get("batch_size", 1)
        plain = own is not None and arguments.get("batch_sampler") is None
        if plain and batch_size is not None:
            arguments["batch_size"] = batch_size
        try:
            samples = None if iterable else len(arguments["dataset"])
        except TypeError:
            samples = None
        arguments["self"].__dict__[_KNOWN] = Loader(plain, arguments.get("batch_size", 1), samples)

    wrap_loader_construction(data, change)
    iterator: Any = data.dataloader._BaseDataLoaderIter
    begin, following = iterator.__init__, iterator.__next__

    def __init__(self: Any, loader: Any) -> None:  # noqa: N807
        begin(self, loader)
        self._hotlap_loader = loader.__dict__.get(_KNOWN)

    def __next__(self: Any) -> Any:  # noqa: N807
        cycles.fetches()
        try:
            with follower.fetching():
                batch = following(self)
        except StopIteration:
            cycles.ended(self._hotlap_loader)
            raise
        cycles.fetched(self._hotlap_loader, batch)
        follower.received(batch)
        return batch

    iterator.__init__, iterator.__next__ = __init__, __next__
    if batch_size is not None:
        _fetch_few()


def _fetch_few() -> None:
    fetcher = torch.utils.data._utils.fetch._MapDatasetFetcher
    usual: Any = fetcher.fetch

    def fetch(self: Any, index: Any) -> Any:
        if not self.auto_collation or len(index) <= _FETCHED:
            return usual(self, index)
        few = list(index)[:_FETCHED]
        own = getattr(self.dataset, "__getitems__", None)
        samples = own(few) if own else [self.dataset[each] for each in few]
        return self.collate_fn([samples[number % _FETCHED] for number in range(len(index))])

    fetcher.fetch = fetch  # type: ignore[method-assign]
