"""Activation checkpointing switched on: blocks drop their activations and compute them again in backward.

    forward of a block ── checkpoint(forward): nothing is kept but its input
    backward           ── forward once more, from the same random numbers, then backward

A block becomes an instance of a class made from its own, so that copies of the model (an average of its weights, say)
and what is pickled are of the original class and know nothing of this.
"""

from __future__ import annotations

import functools
import random
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fractions import Fraction
from typing import Any, cast

from hotlap.probe.blocks import blocks
from hotlap.probe.compiled import is_compiled
from hotlap.probe.levers.prepared import ModelLever

#: Wrappers that divide a model among processes or threads, and call its parts in ways of their own.
_DIVIDING = {"FullyShardedDataParallel", "DataParallel", "SyncBatchNorm"}


class Recompute(ModelLever):
    """Its value is the share of the blocks: "all", "1/2", "1/4"."""

    name = "recompute"
    never = "no model was trained"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: The class that a block has of its own.
        self.changed: weakref.WeakKeyDictionary[Any, type] = weakref.WeakKeyDictionary()
        #: Layers of a library that has a switch for it.
        self.switched: weakref.WeakSet[Any] = weakref.WeakSet()
        #: A block of ours is handed to ``checkpoint`` now.
        self.ours = False

    def prepare(self, module: Any) -> None:
        obstacle = self._obstacle(module)
        if obstacle:
            self.note(f"{self.name} was not applied: {obstacle}")
            return
        layers = [child for child in module.modules() if _has_a_switch(child)]
        if layers:
            self._switch_on(layers[:: self._every()])
            return
        # A call of one that has a forward of its own does not pass through its class.
        found = [block for block in blocks(self.torch, module) if "forward" not in vars(block)]
        changed = [block for block in found[:: self._every()] if self._change(block)]
        if changed:
            self.pulled()
        else:
            self.note(f"{self.name} was not applied: {type(module).__name__} has no parts that repeat")

    def undo(self, module: Any) -> None:
        inside = {id(child) for child in module.modules()}
        for block in [block for block in self.changed if id(block) in inside]:
            self._put_back(block)
        for layer in [layer for layer in self.switched if id(layer) in inside]:
            layer.gradient_checkpointing = False
            self.switched.discard(layer)

    def script_checkpoints(self) -> None:
        """The script has called ``checkpoint`` itself."""
        ours, self.ours = self.ours, False
        if self.value is None or ours or self.switched:
            return
        for block in list(self.changed):
            self._put_back(block)
        self.note(f"{self.name} was not applied: the script checkpoints activations itself")

    def _every(self) -> int:
        return 1 if self.value == "all" else round(1 / Fraction(self.value))

    def _obstacle(self, module: Any) -> str | None:
        names = {type(child).__name__ for child in module.modules()}
        for name in sorted(_DIVIDING & names):
            return f"the model has a {name} in it"
        if any(is_compiled(child) for child in module.modules()):
            return "the model is compiled, and what is recomputed is decided there (memory_budget)"
        return None

    def _switch_on(self, layers: list[Any]) -> None:
        """Of a library that calls its layers without their cache then."""
        if any(layer.gradient_checkpointing for layer in layers):
            self.note(f"{self.name} was not applied: the script checkpoints activations itself")
            return
        for layer in layers:
            # As the library does it, and pickled as that.
            layer._gradient_checkpointing_func = functools.partial(
                self.torch.utils.checkpoint.checkpoint, use_reentrant=False
            )
            layer.gradient_checkpointing = True
            self.switched.add(layer)
        self.pulled()

    def _change(self, block: Any) -> bool:
        base = type(block)
        try:
            block.__class__ = self._recomputing(base)
        except TypeError:  # a layout or a metaclass of its own
            return False
        self.changed[block] = base
        return True

    def _put_back(self, block: Any) -> None:
        block.__class__ = self.changed.pop(block)

    def _recomputing(self, base: type) -> type:
        lever, torch = self, self.torch

        def forward(block: Any, *args: Any, **kwargs: Any) -> Any:
            run = base.forward.__get__(block)  # type: ignore[attr-defined]  # of a module
            if not block.training or not torch.is_grad_enabled() or torch.compiler.is_dynamo_compiling():
                return run(*args, **kwargs)
            return lever.recomputed(block, run, args, kwargs)

        def __reduce_ex__(block: Any, protocol: Any) -> Any:  # noqa: N807
            reduced = super(made, block).__reduce_ex__(protocol)
            # Else the class has a way of its own.
            return (object.__new__, (base,), *reduced[2:]) if reduced[1][:1] == (made,) else reduced

        members = {"forward": forward, "__reduce_ex__": __reduce_ex__, "__doc__": base.__doc__}
        members["_hotlap_base"] = base
        members |= {"__module__": base.__module__, "__qualname__": base.__qualname__}
        made: Any = type(base.__name__, (base,), members)
        return cast(type, made)

    def recomputed(self, block: Any, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        buffers = _other_buffers(self.torch, block)
        versions = [buffer._version for buffer in buffers]
        draws = _Draws()

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), _again(self.torch, block, draws)

        names, first = list(kwargs), len(args)

        def by_position(*values: Any) -> Any:
            return run(*values[:first], **dict(zip(names, values[first:], strict=True)))

        self.ours = True
        # It looks among positional arguments alone for the GPU whose random numbers it is to repeat.
        output = self.torch.utils.checkpoint.checkpoint(
            by_position, *args, *kwargs.values(), use_reentrant=False, context_fn=contexts
        )
        if versions != [buffer._version for buffer in buffers]:
            if block in self.changed:
                self._put_back(block)
            self.note(f"{self.name} was not applied: {type(block).__name__} changes its buffers when it computes")
        return output


def _has_a_switch(module: Any) -> bool:
    """Transformers' layers, which take the key-value cache out of the call when they are recomputed."""
    return any(base.__name__ == "GradientCheckpointingLayer" for base in type(module).__mro__)


class _Draws:
    """States of the generators that torch does not know: a block may be left out by chance (stochastic depth)."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.generators: Any = sys.modules.get("numpy.random")
        self.numpy = self.generators.get_state() if self.generators else None

    def restore(self) -> None:
        random.setstate(self.python)
        if self.generators:
            self.generators.set_state(self.numpy)


@contextmanager
def _again(torch: Any, block: Any, draws: _Draws) -> Iterator[None]:
    """Around a recomputation: the same draws as in forward, and running statistics are not counted twice."""
    now = _Draws()
    draws.restore()
    norms = [norm for norm in _norms(torch, block) if norm.training and norm.track_running_stats]
    held = [(norm, norm.momentum, norm._buffers.get("num_batches_tracked")) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if "num_batches_tracked" in norm._buffers:
            norm._buffers["num_batches_tracked"] = None
    try:
        yield
    finally:
        for norm, momentum, tracked in held:
            norm.momentum = momentum
            if "num_batches_tracked" in norm._buffers:
                norm._buffers["num_batches_tracked"] = tracked
        now.restore()


def _norms(torch: Any, block: Any) -> list[Any]:
    return [child for child in block.modules() if isinstance(child, torch.nn.modules.batchnorm._NormBase)]


def _other_buffers(torch: Any, block: Any) -> list[Any]:
    counted = {id(buffer) for norm in _norms(torch, block) for buffer in norm._buffers.values()}
    return [buffer for buffer in block.buffers() if id(buffer) not in counted]
