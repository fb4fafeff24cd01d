"""Where a step of the script begins and ends: what comes back from batch to batch.

    batch ─> forward ─> backward ─> batch ─> forward ─> backward ─> optimizer ─> ... ─> batch
             begins                 (accumulation: no optimizer yet)                    ends

It ends where the next batch is asked for once an optimizer has stepped. Where no loader brings batches, it ends with
the forward after all optimizers that take part have stepped. Two steps are gone through, and more where an optimizer
comes in late.
"""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from hotlap.estimate.script.follower import Follower
from hotlap.estimate.script.telling import Telling
from hotlap.estimate.tracker import tensors_in

#: Steps that are waited for an optimizer that has not stepped yet (a critic's five to a generator's one).
_LATE = 8
#: Batches without a step of an optimizer.
_MOST_BATCHES = 2000


class Loader(NamedTuple):
    #: Its batch size is a number of its own.
    plain: bool
    batch_size: int | None
    samples: int | None


class Cycles:
    def __init__(self, follower: Follower, telling: Telling) -> None:
        self._follower, self._telling = follower, telling
        self._open = False
        self._number = 0
        self._stepped: set[int] = set()
        #: Those of all steps, and the step in which the last of them came in.
        self._known: dict[int, Optimizer] = {}
        self._newest = 0
        self._made: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        #: Batches since an optimizer stepped, and whether a loader is what recurs.
        self._waiting = 0
        self._fed = False
        self._loader: Loader | None = None
        #: Batches of this step and of the one before, by the loader.
        self._batches: Counter[int] = Counter()
        self._last: Counter[int] = Counter()
        self._sample: list[list[int]] = []
        #: Samples of the last batch, and of the largest by the loader: the last of an epoch may be smaller.
        self._batch = 0
        self._largest: dict[int, int] = {}
        #: Steps of optimizers without a network that was called.
        self._uncalled = 0
        register_optimizer_step_post_hook(self._after_step)
        made, usual = self._made, Optimizer.__init__

        def __init__(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            usual(optimizer, *args, **kwargs)
            made.add(optimizer)

        Optimizer.__init__ = __init__  # type: ignore[method-assign, assignment]

    def fetches(self) -> None:
        """A batch is asked for."""
        if self._open and self._stepped:
            self._close()
        self._waiting += 1
        if self._waiting > _MOST_BATCHES:
            self._telling.stop(f"no optimizer stepped in {_MOST_BATCHES:,} batches, so no training step was found")

    def fetched(self, loader: Loader | None, batch: Any) -> None:
        if not self._open and not self._number and id(loader) in self._batches:
            self._batches.clear()  # what came before was for no step
        self._fed = True
        self._loader = loader
        self._batches[id(loader)] += torch.is_grad_enabled()  # else it is looked at, as by a validation
        self._shapes(batch)

    def ended(self, loader: Loader | None) -> None:
        """An epoch is over."""
        self._waiting -= 1
        if not self._open:
            self._batches.pop(id(loader), None)

    def forward(self, inputs: Any) -> None:
        """A network is called from outside of all others, with gradients."""
        if not self._follower.on_card and not self._follower.begun:
            self._follower.imitate_all()
        if self._open and not self._fed and self._stepped and self._stepped.issuperset(self._known):
            self._close()
        if self._open:
            return
        self._open = True
        self._stepped.clear()
        if not self._fed:
            self._shapes(inputs)
        self._follower.next_step()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._waiting = 0
        self._uncalled += not self._open
        if self._uncalled > 1:
            self._telling.stop(
                "its optimizer steps, and no torch.nn.Module was called with gradients before: where a step begins is "
                "told by a call of the network, so write it as a Module"
            )
        if id(optimizer) in self._stepped:
            self._fed = False  # no batch in between: they come from elsewhere
        self._stepped.add(id(optimizer))
        if id(optimizer) not in self._known:
            self._known[id(optimizer)] = optimizer
            self._newest = self._number + 1

    def _shapes(self, batch: Any) -> None:
        shapes = [list(each.shape) for each in tensors_in(batch)]
        first = next((shape[0] for shape in shapes if shape), 0)
        if first:
            self._batch = first
            self._largest[id(self._loader)] = max(self._largest.get(id(self._loader), 0), first)
            self._sample = [shape[1:] for shape in shapes if shape and shape[0] == first]

    def _close(self) -> None:
        self._open = False
        self._number += 1
        self._last, self._batches = +self._batches, Counter()
        if self._follower.on_card and not self._follower.timeline().blocks:
            self._telling.stop(
                "the script puts nothing on the card, though it is told that there is one: ask with --gpu cpu what it "
                'takes here, or have it move its network and its batches with .to("cuda")'
            )
        late = {id(each) for each in self._made} - self._known.keys()
        is_whole = self._stepped.issuperset(self._known) and self._batch >= self._largest.get(id(self._loader), 0)
        come = self._number >= 2 and self._number > self._newest and (not late or self._number >= _LATE)
        if come and (is_whole or self._number >= 2 * _LATE):
            self._found()

    def over(self) -> None:
        """The script is at its end."""
        if self._open and self._stepped:
            self._close()
        if self._number >= 2:
            self._found()
        if self._number or self._stepped:
            self._telling.ended("it ended after one step, and the second is the one that has all of its memory")
        self._telling.ended("it ended without a training step: no optimizer of torch has stepped")

    def _samples_of_a_batch(self, loader: Loader | None) -> int:
        asked = loader.batch_size if loader is not None and loader.plain else None
        if asked is None or loader is None:
            return self._batch or 1
        return asked if loader.samples is None else min(asked, loader.samples)

    def _found(self) -> None:
        timeline = self._follower.timeline()
        parameters = {
            id(each): each.numel()
            for optimizer in self._known.values()
            for group in optimizer.param_groups
            for each in group["params"]
            if isinstance(each, Tensor) and each.requires_grad
        }
        loader = self._loader
        self._telling.found(
            {
                "blocks": [
                    [each.size, each.operator, each.module, each.phase, each.step, each.category]
                    for each in timeline.blocks
                ],
                "events": timeline.events,
                "calls": self._follower.count.lines(),
                "unknown": sorted(self._follower.count.unknown),
                "flops": self._follower.flops(self._number),
                "parameters": list(parameters.values()),
                "optimizers": [type(each).__name__ for each in self._known.values()],
                "late": len({id(each) for each in self._made} - self._known.keys()),
                "steps": self._number,
                "micro_batches": max(self._last.values(), default=1),
                "batch_size": self._samples_of_a_batch(loader),
                "sample": self._sample,
                "samples": None if loader is None else loader.samples,
                "changeable": self._fed and len(self._last) == 1 and loader is not None and loader.plain,
                "recomputes": any(each.phase == "recompute" for each in timeline.blocks),
                "tf32": torch.get_float32_matmul_precision() != "highest" or torch.backends.cuda.matmul.allow_tf32,
            }
        )
