"""What a script is told where it reads tensors that have no values, and where it asked.

a number        1.0 of floats, 1 of integers, False of conditions
a list, numpy   zeros
"""

from __future__ import annotations

import sys
import sysconfig
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

_OURS = __name__.partition(".")[0]
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_WHOLE = {Tensor.tolist, Tensor.numpy, Tensor.__array__}


class Answers(TorchFunctionMode):
    """Enter it while tensors are imitated."""

    def __init__(self) -> None:
        super().__init__()
        #: How often, by line of the script and what was asked for.
        self.asked: Counter[tuple[str, int, str]] = Counter()

    def number(self, tensor: Tensor) -> Any:
        if tensor.dtype is torch.bool:
            return self._told("a condition", False)
        if tensor.is_floating_point() or tensor.is_complex():
            return self._told("a number", 1.0)
        return self._told("an integer", 1)

    def _told(self, what: str, answer: Any) -> Any:
        self.asked[(*script_line(), what)] += 1
        return answer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WHOLE and isinstance(args[0], FakeTensor):
            with _disable_current_modes():
                zeros = torch.zeros(args[0].shape, dtype=args[0].dtype)
                return self._told("all values of a tensor", func(zeros, *args[1:], **(kwargs or {})))
        if func is Tensor.__format__ and isinstance(args[0], FakeTensor) and args[0].dim() == 0 and args[1]:
            return format(self.number(args[0]), args[1])
        return func(*args, **(kwargs or {}))


def script_line(frame: Any = None) -> tuple[str, int]:
    """The innermost line that is neither torch's, nor a library's, nor ours; ("", 0) where there is none."""
    frame = frame or sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module not in ("torch", _OURS) and not file.startswith((*_LIBRARIES, "<")):
            return file, frame.f_lineno
        frame = frame.f_back
    return "", 0
