"""Blocks of a model that are alike: those of a transformer, the residual ones of a stage."""

from __future__ import annotations

import math
from typing import Any

#: What tells one kind of block from another: the class, and names and shapes of its parameters.
Kind = tuple[Any, ...]

#: More kinds are not looked for.
_KINDS = 4


def repeated_blocks(torch: Any, module: Any) -> dict[Kind, list[Any]]:
    """Blocks of the lists and sequences in a model that occur at least twice, none inside another one.

    The largest kinds first, and only a few: each is compiled for training and for validation, and dynamo does not
    compile without end. Modules without children are no blocks.
    """
    # The script's classes may give these names to something else.
    children, modules = torch.nn.Module.children, torch.nn.Module.modules
    containers = (torch.nn.ModuleList, torch.nn.Sequential)
    kinds: dict[Kind, dict[int, Any]] = {}
    for container in modules(module):
        for block in children(container) if isinstance(container, containers) else ():
            if not isinstance(block, containers) and next(children(block), None) is not None:
                kinds.setdefault(_kind(torch, block), {})[id(block)] = block
    alike = {kind: blocks for kind, blocks in kinds.items() if len(blocks) > 1}
    # A block in another repeated one is part of that one.
    inside = {
        id(child)
        for blocks in alike.values()
        for block in blocks.values()
        for child in modules(block)
        if child is not block
    }
    outermost = {kind: list(blocks.values()) for kind, blocks in alike.items() if not inside & blocks.keys()}
    largest = sorted(outermost, key=lambda kind: -len(outermost[kind]) * _size(kind))[:_KINDS]
    return {kind: outermost[kind] for kind in largest}


def _kind(torch: Any, block: Any) -> Kind:
    lazy = torch.nn.parameter.is_lazy
    weights = torch.nn.Module.named_parameters(block)
    return type(block), *((name, () if lazy(weight) else tuple(weight.shape)) for name, weight in weights)


def _size(kind: Kind) -> int:
    return sum(math.prod(shape) for _, shape in kind[1:])
