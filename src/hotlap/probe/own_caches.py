"""Caches that a dataset keeps for itself: every worker, and every rank, fills one of its own.

    functools.lru_cache around a method, or around what an attribute holds
    a dict or a list of the dataset that fetching a sample writes into

The second is read from the source of the class. What cannot be read (a class typed into a shell) is not found, and
neither is what the dataset writes into through another name.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hotlap.probe.reachable import Walk, is_a, lineage

#: Datasets inside of a dataset that are looked into, and objects and seconds for the size of one cache.
_DEEPEST = 4
_MOST, _SECONDS = 200_000, 0.2
#: Methods that put something into a dict or a list.
_WRITERS = ("append", "extend", "setdefault", "update", "insert", "appendleft")
#: How a sample is asked for; what these call of the dataset's own methods is fetching, too.
_FETCHING = ("__getitem__", "__getitems__", "__iter__", "__next__")
_LRU = type(functools.lru_cache(lambda: None))


def caches(torch: Any, dataset: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    known: set[int] = set()
    pending = [(dataset, 0)]
    while pending:
        each, depth = pending.pop()
        if id(each) in known or depth > _DEEPEST:
            continue
        known.add(id(each))
        attributes = _attributes(each)
        with suppress(Exception):  # a class of an unusual make
            found += _of(torch, type(each), attributes)
        for value in attributes.values():
            inner = value if type(value) is list else [value]
            pending += [(one, depth + 1) for one in inner[:16] if is_a(type(one), torch.utils.data.Dataset)]
    # Of many datasets of one class one stands for all.
    return list({each["name"]: each for each in found}.values())


def _attributes(dataset: Any) -> dict[str, Any]:
    with suppress(AttributeError):
        found = object.__getattribute__(dataset, "__dict__")
        if type(found) is dict:
            return dict(found)
    return {}


def _of(torch: Any, kind: type, attributes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    methods = {name: value for _, names in reversed(list(lineage(kind))) for name, value in names.items()}
    for name, value in (*methods.items(), *attributes.items()):
        if type(value) is _LRU:
            info = value.cache_info()
            yield {"name": f"{kind.__name__}.{name}", "kind": "lru_cache", "items": info.currsize, "most": info.maxsize}
    written = written_attributes(kind)
    for name, value in attributes.items():
        if name in written and is_a(type(value), dict, list):
            items = dict.__len__(value) if is_a(type(value), dict) else list.__len__(value)
            walk = Walk(torch, value, _MOST, _SECONDS)
            size = walk.bytes + walk.array_bytes if walk.complete else None
            label = "dict" if is_a(type(value), dict) else "list"
            yield {"name": f"{kind.__name__}.{name}", "kind": label, "items": items, "bytes": size}


def written_attributes(kind: type) -> set[str]:
    """Names of ``self`` that fetching a sample puts something into."""
    methods: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for base, _ in reversed(list(lineage(kind))):
        methods.update((function.name, function) for function in _functions(base))
    reached: set[str] = set()
    pending = [name for name in _FETCHING if name in methods]
    written: set[str] = set()
    while pending:
        name = pending.pop()
        if name in reached or not methods[name].args.args:
            continue
        reached.add(name)
        own = methods[name].args.args[0].arg
        for node in ast.walk(methods[name]):
            written.update(_written(node, own))
            if isinstance(node, ast.Attribute) and _is_own(node, own) and node.attr in methods:
                pending.append(node.attr)
    return written


def _functions(kind: type) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    if kind.__module__.partition(".")[0] in ("builtins", "hotlap", "torch", "typing"):
        return []
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def _is_own(node: ast.Attribute, own: str) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == own


def _written(node: ast.AST, own: str) -> Iterator[str]:
    """``self.x[...] = ...`` and ``self.x.append(...)``."""
    places: list[ast.expr] = []
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        places = [target.value for target in targets if isinstance(target, ast.Subscript)]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _WRITERS:
        places = [node.func.value]
    for place in places:
        if isinstance(place, ast.Attribute) and _is_own(place, own):
            yield place.attr
