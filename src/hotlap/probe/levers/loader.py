"""Settings of every DataLoader that the script makes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from hotlap.probe.levers.base import Lever

#: What only makes sense with workers; the script may have set it for workers that are no longer there.
_OF_WORKERS = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout")


def wrap_loader_construction(data: Any, change: Callable[[dict[str, Any], bool], None]) -> None:
    construct = data.DataLoader.__init__
    signature = inspect.signature(construct)

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            construct(self, *args, **kwargs)  # says what is wrong
            return
        arguments = bound.arguments
        change(arguments, isinstance(arguments["dataset"], data.IterableDataset))
        if not arguments.get("num_workers"):
            for name in _OF_WORKERS:
                arguments.pop(name, None)
        construct(*bound.args, **bound.kwargs)

    data.DataLoader.__init__ = __init__


def wrap_worker_starts(data: Any, tell: Callable[[Any, Any], None]) -> None:
    """``tell`` comes between what an iterator takes from its loader and the processes that it starts."""
    iterators = data.dataloader._BaseDataLoaderIter
    begin = iterators.__init__

    @functools.wraps(begin)
    def __init__(self: Any, loader: Any) -> None:  # noqa: N807
        begin(self, loader)
        if loader.num_workers:
            tell(self, loader)

    iterators.__init__ = __init__


class Workers(Lever):
    name = "workers"
    never = "the script made no DataLoader"

    def change_loader(self, arguments: dict[str, Any], iterable: bool) -> None:
        if iterable:
            self.note("workers was not applied: every worker of an IterableDataset would yield all of it")
        else:
            arguments["num_workers"] = self.value
            self.pulled()


class _OfWorkers(Lever):
    never = "the script made no DataLoader with workers"

    def change_loader(self, arguments: dict[str, Any], iterable: bool) -> None:
        if arguments.get("num_workers"):
            arguments[self.name] = self.value
            self.pulled()


class Prefetch(_OfWorkers):
    name = "prefetch_factor"


class PersistentWorkers(_OfWorkers):
    name = "persistent_workers"


class PinMemory(Lever):
    name = "pin_memory"
    never = "the script made no DataLoader"

    def change_loader(self, arguments: dict[str, Any], iterable: bool) -> None:
        arguments[self.name] = self.value
        self.pulled()


class AnyOrder(Lever):
    """A batch is handed out when it is there, though one that was asked for before it is not (``in_order=False``)."""

    name = "any_order"
    never = "the script made no DataLoader with several workers"

    def change_loader(self, arguments: dict[str, Any], iterable: bool) -> None:
        if "in_order" not in inspect.signature(self.torch.utils.data.DataLoader.__init__).parameters:
            self.note("any_order was not applied: it takes torch 2.6")
        elif arguments.get("num_workers", 0) > 1:
            arguments["in_order"] = False
            self.pulled()
