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
import json
import logging
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from hotlap.probe.first_steps import Training
from hotlap.probe.replay import frozen_networks, no_validation, same_batch, same_samples

#: Classes and modules whose methods report to a tracker, where the script has imported them.
_TRACKERS = (
    ("torch.utils.tensorboard.writer", "SummaryWriter", "add_"),
    ("tensorboardX", "SummaryWriter", "add_"),
    ("wandb", "", "log"),
    ("mlflow", "", "log_"),
)

_PROBE = "hotlap.probe."

_Function = Callable[..., Any]


def install(torch: Any, name: str | None) -> None:
    if name is not None:
        _ABLATIONS[name](Training(torch, name))


# the step


def _no_optimizer(training: Training) -> None:
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


def _no_clipping(training: Training) -> None:
    utils = training.torch.nn.utils
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        _returns_first(training, name, utils, utils.clip_grad)


def _no_gradient_sync(training: Training) -> None:
    parallel = training.torch.nn.parallel.DistributedDataParallel
    forward = parallel.forward

    @functools.wraps(forward)
    def alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        if training.active:
            self.require_backward_grad_sync = False
            training.applied()
        return forward(self, *args, **kwargs)

    parallel.forward = alone


# what is reported and kept


def _no_logging(training: Training) -> None:
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


def _no_saving(training: Training) -> None:
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


def _no_syncs(training: Training) -> None:
    tensor = training.torch.Tensor
    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "__format__", "__repr__"):
        _returns_first(training, name, tensor)
    original = builtins.print

    @functools.wraps(original)
    def silent(*args: Any, **kwargs: Any) -> None:
        if not (training.active and any(isinstance(each, tensor) for each in args)):
            original(*args, **kwargs)

    builtins.print = silent


def _does_nothing(training: Training, name: str, place: Any) -> None:
    original = getattr(place, name)

    @functools.wraps(original)
    def nothing(*args: Any, **kwargs: Any) -> Any:
        if not training.active:
            return original(*args, **kwargs)
        training.applied()
        return None

    setattr(place, name, nothing)


def _returns_first(training: Training, name: str, *places: Any) -> None:
    """Make a function return what it returned first to the line that calls it; torch's own and ours get the truth."""
    original = getattr(places[0], name)
    first: dict[tuple[Any, int], Any] = {}
    compiling = training.torch.compiler.is_dynamo_compiling

    @functools.wraps(original)
    def known(*args: Any, **kwargs: Any) -> Any:
        if compiling() or not training.active:
            return original(*args, **kwargs)
        frame: Any = sys._getframe(1)
        if _module(frame).startswith(_PROBE):
            # A wrapper is between this and the line. What the probe reads for itself is read further inside.
            frame = frame.f_back
        if _module(frame).startswith(("torch.", _PROBE)):
            return original(*args, **kwargs)
        line = frame.f_code, frame.f_lineno
        if line in first:
            training.applied()
            return first[line]
        first[line] = original(*args, **kwargs)
        return first[line]

    for place in places:
        setattr(place, name, known)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


_ABLATIONS: dict[str, Callable[[Training], None]] = {
    "data": same_batch,
    "samples": same_samples,
    "optimizer": _no_optimizer,
    "clipping": _no_clipping,
    "frozen networks": frozen_networks,
    "logging": _no_logging,
    "saving": _no_saving,
    "validation": no_validation,
    "gradient sync": _no_gradient_sync,
    "syncs": _no_syncs,
}
