"""Makes a room of the package callable, where the Python API has a function of the same name.

``hotlap.train("my.yaml")`` calls the function in ``hotlap.api`` whether or not the room ``hotlap.train`` has been
imported already, which sets the attribute ``hotlap.train`` to the module.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from hotlap import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(name: str) -> None:
    sys.modules[name].__class__ = _Callable
