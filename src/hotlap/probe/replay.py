"""Hands out again what a training has seen: the batches of a loader, the samples of a dataset, a network's results.

Four of the ``ablations`` are made of it: data, samples, frozen networks, validation.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from hotlap.probe.first_steps import REAL, Training

#: Samples of a dataset that are kept.
_SAMPLES = 64


# batches and samples


class _Batch:
    """A batch that is handed out again; what the script does to it is undone."""

    def __init__(self, training: Training, real: int) -> None:
        self.training = training
        self.tensor = training.torch.Tensor
        self.real = real
        self.seen = 0
        self.leaves: list[Any] = []
        self.clean: list[Any] = []
        self.versions: list[int | None] = []
        self.structure: Any = None

    @property
    def ready(self) -> bool:
        return self.seen >= self.real

    def see(self, batch: Any) -> None:
        self.seen += 1
        if self.ready:
            leaves, self.structure = self.training.tree.tree_flatten(batch)
            self.clean = [leaf.clone() if isinstance(leaf, self.tensor) else leaf for leaf in leaves]
            self._hand_out(leaves)

    def again(self) -> Any:
        if self._versions(self.leaves) != self.versions:
            self._hand_out([leaf.clone() if isinstance(leaf, self.tensor) else leaf for leaf in self.clean])
        self.training.applied()
        return self.training.tree.tree_unflatten(self.leaves, self.structure)

    def _hand_out(self, leaves: list[Any]) -> None:
        self.leaves, self.versions = leaves, self._versions(leaves)

    def _versions(self, leaves: list[Any]) -> list[int | None]:
        return [leaf._version if isinstance(leaf, self.tensor) and not leaf.is_inference() else None for leaf in leaves]


def same_batch(
    training: Training,
    real: int = REAL,
    only: Callable[[], bool] = lambda: True,
    most: int = 0,
    say: Callable[[bool], None] = lambda ours: None,
) -> None:
    """``most``: batches of an epoch, 0 for as many as it has. ``say``: whether the batch that comes is one of ours."""
    data = training.torch.utils.data
    iterator = data.dataloader._BaseDataLoaderIter
    following, begin = iterator.__next__, data.DataLoader.__iter__
    known: dict[tuple[int, int | None], tuple[Any, _Batch]] = {}

    class Again(iterator):  # type: ignore[misc, valid-type]
        """An epoch without a worker, or anything else of a real one."""

        def __init__(self, length: int) -> None:
            self.length = length

        def __len__(self) -> int:
            return self.length

    def __next__(self: Any) -> Any:  # noqa: N807
        batch = getattr(self, "_hotlap_batch", None)
        say(batch is not None)
        if batch is None:
            return following(self)
        if not batch.ready:
            found = following(self)
            batch.see(found)
        elif self._hotlap_given >= self._hotlap_length:
            raise StopIteration
        else:
            found = batch.again()
        self._hotlap_given += 1
        return found

    def __iter__(self: Any) -> Any:  # noqa: N807
        if not only():
            made = begin(self)
            made._hotlap_batch = None
            return made
        # By the dataset: a script may make a loader for each epoch.
        _, batch = known.setdefault((id(self.dataset), self.batch_size), (self.dataset, _Batch(training, real)))
        length = most or _length(self)
        made = Again(length) if batch.ready else begin(self)
        made._hotlap_batch, made._hotlap_given, made._hotlap_length = batch, 0, length
        return made

    iterator.__next__, data.DataLoader.__iter__ = __next__, __iter__


def _length(loader: Any) -> int:
    try:
        return len(loader)
    except TypeError:
        return sys.maxsize  # nobody knows how long its epoch is


class _Samples:
    """Stands for a dataset, and knows its first samples."""

    def __init__(self, training: Training, dataset: Any) -> None:
        self.training = training
        self.dataset = dataset
        self.fetches = 0
        self.kept: list[tuple[list[Any], Any]] = []
        self.lists: dict[int, tuple[list[Any], Any]] = {}
        self.turn = 0
        if getattr(dataset, "__getitems__", None):
            self.__getitems__ = self.many

    def __getitem__(self, index: Any) -> Any:
        if self.fetches > REAL and self.kept:
            self.turn += 1
            return self._given(self.kept[self.turn % len(self.kept)])
        sample = self.dataset[index]
        if len(self.kept) < _SAMPLES:
            self.kept.append(self.training.tree.tree_flatten(sample))
        return sample

    def many(self, indices: Any) -> Any:
        kept = self.lists.get(len(indices))
        if kept is not None:
            return self._given(kept)
        samples = self.dataset.__getitems__(indices)
        if self.fetches >= REAL:
            self.lists[len(indices)] = self.training.tree.tree_flatten(samples)
        return samples

    def _given(self, kept: tuple[list[Any], Any]) -> Any:
        self.training.applied()
        return self.training.tree.tree_unflatten(*kept)


def same_samples(training: Training) -> None:
    fetcher = training.torch.utils.data._utils.fetch._MapDatasetFetcher
    original = fetcher.fetch
    known: dict[int, _Samples] = {}

    @functools.wraps(original)
    def fetch(self: Any, indices: Any) -> Any:
        dataset = self.dataset
        samples = known.get(id(dataset)) or known.setdefault(id(dataset), _Samples(training, dataset))
        samples.fetches += 1
        self.dataset = samples
        try:
            return original(self, indices)
        finally:
            self.dataset = dataset

    fetcher.fetch = fetch
    begin = training.torch.utils.data.DataLoader.__iter__

    def __iter__(self: Any) -> Any:  # noqa: N807
        # What a worker does is noted in its own process, where nobody reads it.
        if self.num_workers and not isinstance(self.dataset, training.torch.utils.data.IterableDataset):
            training.applied()
        return begin(self)

    training.torch.utils.data.DataLoader.__iter__ = __iter__


# results of networks


def frozen_networks(training: Training) -> None:
    kinds: WeakKeyDictionary[Any, bool | None] = WeakKeyDictionary()

    def frozen(module: Any) -> bool | None:
        """None where it has no parameter, so that what it calls has to tell."""
        if module not in kinds:
            parameters = list(module.parameters())
            trained = any(p.requires_grad or id(p) in training.optimized for p in parameters)
            kinds[module] = None if not parameters else not trained
        return kinds[module]

    _first_results(training, frozen)


def no_validation(training: Training) -> None:
    enabled = training.torch.is_grad_enabled
    validating = False

    def say(ours: bool) -> None:
        nonlocal validating
        validating = ours

    same_batch(training, real=1, only=lambda: not enabled(), most=1, say=say)
    # A teacher is called without gradients, too, but on a batch that trains.
    _first_results(training, lambda module: validating and not enabled() and not module.training)


def _first_results(training: Training, wanted: Callable[[Any], bool | None]) -> None:
    """Make modules return what they returned first for inputs of this shape.

    ``wanted`` is asked from the outside in, until it says yes or no.
    """
    torch, tree = training.torch, training.tree
    tensor, enabled, compiling = torch.Tensor, torch.is_grad_enabled, torch.compiler.is_dynamo_compiling
    call = torch.nn.Module.__call__
    results: WeakKeyDictionary[Any, dict[Any, tuple[list[Any], Any]]] = WeakKeyDictionary()
    decided = False

    class Cut(torch.autograd.Function):  # type: ignore[misc, name-defined]
        """Results that are there already, as if they hung on ``source``."""

        @staticmethod
        def forward(context: Any, source: Any, *kept: Any) -> Any:
            context.save_for_backward(source)
            return tuple(each.view_as(each) for each in kept)

        @staticmethod
        def backward(context: Any, *gradients: Any) -> Any:
            (source,) = context.saved_tensors
            return (torch.zeros_like(source), *(None for _ in gradients))

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        nonlocal decided
        if decided or not training.active or compiling():
            return call(self, *args, **kwargs)
        taken = wanted(self)
        if taken is None:
            return call(self, *args, **kwargs)
        if not taken:
            return really(self, args, kwargs)
        tensors = [each for each in tree.tree_leaves((args, kwargs)) if isinstance(each, tensor)]
        source = next((each for each in tensors if each.requires_grad), None) if enabled() else None
        key = source is not None, tuple(tuple(each.shape) for each in tensors)
        known = results.setdefault(self, {})
        if key not in known:
            output = really(self, args, kwargs)
            leaves, structure = tree.tree_flatten(output)
            known[key] = [each.detach() if isinstance(each, tensor) else each for each in leaves], structure
            return output
        leaves, structure = known[key]
        training.applied()
        if source is not None:
            places = [i for i, each in enumerate(leaves) if isinstance(each, tensor) and each.is_floating_point()]
            leaves = list(leaves)
            for i, result in zip(places, Cut.apply(source, *(leaves[i] for i in places)), strict=True):
                leaves[i] = result
        return tree.tree_unflatten(leaves, structure)

    def really(module: Any, args: Any, kwargs: Any) -> Any:
        nonlocal decided
        decided = True
        try:
            return call(module, *args, **kwargs)
        finally:
            decided = False

    torch.nn.Module.__call__ = __call__
