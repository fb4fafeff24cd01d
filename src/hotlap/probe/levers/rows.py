"""Datasets whose batch is one indexing of tensors or arrays, and the function that makes it.

    TensorDataset                                   each tensor by the indices
    Subset, ConcatDataset                           of what they are made of
    a class whose ``__getitem__`` does no more      ``return self.x[i], self.y[i]``, also through names or as a dict

What else a ``__getitem__`` may do (a transform, a condition) is none of these: for a whole batch at once it could mean
something else.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

#: Takes one-dimensional indices (int64, not negative); returns what ``default_collate`` makes of those samples.
Rows = Callable[[Any], Any]


class NotRows(Exception):
    """A batch of this dataset is more than one indexing; the text says why."""


def rows(torch: Any, dataset: Any) -> Rows:
    """Raises ``NotRows``."""
    data, kind = torch.utils.data, type(dataset)
    if kind is data.TensorDataset:
        tensors = dataset.tensors
        for tensor in tensors:
            _indexable(torch, tensor)
        return lambda index: [tensor[index] for tensor in tensors]
    if kind is data.Subset:
        of_all, numbers = rows(torch, dataset.dataset), torch.as_tensor(list(dataset.indices), dtype=torch.int64)
        if len(numbers) and int(numbers.min()) < 0:
            raise NotRows("a subset counts from the end")
        return lambda index: of_all(numbers[index])
    if kind is data.ConcatDataset:
        return _concatenated(torch, dataset)
    return _fields(torch, dataset)


def _concatenated(torch: Any, dataset: Any) -> Rows:
    parts = [rows(torch, part) for part in dataset.datasets]
    ends = torch.as_tensor(dataset.cumulative_sizes)
    tree = importlib.import_module("torch.utils._pytree")

    def concatenated(index: Any) -> Any:
        part_of = torch.bucketize(index, ends, right=True)
        pieces, places, structure = [], [], None
        for number, part in enumerate(parts):
            place = (part_of == number).nonzero().flatten()
            if len(place):
                leaves, structure = tree.tree_flatten(part(index[place] - (ends[number - 1] if number else 0)))
                pieces.append(leaves)
                places.append(place)
        back = torch.cat(places).argsort()
        kinds = {tuple((leaf.dtype, leaf.shape[1:]) for leaf in leaves) for leaves in pieces}
        if len(kinds) != 1:
            raise NotRows("its parts hold samples of different kinds")
        return tree.tree_unflatten([torch.cat(leaf)[back] for leaf in zip(*pieces, strict=True)], structure)

    return concatenated


def _indexable(torch: Any, values: Any) -> None:
    numpy = sys.modules.get("numpy")
    if type(values) is torch.Tensor:
        if values.requires_grad or values.layout != torch.strided or not values.dim():
            raise NotRows("a tensor of it cannot simply be indexed")
    elif numpy is None or type(values) not in (numpy.ndarray, numpy.memmap) or values.dtype.kind not in "biuf":
        raise NotRows(f"it keeps samples in a {type(values).__name__}")


def _fields(torch: Any, dataset: Any) -> Rows:
    kind, own = type(dataset), getattr(dataset, "__dict__", {})
    if hasattr(dataset, "__getitems__"):
        raise NotRows(f"{kind.__name__} fetches batches itself")
    layout = _layout(kind)

    def values(name: str) -> Any:
        if name not in own:
            raise NotRows(f"{kind.__name__}.{name} is computed")
        _indexable(torch, own[name])
        return own[name]

    def made(layout: Any, index: Any) -> Any:
        if isinstance(layout, list):
            return [made(each, index) for each in layout]
        if isinstance(layout, dict):
            return {key: made(each, index) for key, each in layout.items()}
        found = values(layout)
        return found[index] if isinstance(found, torch.Tensor) else torch.as_tensor(found[index.numpy()])

    made(layout, torch.zeros(0, dtype=torch.int64))
    return lambda index: made(layout, index)


def _layout(kind: Any) -> Any:
    """Names of the attributes that a ``__getitem__`` indexes, in lists and dicts as it returns them."""
    name = kind.__name__
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(kind.__getitem__))).body
    except (AttributeError, OSError, TypeError, ValueError, SyntaxError):
        raise NotRows(f"the source of {name}.__getitem__ is not there") from None
    more = NotRows(f"{name}.__getitem__ does more than indexing")
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        raise more
    taken = [argument.arg for argument in function.args.args]
    if len(taken) != 2 or ast.unparse(function.args) not in (", ".join(taken), _annotated(function.args)):
        raise more
    itself, index = taken
    known: dict[str, Any] = {}

    def layout(node: ast.expr) -> Any:
        if isinstance(node, (ast.Tuple, ast.List)):
            return [layout(each) for each in node.elts]
        if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
            return {
                key.value: layout(value)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
        if isinstance(node, ast.Name) and node.id in known:
            return known[node.id]
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            whole, at = node.value.value, node.slice
            if isinstance(whole, ast.Name) and isinstance(at, ast.Name) and (whole.id, at.id) == (itself, index):
                return node.value.attr
        raise more

    for statement in function.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # what it says of itself
        if isinstance(statement, ast.Return) and statement.value is not None:
            return layout(statement.value)
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1 or not isinstance(target, ast.Name):
            raise more
        if target.id in taken:
            raise more
        known[target.id] = layout(statement.value)
    raise more


def _annotated(arguments: ast.arguments) -> str:
    """Two plain arguments, with or without annotations."""
    return ", ".join(ast.unparse(argument) for argument in arguments.args)
