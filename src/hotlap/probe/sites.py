"""Remembers where in the script things happen, so that a change can be written there (``tune.patching``).

    loader = DataLoader(...)              train.py:12, columns 9 to 40      wherever one is made
    optimizer = torch.optim.Adam(...)     train.py:15                       wherever one is made
    model(x), checkpoint(f, x), loss.backward()                             in the first steps

A place is the innermost frame of the script's own code. It is ``direct`` where that frame itself calls what is seen:
what a library calls for the script cannot be edited there. Each place is kept once.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from hotlap.probe.harmless import harmless
from hotlap.probe.whose import Whose

#: Places of one kind that are kept.
_MOST = 16


class Sites:
    """Becomes ``records.Sites``. Outlives what is known of a training: a parent may make what its child trains with."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.whose = Whose(torch)
        self.kinds = ("loaders", "optimizers", "models", "backwards", "checkpoints")
        self.found: dict[str, dict[Any, dict[str, Any]]] = {kind: {} for kind in self.kinds}
        self.root = os.getcwd()
        self.main: str | None = None

    def place(self, kind: str, made: Any = None) -> dict[str, Any] | None:
        """A new entry for where the script is; None where it is known, or no code of the script's runs.

        ``made``: what is being made, perhaps by a constructor that calls that of its base.
        """
        if self.main is None:  # once a script is over, Python forgets which it was
            self.main = getattr(sys.modules.get("__main__"), "__file__", None)
        found = self.found[kind]
        if len(found) >= _MOST:
            return None
        frame: Any = sys._getframe(1)
        direct = True
        try:
            while frame is not None:
                whose = self.whose(frame.f_code.co_filename)
                if whose == "script":
                    break
                direct = direct and (whose == "probe" or _constructs(frame, made))
                frame = frame.f_back
            if frame is None:
                return None
            key = (frame.f_code, frame.f_lasti)
            if key in found:
                return None
            found[key] = entry = _position(frame)
            entry["direct"] = direct
            return entry
        finally:
            del frame  # it holds tensors

    @harmless
    def loader_made(self, loader: Any) -> None:
        entry = self.place("loaders", loader)
        if entry is not None:
            iterable = isinstance(loader.dataset, self.torch.utils.data.IterableDataset)
            entry.update(kind=_name(loader), iterable=iterable, workers=loader.num_workers)

    @harmless
    def optimizer_made(self, optimizer: Any) -> None:
        entry = self.place("optimizers", optimizer)
        if entry is None:
            return
        groups = optimizer.param_groups
        flags = [name for name in ("fused", "foreach") if all(name in group for group in groups)]
        parameters = [parameter for group in groups for parameter in group["params"]]
        devices = {"cpu"} if type(optimizer).__name__ == "Adagrad" else {"cpu", "cuda", "mps", "xpu"}
        if not all(each.device.type in devices and each.is_floating_point() for each in parameters):
            flags = [name for name in flags if name != "fused"]
        entry.update(kind=_name(optimizer), flags=flags)

    @harmless
    def called(self, module: Any, training: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An outermost call of a module."""
        entry = self.place("models")
        if entry is None:
            return
        base = self.torch.nn.Module
        parameters = list(base.parameters(module))
        entry.update(
            kind=_name(module),
            training=training,
            trained=any(parameter.requires_grad for parameter in parameters),
            device=parameters[0].device.type if parameters else None,
            images=[index for index, value in enumerate(args) if self._image(value)]
            + [name for name, value in kwargs.items() if self._image(value)],
            channels_last=self._only_kernels(module),
            compiles=type(module).compile is base.compile,
        )

    def _image(self, value: Any) -> bool:
        return isinstance(value, self.torch.Tensor) and value.dim() == 4 and value.is_floating_point()

    def _only_kernels(self, module: Any) -> bool:
        """Whether all that ``module.to(memory_format=...)`` would lay out anew are weights of convolutions."""
        children = list(self.torch.nn.Module.modules(module))
        convolution = self.torch.nn.modules.conv._ConvNd
        # Reading the attribute may compute it, and change what it is computed from: spectral_norm does.
        kernels = {id(child._parameters.get("weight")) for child in children if isinstance(child, convolution)}
        values = [value for child in children for value in (*child._parameters.values(), *child._buffers.values())]
        # One that no call has made yet has no dimensions.
        lazy = self.torch.nn.parameter.is_lazy
        four = {id(value) for value in values if value is not None and (lazy(value) or value.dim() == 4)}
        return bool(four) and four <= kernels

    @harmless
    def backward(self) -> None:
        self.place("backwards")

    @harmless
    def checkpointed(self) -> None:
        self.place("checkpoints")

    def collect(self) -> dict[str, Any]:
        return {
            "root": self.root,
            "main": os.path.join(self.root, self.main) if self.main else None,
            **{kind: [dict(entry) for entry in self.found[kind].values()] for kind in self.kinds},
        }


def watch_sites(torch: Any, sites: Sites) -> None:
    """See where loaders and optimizers are made."""
    _after(torch.utils.data.DataLoader, sites.loader_made)
    _after(torch.optim.Optimizer, sites.optimizer_made)


def _after(kind: Any, seen: Callable[[Any], None]) -> None:
    construct = kind.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        construct(self, *args, **kwargs)
        seen(self)

    kind.__init__ = __init__


def _constructs(frame: Any, made: Any) -> bool:
    return frame.f_code.co_name == "__init__" and made is not None and frame.f_locals.get("self") is made


def _position(frame: Any) -> dict[str, Any]:
    """Lines from 1, columns in bytes of UTF-8. Before Python 3.11 code does not know where a call ends."""
    code = frame.f_code
    entry: dict[str, Any] = {"file": os.path.abspath(code.co_filename), "line": frame.f_lineno}
    if hasattr(code, "co_positions"):
        line, end_line, column, end_column = list(code.co_positions())[frame.f_lasti // 2]
        if None not in (line, end_line, column, end_column):
            entry.update(line=line, column=column, end_line=end_line, end_column=end_column)
    return entry


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
