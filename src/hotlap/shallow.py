"""Three-dimensional convolutions in half precision, on a CPU, over fewer planes than their kernel has: in float32.

    planes   1 ... kernel - 1                                         kernel ...
             gradient of the weights: memory that nobody wrote,       right
             or a damaged heap (with one plane if the kernel is even)

So it is with torch 2.13 and its oneDNN on AVX-512, for convolutions and transposed ones with 16 channels or more
(``benchmarks/shallow_convolutions.py``). A training does not notice at first: its gradient is clipped, or its loss is
no number some steps later, or its process ends. Other widths and heights are right, and so is a GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: Names of the arguments after input and weight.
_ARGUMENTS = {
    "conv3d": ("bias", "stride", "padding", "dilation", "groups"),
    "conv_transpose3d": ("bias", "stride", "padding", "output_padding", "groups", "dilation"),
}


def in_float32(torch: Any) -> Callable[[], None]:
    """Begin with it; return what ends it."""
    functional = torch.nn.functional
    if hasattr(functional.conv3d, "hotlap_shallow"):
        return lambda: None
    originals = {name: getattr(functional, name) for name in _ARGUMENTS}
    for name, original in originals.items():
        setattr(functional, name, _wrapped(torch, original, _ARGUMENTS[name]))

    def end() -> None:
        for name, original in originals.items():
            setattr(functional, name, original)

    return end


def _wrapped(torch: Any, original: Any, names: tuple[str, ...]) -> Any:
    @functools.wraps(original)
    def convolution(input: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002  # as torch names it
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        half = weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
        if input.device.type != "cpu" or not half or not _shallow(input, weight, given.get("dilation", 1)):
            return original(input, weight, *args, **kwargs)
        if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return original(input, weight, *args, **kwargs)
        if given.get("bias") is not None:
            given["bias"] = given["bias"].float()
        with torch.autocast("cpu", enabled=False):
            out = original(input.float(), weight.float(), **given)
        return out.to(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype)

    convolution.hotlap_shallow = True  # type: ignore[attr-defined]
    with suppress(Exception):  # what compiles scripts knows torch's own functions by their identity
        torch.jit._builtins._register_builtin(convolution, f"aten::{original.__name__}")
    return convolution


def _shallow(input: Any, weight: Any, dilation: Any) -> bool:  # noqa: A002
    apart = dilation if isinstance(dilation, int) else dilation[0]
    return bool(input.shape[-3] < (weight.shape[2] - 1) * apart + 1)
