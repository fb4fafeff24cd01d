"""Takes one suspect away from a training, so that what it costs can be measured. What then trains is another training.

    data             a loader hands out the same batch again, for as long as its epoch
    samples          a dataset's samples are those of the first batches; collating them stays
    optimizer        the step of an optimizer does nothing
    clipping         gradients are not clipped
    frozen networks  a network without a trained parameter returns its first result, with a gradient of zeros
    logging          print, loggers, json.dump and the trackers that are loaded do nothing
    saving           torch.save leaves an empty file
    validation       one batch, and the model returns its first result
    gradient sync    ranks keep their gradients to themselves
    syncs            ``.item()`` and its like return what they returned first at this line, and no tensor is printed

The first steps are real ones: what is handed out again has to come from somewhere. That a suspect was really taken
away is told in a note; without it nothing may be concluded. This lies below the wrappers of ``hooks``, which go on to
record what is left.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from hotlap.probe import levers

#: Steps, and batches of a loader, that are left as they are.
REAL = 4
#: Samples of a dataset that are kept.
_SAMPLES = 64
#: Classes and modules whose methods report to a tracker, where the script has imported them.
_TRACKERS = (
    ("torch.utils.tensorboard.writer", "SummaryWriter", "add_"),
    ("tensorboardX", "SummaryWriter", "add_"),
    ("wandb", "", "log"),
    ("mlflow", "", "log_"),
)

_Function = Callable[..., Any]


class _Training:
    """What is known of the training so far."""

    def __init__(self, torch: Any, name: str) -> None:
        self.torch = torch
        self.name = name
        self.steps = 0
        #: The first steps are over.
        self.active = False
        #: Called once, when they are.
        self.at_once: _Function = lambda: None
        #: Ids of parameters that some optimizer trains.
        self.optimized: set[int] = set()
        self.said = False
        self.tree: Any = importlib.import_module("torch.utils._pytree")
        importlib.import_module("torch.optim.optimizer").register_optimizer_step_post_hook(self.stepped)

    def stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.active:
            return
        self.steps += 1
        self.optimized.update(id(p) for group in optimizer.param_groups for p in group["params"])
        if self.steps >= REAL:
            self.active = True
            self.at_once()

    def applied(self) -> None:
        if not self.said:
            self.said = True
            levers.notes.append(f"taken away: {self.name}")


def install(torch: Any, name: str | None) -> None:
    if name is not None:
        _ABLATIONS[name](_Training(torch, name))


# data


class _Batch:
    """A batch that is handed out again; what the script does to it is undone."""

    def __init__(self, training: _Training, real: int) -> None:
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


def _same_batch(training: _Training, real: int = REAL, only: Callable[[], bool] = lambda: True, most: int = 0) -> None:
    """``most``: batches of an epoch, 0 for as many as it has."""
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

    def __init__(self, training: _Training, dataset: Any) -> None:
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


def _same_samples(training: _Training) -> None:
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


# the step


def _no_optimizer(training: _Training) -> None:
    optimizer = training.torch.optim.Optimizer
    compiling = training.torch.compiler.is_dynamo_compiling
    hook = optimizer.profile_hook_step

    def profile_hook_step(step: _Function) -> _Function:
        @functools.wraps(step)
        def skipped(self: Any, *args: Any, **kwargs: Any) -> Any:
            if compiling() or not training.active:
                return step(self, *args, **kwargs)
            training.applied()
            closure = args[0] if args else kwargs.get("closure")
            if closure is None:
                return None
            with training.torch.enable_grad():
                return closure()

        wrapped: _Function = hook(skipped)
        return wrapped

    optimizer.profile_hook_step = staticmethod(profile_hook_step)


def _no_clipping(training: _Training) -> None:
    utils = training.torch.nn.utils
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        _returns_first(training, name, utils, utils.clip_grad)


def _no_gradient_sync(training: _Training) -> None:
    parallel = training.torch.nn.parallel.DistributedDataParallel
    forward = parallel.forward

    @functools.wraps(forward)
    def alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        if training.active:
            self.require_backward_grad_sync = False
            training.applied()
        return forward(self, *args, **kwargs)

    parallel.forward = alone


# networks


def _frozen_networks(training: _Training) -> None:
    kinds: WeakKeyDictionary[Any, bool | None] = WeakKeyDictionary()

    def frozen(module: Any) -> bool | None:
        """None where it has no parameter, so that what it calls has to tell."""
        if module not in kinds:
            parameters = list(module.parameters())
            trained = any(p.requires_grad or id(p) in training.optimized for p in parameters)
            kinds[module] = None if not parameters else not trained
        return kinds[module]

    _first_results(training, frozen)


def _no_validation(training: _Training) -> None:
    enabled = training.torch.is_grad_enabled
    _same_batch(training, real=1, only=lambda: not enabled(), most=1)
    _first_results(training, lambda module: not enabled() and not module.training)


def _first_results(training: _Training, wanted: Callable[[Any], bool | None]) -> None:
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


# what is reported and kept


def _no_logging(training: _Training) -> None:
    _does_nothing(training, "print", builtins)
    _does_nothing(training, "dump", json)
    _does_nothing(training, "_log", logging.Logger)

    def trackers() -> None:
        for module, kind, prefix in _TRACKERS:
            place = sys.modules.get(module)
            if place is not None and kind:
                place = getattr(place, kind, None)
            for name in dir(place) if place is not None else ():
                if name.startswith(prefix) and callable(getattr(place, name)):
                    _does_nothing(training, name, place)

    training.at_once = trackers


def _no_saving(training: _Training) -> None:
    torch = training.torch
    original = torch.save

    @functools.wraps(original)
    def save(what: Any, file: Any, *args: Any, **kwargs: Any) -> Any:
        if not training.active:
            return original(what, file, *args, **kwargs)
        if isinstance(file, (str, os.PathLike)):
            open(file, "ab").close()  # it may be renamed next
        training.applied()
        return None

    torch.save = torch.serialization.save = save


def _no_syncs(training: _Training) -> None:
    tensor = training.torch.Tensor
    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "__format__", "__repr__"):
        _returns_first(training, name, tensor)
    original = builtins.print

    @functools.wraps(original)
    def silent(*args: Any, **kwargs: Any) -> None:
        if not (training.active and any(isinstance(each, tensor) for each in args)):
            original(*args, **kwargs)

    builtins.print = silent


def _does_nothing(training: _Training, name: str, place: Any) -> None:
    original = getattr(place, name)

    @functools.wraps(original)
    def nothing(*args: Any, **kwargs: Any) -> Any:
        if not training.active:
            return original(*args, **kwargs)
        training.applied()
        return None

    setattr(place, name, nothing)


def _returns_first(training: _Training, name: str, *places: Any) -> None:
    """Make a function return what it returned first to the line that calls it; torch's own and ours get the truth."""
    original = getattr(places[0], name)
    first: dict[tuple[Any, int], Any] = {}
    compiling = training.torch.compiler.is_dynamo_compiling

    @functools.wraps(original)
    def known(*args: Any, **kwargs: Any) -> Any:
        if compiling() or not training.active:
            return original(*args, **kwargs)
        frame: Any = sys._getframe(1)
        if frame.f_globals.get("__name__") == "hotlap.probe.hooks":
            frame = frame.f_back  # its wrapper is between this and the line
        if frame.f_globals.get("__name__", "").startswith(("torch.", "hotlap.probe")):
            return original(*args, **kwargs)
        line = frame.f_code, frame.f_lineno
        if line in first:
            training.applied()
            return first[line]
        first[line] = original(*args, **kwargs)
        return first[line]

    for place in places:
        setattr(place, name, known)


_ABLATIONS: dict[str, Callable[[_Training], None]] = {
    "data": _same_batch,
    "samples": _same_samples,
    "optimizer": _no_optimizer,
    "clipping": _no_clipping,
    "frozen networks": _frozen_networks,
    "logging": _no_logging,
    "saving": _no_saving,
    "validation": _no_validation,
    "gradient sync": _no_gradient_sync,
    "syncs": _no_syncs,
}
