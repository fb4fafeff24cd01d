"""Whose code a file holds: the script's, a library's, torch's or the language's, or the probe's own."""

from __future__ import annotations

import os
import sys
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Trainings that come with this package.
_TRAININGS = (os.path.join(_PACKAGE, "train") + os.sep, os.path.join(_PACKAGE, "workloads") + os.sep)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Whose:
    """Called with the name of a file: "script", "library", "torch" for what explains nothing, or "probe"."""

    def __init__(self, torch: Any) -> None:
        self.known: dict[str, str] = {}
        # The module sysconfig would tell, and reads a large file for it.
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.language = tuple({os.path.join(sys.base_prefix, sys.platlibdir, version, ""), _folder_of(os)})
        self.torch = _folder_of(torch)

    def __call__(self, file: str) -> str:
        found = self.known.get(file)
        if found is None:
            if file.startswith(_TRAININGS):
                found = "script"
            elif file.startswith(_PACKAGE):
                found = "probe"
            elif file.startswith((self.torch, "<frozen ", "<eval_with_key>")) or "torchinductor" in file:
                found = "torch"
            elif any(part in file for part in _INSTALLED):
                found = "library"
            else:
                found = "torch" if file.startswith(self.language) else "script"
            self.known[file] = found
        return found


def _folder_of(module: Any) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(str(module.__file__))), "")
