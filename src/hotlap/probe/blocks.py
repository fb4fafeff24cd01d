"""The parts of a model that can be recomputed one by one: what repeats in a row, or else its largest parts.

ModuleList / Sequential of composite modules of one class      Transformer.layers, ResNet.layer1, VRT's groups
otherwise: the composite children of the model                 encoder and decoder
"""

from __future__ import annotations

from typing import Any


def blocks(torch: Any, model: Any) -> list[Any]:
    """Return them in the order of the model, none inside another; empty where it has no parts."""
    found: dict[int, Any] = {}
    _repeated(torch, model, found)
    if not found:
        parts = _parts(torch, model)
        found = {id(part): part for part in parts} if len(parts) > 1 else {}
    return list(found.values())


def _repeated(torch: Any, module: Any, found: dict[int, Any]) -> None:
    children = list(module._modules.values())
    if isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential, torch.nn.ModuleDict)):
        kinds = [_kind(child) for child in children]
        for child, kind in zip(children, kinds, strict=True):
            if kinds.count(kind) > 1 and _composite(torch, child):
                found[id(child)] = child
    for child in children:
        if child is not None and id(child) not in found:
            _repeated(torch, child, found)


def _kind(child: Any) -> type:
    """Its class; of a block that is recomputed already, what that was made from."""
    return getattr(type(child), "_hotlap_base", type(child))


def _parts(torch: Any, model: Any) -> list[Any]:
    """What a wrapper around one module wraps has the parts."""
    children = [child for child in model._modules.values() if child is not None]
    if len(children) == 1:
        return _parts(torch, children[0])
    return [child for child in children if _composite(torch, child)]


def _composite(torch: Any, module: Any) -> bool:
    """Whether it is called as one, is made of others, and trains."""
    if module is None or isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict, torch.jit.ScriptModule)):
        return False
    return bool(module._modules) and any(parameter.requires_grad for parameter in module.parameters())
