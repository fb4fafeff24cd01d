"""Gradients synchronised once in a step, where the script does it in each of its micro-batches.

    forward of micro-batch   1    2    3    4 │ step      the first steps tell that there are four
    synchronised             x    x    x    x │
                             -    -    -    x │           from then on
                             -    x             step      a shorter one, at the end of an epoch: the last batch of a
                                                          loader is synchronised, and if that was not foreseen, the
                                                          gradients are averaged before anything is done with them

Without synchronisation each rank adds up gradients of its own. The average of sums is the sum of averages, but for
rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hotlap.probe.levers.parallel import ParallelLever

#: Steps in a row with as many micro-batches, until it is believed.
_ALIKE = 2
#: Steps that were shorter than expected, without a loader at its end, until it is no more.
_SURPRISES = 3


class NoSync(ParallelLever):
    name = "no_sync"
    never = "the script made no model data parallel, or its training was too short to tell"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        self.modules = 0
        self.module: Any = None
        #: Forwards since the last optimizer step, and how often each step had so many.
        self.forwards = 0
        self.counts: list[int] = []
        #: Micro-batches of a step, 0 until it is known.
        self.every = 0
        self.surprises = 0
        #: Whether gradients are there that no other rank knows of.
        self.unsynchronised = False
        self.last_batch = False
        #: Steps so far, and batches in an epoch of the loader, 0 where nobody knows: the same on all ranks.
        self.steps = 0
        self.length = 0
        self.stopped = False

    def made(self, module: Any) -> None:
        self.modules += 1
        self.module = module
        if self.modules > 1:
            self._stop("the script has several data parallel models")
        elif module.find_unused_parameters and not module.static_graph:
            self._stop("each rank may use other parameters")

    def install(self) -> None:
        super().install()
        torch = self.torch
        if not torch.distributed.is_available():
            return
        self._wrap_forward(torch.nn.parallel.DistributedDataParallel)
        # What reads gradients, or changes them.
        utils = torch.nn.utils
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            self._first(name, utils, utils.clip_grad)
        self._first("unscale_", torch.amp.GradScaler)
        self._first("step", torch.amp.GradScaler)
        self._watch_loaders(torch.utils.data.dataloader._BaseDataLoaderIter)

    def _wrap_forward(self, parallel: Any) -> None:
        forward, compiling = parallel.forward, self.torch.compiler.is_dynamo_compiling

        @functools.wraps(forward)
        def once(module: Any, *args: Any, **kwargs: Any) -> Any:
            if self.stopped or compiling() or not self.torch.is_grad_enabled() or not module.training:
                return forward(module, *args, **kwargs)
            if not module.require_backward_grad_sync:
                self._stop("the script leaves synchronisation out itself")
                return forward(module, *args, **kwargs)
            self.forwards += 1
            if not self.every or self.forwards % self.every == 0 or self.last_batch:
                # What was added up so far is averaged with what comes.
                self.unsynchronised = False
                return forward(module, *args, **kwargs)
            self.unsynchronised = True
            self.pulled()
            with module.no_sync():
                return forward(module, *args, **kwargs)

        parallel.forward = once

    def _first(self, name: str, *places: Any) -> None:
        original: Callable[..., Any] = getattr(places[0], name)

        @functools.wraps(original)
        def synchronised(*args: Any, **kwargs: Any) -> Any:
            self._synchronise()
            return original(*args, **kwargs)

        for place in places:
            setattr(place, name, synchronised)

    def _watch_loaders(self, iterator: Any) -> None:
        following = iterator.__next__

        @functools.wraps(following)
        def __next__(batches: Any) -> Any:  # noqa: N807
            batch = following(batches)
            if self.torch.is_grad_enabled() and not self.stopped:
                try:
                    length, given = len(batches), batches._num_yielded
                except (AttributeError, TypeError):
                    length, given = 0, 0
                if not self.every:
                    self.length = length
                self.last_batch = given == length == self.length != 0
            return batch

        iterator.__next__ = __next__

    def before_optimizer(self, optimizer: Any) -> None:
        self._synchronise()
        forwards, self.forwards = self.forwards, 0
        if self.stopped or not forwards:
            return  # another optimizer of the same step
        self.steps += 1
        if self.steps <= _ALIKE:
            self.counts.append(forwards)
            if self.steps == _ALIKE:
                self._agree()
        elif forwards % self.every and not self.last_batch:
            self.surprises += 1
            if self.surprises >= _SURPRISES:
                self._stop("the number of micro-batches in a step changes")

    def _agree(self) -> None:
        """All ranks leave the same out, or none does anything: else one would wait for the others for ever."""
        torch, distributed, group = self.torch, self.torch.distributed, self.module.process_group
        device = next(self.module.parameters()).device
        every = self.counts[0] if len(set(self.counts)) == 1 else 0
        both = torch.tensor([every, self.length, -every, -self.length], device=device)
        distributed.all_reduce(both, op=distributed.ReduceOp.MAX, group=group)
        most, length, least, shortest = both.tolist()
        if most != -least or length != -shortest:
            self._stop("the ranks have not the same number of batches")
        elif most == 0:
            self._stop("the number of micro-batches in a step changes")
        elif most == 1:
            self._stop("a step has one micro-batch")
        else:
            self.every = most

    def _synchronise(self) -> None:
        """Average by hand what no backward has averaged."""
        if not self.unsynchronised:
            return
        self.unsynchronised = False
        distributed, group = self.torch.distributed, self.module.process_group
        ranks = distributed.get_world_size(group)
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(ranks)
                distributed.all_reduce(parameter.grad, group=group)

    def _stop(self, why: str) -> None:
        self.stopped = True
        self.note(f"no_sync was not applied{' any more' if self.every else ''}: {why}")
