"""The global random generators of this process: whether something draws from them, and how to leave them alone."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class RandomState:
    """As they are now. Two are equal when nothing was drawn in between."""

    def __init__(self, torch: Any) -> None:
        self.generator = torch.default_generator
        self.equal = torch.equal
        self.torch = self.generator.get_state()
        self.python = random.getstate()
        self.module = sys.modules.get("numpy")
        self.numpy: Any = self.module.random.get_state(legacy=True) if self.module is not None else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RandomState):
            return NotImplemented
        if self.python != other.python or not self.equal(self.torch, other.torch):
            return False
        if self.numpy is None or other.numpy is None:
            return True  # numpy was imported in between, and has been asked for nothing that could be compared
        return bool((self.numpy[1] == other.numpy[1]).all() and self.numpy[2:] == other.numpy[2:])

    __hash__ = None  # type: ignore[assignment]

    def restore(self) -> None:
        self.generator.set_state(self.torch)
        random.setstate(self.python)
        if self.module is not None:
            self.module.random.set_state(self.numpy)


@contextmanager
def other_numbers(torch: Any, seed: int) -> Iterator[None]:
    """What draws in here gets other numbers, and what comes after the same as if nothing had been drawn."""
    before = RandomState(torch)
    before.generator.manual_seed(seed)
    random.setstate(random.Random(seed).getstate())
    if before.module is not None:
        before.module.random.set_state(before.module.random.RandomState(seed).get_state())
    try:
        yield
    finally:
        before.restore()


@contextmanager
def unchanged(torch: Any) -> Iterator[None]:
    """Whatever draws in here leaves the generators as they were."""
    before = RandomState(torch)
    try:
        yield
    finally:
        before.restore()


def own_generator(torch: Any, thing: Any, depth: int = 3) -> bool:
    """Whether a dataset, or a transform in it, keeps a random generator of its own."""
    numpy = sys.modules.get("numpy")
    kinds: tuple[type, ...] = (random.Random, torch.Generator)
    if numpy is not None:
        kinds += (numpy.random.Generator, numpy.random.RandomState, numpy.random.BitGenerator)
    if isinstance(thing, kinds):
        return True
    if depth == 0 or isinstance(thing, (str, bytes, int, float, torch.Tensor)):
        return False
    inside: Any = thing if isinstance(thing, (list, tuple)) else getattr(thing, "__dict__", {}).values()
    if isinstance(thing, dict):
        inside = thing.values()
    # A long list holds samples, and no transforms.
    return len(inside) <= 100 and any(own_generator(torch, each, depth - 1) for each in inside)
