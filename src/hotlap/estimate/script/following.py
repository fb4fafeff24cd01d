"""In the script's own process: follow two steps of its training, without their memory, and leave.

    imports, data sets, network, weights     real
    first batch of the training loader       from here on every tensor is imitated, and followed
    step 1 | step 2                          the script's own loop
    ──> followed.json in the run directory; the process ends

Without a loader it begins where a network that trains is called. A loader is iterated in this process, with as many
samples in a batch as is asked. It gives one batch where no gradients are computed, which is validation, and to the
training as many as its steps take.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
import traceback
from contextlib import ExitStack
from typing import Any, NoReturn

import torch
import torch.utils.data
from torch import nn
from torch.amp.autocast_mode import autocast
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import dataloader as loaders

from hotlap.estimate import onednn
from hotlap.estimate.imitation import CannotBeTraced, cannot, imitated
from hotlap.estimate.script import shown_card
from hotlap.estimate.script.answers import Answers, script_line
from hotlap.estimate.script.names import RESULT
from hotlap.estimate.script.swapping import blank_batch, modules, swap, tensors
from hotlap.estimate.tracker import Tracker
from hotlap.probe.counting import Count

#: The second has the optimizer's state, which is born in the first.
STEPS = 2


def install(asked: dict[str, Any], run_dir: str) -> None:
    """Follow the training of this process. ``asked``: the card, or none for the CPU, and the batch of a loader."""
    if asked["card"]:
        card = asked["card"]
        shown_card.show(card["name"], card["memory"], tuple(card["capability"]))
    Following(asked, os.path.join(run_dir, RESULT)).install()


class Following:
    def __init__(self, asked: dict[str, Any], path: str) -> None:
        self.asked, self.path = asked, path
        self.began = time.monotonic()
        self.answers = Answers()
        self.tracker: Tracker | None = None
        self.count = Count(torch)
        self.modes = ExitStack()
        self.optimizers: list[Optimizer] = []
        #: Optimizers that have stepped since the step began.
        self.stepped: set[int] = set()
        self.steps = self.micro_batches = 0
        self.loaders = 0
        self.known: dict[str, Any] = {"precision": "float32", "compiled": False, "notes": []}
        self.ended = False
        self.pid = os.getpid()

    def install(self) -> None:
        self._watch_optimizers()
        self._watch_loaders()
        self._watch_modules()
        self._watch_autocast()
        save = torch.save

        def saved(*args: Any, **kwargs: Any) -> None:
            if self.tracker is None:
                save(*args, **kwargs)
            else:
                self._note("torch.save wrote nothing: what it was given has no values")

        torch.save = saved
        holders: tuple[Any, ...] = (torch, nn.Module)
        for holder in holders:
            holder.compile = self._noting_compile(holder.compile)
        usual = sys.excepthook

        def ended(kind: Any, error: BaseException, trace: Any) -> None:
            self._failed(error)
            usual(kind, error, trace)

        sys.excepthook = ended
        atexit.register(self._at_exit)

    def _noting_compile(self, usual: Any) -> Any:
        def compiled(*args: Any, **kwargs: Any) -> Any:
            self.known["compiled"] = True
            return usual(*args, **kwargs)

        return compiled

    # what tells where the training is

    def _watch_optimizers(self) -> None:
        usual = Optimizer.__init__

        def made(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            usual(optimizer, *args, **kwargs)
            if os.getpid() == self.pid:
                self.optimizers.append(optimizer)

        Optimizer.__init__ = made  # type: ignore[method-assign, assignment]

        def before(optimizer: Optimizer, *_: Any) -> None:
            if self.tracker is not None and id(optimizer) in self.stepped:
                self._step_over()

        def after(optimizer: Optimizer, *_: Any) -> None:
            if self.tracker is not None:
                self.stepped.add(id(optimizer))

        register_optimizer_step_pre_hook(before)
        register_optimizer_step_post_hook(after)

    def _watch_loaders(self) -> None:
        usual, following = DataLoader.__init__, self

        def made(loader: Any, dataset: Any, batch_size: Any = 1, *args: Any, **kwargs: Any) -> None:
            following.loaders += 1
            loader.__dict__["_hotlap_number"] = following.loaders
            asked = following.asked["batch_size"]
            if asked and following.loaders == following.asked["loader"]:
                batch_size = asked
            names = ("shuffle", "sampler", "batch_sampler", "num_workers", "collate_fn", "pin_memory", "drop_last")
            kwargs |= dict(zip(names, args, strict=False))
            # Workers cannot send imitations, and here is nothing to wait for.
            kwargs |= {"num_workers": 0, "pin_memory": False, "timeout": 0}
            for name in ("prefetch_factor", "persistent_workers", "multiprocessing_context"):
                kwargs.pop(name, None)
            usual(loader, dataset, batch_size, **kwargs)

        DataLoader.__init__ = made  # type: ignore[method-assign, assignment]
        base = loaders._BaseDataLoaderIter
        began, gave = base.__init__, base.__next__

        def begun(iterator: Any, loader: Any, *args: Any) -> None:
            with _disable_current_modes():
                began(iterator, loader, *args)
            iterator._hotlap_loader, iterator._hotlap_given = loader, 0

        def given(iterator: Any) -> Any:
            if not self.optimizers:
                return gave(iterator)
            if not torch.is_grad_enabled():
                if iterator._hotlap_given:
                    raise StopIteration
            elif self.stepped:
                self._step_over()
            with _disable_current_modes():
                try:
                    batch = gave(iterator)
                except StopIteration:
                    if self.tracker is None or not torch.is_grad_enabled():
                        raise
                    # Two steps may need more batches than an epoch has; all are alike here.
                    iterator.__init__(iterator._hotlap_loader)
                    batch = gave(iterator)
            iterator._hotlap_given += 1
            if self.tracker is None:
                if not torch.is_grad_enabled():
                    return batch
                self._begin(batch, iterator._hotlap_loader)
            self.micro_batches += torch.is_grad_enabled()
            return blank_batch(batch)

        base.__init__, base.__next__ = begun, given  # type: ignore[method-assign, assignment]

    def _watch_modules(self) -> None:
        usual = nn.Module.__call__

        def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self.tracker is None and self.optimizers and module.training and torch.is_grad_enabled():
                trained = {id(each) for group in self.optimizers[-1].param_groups for each in group["params"]}
                if any(id(each) in trained for each in module.parameters()):
                    batch = [args, kwargs]
                    self._begin(batch, None)
                    (args, kwargs) = blank_batch(batch)
            return usual(module, *args, **kwargs)

        nn.Module.__call__ = called  # type: ignore[method-assign]

    def _watch_autocast(self) -> None:
        usual = autocast.__enter__

        def entered(context: Any) -> Any:
            if context._enabled and torch.is_grad_enabled():
                self.known["precision"] = str(context.fast_dtype).removeprefix("torch.")
            return usual(context)  # type: ignore[no-untyped-call]  # of torch

        autocast.__enter__ = entered  # type: ignore[method-assign]

    # the steps

    def _begin(self, batch: Any, loader: Any) -> None:
        """The first batch of the training is there."""
        self._describe(batch, loader)
        self.modes.enter_context(imitated())
        swap(modules(), self.optimizers)
        on_card = bool(self.asked["card"])
        tracker = Tracker(
            as_on_cuda=on_card,
            hidden=None if on_card else onednn.hidden,
            count=self.count,
            answer=self.answers.number,
        )
        self.modes.enter_context(self.answers)
        self.tracker = self.modes.enter_context(tracker)
        tracker.next_step()

    def _describe(self, batch: Any, loader: Any) -> None:
        parts = tensors(batch)
        size = getattr(loader, "batch_size", None)
        if size is None and parts:
            size = parts[0].shape[0] if parts[0].ndim else 1
        dataset = getattr(loader, "dataset", None)
        shapes = [list(part.shape) for part in parts]
        with_batch = [shape[1:] if shape[:1] == [size] else shape for shape in shapes]
        may_change = loader is not None and loader.batch_size is not None and not isinstance(dataset, IterableDataset)
        self.known |= {
            "batch_size": size or 1,
            "sample": with_batch,
            "loader": getattr(loader, "_hotlap_number", None) if may_change else None,
            "samples": _length(dataset),
        }

    def _step_over(self) -> None:
        self.steps += 1
        self.stepped.clear()
        if self.steps == STEPS:
            self._leave()
        assert self.tracker is not None
        self.tracker.next_step()
        self.micro_batches = 0

    def _leave(self) -> NoReturn:
        self._write()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)

    # what was found

    def _write(self) -> None:
        tracker = self.tracker
        assert tracker is not None
        self.ended = True
        timeline = tracker.timeline()
        self.modes.close()
        numbers = {
            id(each): each.numel()
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for each in group["params"]
            if each.requires_grad
        }
        for (file, line, what), times in self.answers.asked.items():
            where = f"{_beside(file)}:{line}" if file else "a library"
            self.known["notes"].append(["read", where, what, times])
        self._save(
            {
                **self.known,
                "parameters": list(numbers.values()),
                "optimizer": _names(self.optimizers),
                "checkpointing": any(block.phase == "recompute" for block in timeline.blocks),
                "tf32": torch.get_float32_matmul_precision() != "highest",
                "micro_batches": max(1, self.micro_batches),
                "steps": self.steps,
                "flops": tracker.flops(self.steps),
                "work": self.count.lines(),
                "unknown": sorted(self.count.unknown),
                "blocks": [
                    [each.size, each.operator, each.module, each.phase, each.step, each.category]
                    for each in timeline.blocks
                ],
                "events": timeline.events,
                "seconds": time.monotonic() - self.began,
            }
        )

    def _save(self, found: dict[str, Any]) -> None:
        with _disable_current_modes(), open(f"{self.path}.part", "w") as file:
            json.dump(found, file)
        os.replace(f"{self.path}.part", self.path)

    def _note(self, words: str) -> None:
        if words not in self.known["notes"]:
            self.known["notes"].append(words)

    def _failed(self, error: BaseException) -> None:
        """The script ends by an error of its own, or by one of imitation."""
        if self.ended or self.tracker is None or os.getpid() != self.pid:
            return
        self.ended = True
        known = error if isinstance(error, CannotBeTraced) else cannot(error)
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        file, line = next((at for at in map(_own_line, reversed(frames)) if at[0]), ("", 0))
        self._save(
            {
                "error": str(known or f"{type(error).__name__}: {error}").partition("\n")[0],
                "cannot": known is not None,
                "where": f"{_beside(file)}:{line}" if file else "",
            }
        )

    def _at_exit(self) -> None:
        if self.ended or os.getpid() != self.pid or self.tracker is None:
            return
        if self.stepped:
            self.steps += 1
        if self.steps:
            self._write()
        else:
            words = "the script ended before an optimizer took a step"
            self._save({"error": words, "cannot": True, "where": ""})


def _own_line(frame: Any) -> tuple[str, int]:
    found, line = script_line(frame)
    return (found, line) if found == frame.f_code.co_filename else ("", 0)


def _beside(file: str) -> str:
    """As a user would name it."""
    path = os.path.relpath(file)
    return file if path.startswith(os.pardir) else path


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None


def _names(optimizers: list[Optimizer]) -> str:
    return " and ".join(dict.fromkeys(type(each).__name__ for each in optimizers))
