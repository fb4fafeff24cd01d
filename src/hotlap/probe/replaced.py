"""Runs other texts in the place of the script's files, as if they stood there: so a patch is tried before it is made.

    python train.py ──path hook──> __main__ of the copy, with __file__, sys.argv and sys.path as for train.py
    import model    ──loader────> the copy's code, under the name of model.py

Everything else that reads the files still sees the user's. What shows source (tracebacks, ``torch.jit``) sees the copy.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import linecache
import os
import sys
from collections.abc import Mapping
from types import CodeType, ModuleType
from typing import Any


def install(copies: Mapping[str, str]) -> None:
    """``copies``: absolute paths of files, and of what stands for each."""
    files = {os.path.realpath(path): copy for path, copy in copies.items()}
    loader = importlib.machinery.SourceFileLoader
    get_code = loader.get_code

    def from_copy(self: Any, fullname: str) -> CodeType | None:
        copy = files.get(os.path.realpath(self.path))
        return get_code(self, fullname) if copy is None else _code(copy, self.path)

    loader.get_code = from_copy  # type: ignore[method-assign]

    def hook(path: str) -> Any:
        """Asked first for whatever Python is to run: a file that one of its importers takes is run by that."""
        copy = files.get(os.path.realpath(path)) if os.path.isfile(path) else None
        if copy is None:
            raise ImportError(f"{path} stays as it is")
        return _Main(path, copy)

    sys.path_hooks.insert(0, hook)


def _code(copy: str, path: str) -> CodeType:
    with open(copy, "rb") as file:
        data = file.read()
    source = importlib.util.decode_source(data)
    # Without a time, an entry is never compared with the file.
    linecache.cache[path] = (len(source), None, source.splitlines(True), path)
    return compile(data, path, "exec", dont_inherit=True)


class _Main:
    """Finds and loads ``__main__`` alone, of a path that is a script."""

    def __init__(self, path: str, copy: str) -> None:
        self.path = path
        self.copy = copy

    def find_spec(self, name: str, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "__main__":
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=self.path)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), vars(module))

    def is_package(self, name: str) -> bool:
        return False

    def get_code(self, name: str) -> CodeType:
        """What runs first puts right what differs between a path that is imported from and a script."""
        prelude = compile("__hotlap_begin__(globals())", self.path, "exec")
        vars(sys.modules["builtins"])["__hotlap_begin__"] = self._begin
        return prelude

    def _begin(self, names: dict[str, Any]) -> None:
        del vars(sys.modules["builtins"])["__hotlap_begin__"]
        names.update(__file__=self.path, __spec__=None, __package__=None, __cached__=None)
        if names["__name__"] == "__main__" and sys.path and sys.path[0] == self.path:
            sys.path[0] = os.path.dirname(os.path.realpath(self.path))
        exec(_code(self.copy, self.path), names)
