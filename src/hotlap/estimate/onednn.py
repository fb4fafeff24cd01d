"""What some operators on a CPU need while they run, which no tensor shows: so estimates can be checked where no GPU is.

PyTorch leaves convolutions to oneDNN, which works on channels in blocks. A picture that is not channels last is brought
into blocks first and its result out of them:

    forward    in blocks, weights, out blocks         | out blocks, out
    backward   grad blocks, weights, in grad blocks   | in grad blocks, in grad
               in grad, in blocks, grad blocks, weights' grad

Channels are filled up to a multiple of the block, except those of a first layer's input. A layer of an LSTM keeps a
workspace for backward, and copies its weights and computes its gates in scratch. All was read off the allocations of
PyTorch 2.13 on a machine with AVX-512; a GPU's workspace is another.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten
#: Channels of an input that is left as it is.
_FEW = 3


def hidden(func: Any, args: tuple[Any, ...], out: Any) -> int:
    """Most bytes that a convolution has beside its arguments and results; 0 for all else."""
    if func is _aten.convolution.default:
        return _forward(args, out)
    if func is _aten.convolution_backward.default:
        return _backward(args, out)
    if func in (_aten.mkldnn_rnn_layer.default, _aten.mkldnn_rnn_layer_backward.default):
        x, of_input, of_hidden = args[:3]
        # Four gates of each hidden feature, for all times.
        gates: int = 4 * x.shape[0] * x.shape[1] * of_hidden.shape[1] * x.element_size()
        return _bytes(of_input) + _bytes(of_hidden) + gates
    return 0


def kept_by_recurrent(out: Tensor) -> int:
    """Bytes that a layer of an LSTM keeps, of its output: 15.3 to 15.8 times as many where it is not tiny."""
    return round(15.6 * _bytes(out))


def _forward(args: tuple[Any, ...], out: Tensor) -> int:
    x, weight, bias, *how = args
    bias_sizes = None if bias is None else list(bias.shape)
    if not _is_onednn(x, weight, bias, bias_sizes, how):
        return 0
    if _channels_last(x, weight):
        return _bytes(weight)
    transposed = how[3]
    # A transposed one's result is brought into order once more.
    after = _blocked(out) + (2 if transposed else 1) * _bytes(out)
    return max(_input(x) + _bytes(weight) + _blocked(out), after) - _bytes(out)


def _backward(args: tuple[Any, ...], out: tuple[Tensor | None, ...]) -> int:
    grad, x, weight, bias_sizes, *how, _ = args
    if not _is_onednn(x, weight, None, bias_sizes, how):
        return 0
    if _channels_last(x, weight):
        return _bytes(weight)
    of_input, of_weight = out[0], out[1]
    most = results = 0
    if of_input is not None:
        results += _bytes(of_input)
        most = max(_blocked(grad) + _bytes(weight) + _blocked(of_input), _blocked(of_input) + _bytes(of_input))
    if of_weight is not None:
        most = max(most, results + _input(x) + _blocked(grad) + _bytes(of_weight))
        results += _bytes(of_weight)
    return max(most - results, 0)


def _is_onednn(x: Tensor, weight: Tensor, bias: Tensor | None, bias_sizes: Any, how: list[Any]) -> bool:
    stride, padding, dilation, transposed, output_padding, groups = how
    backend: Any = torch._C._select_conv_backend(
        x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, bias_sizes
    )
    # That of transposed ones has no name in Python.
    name: str = backend.name
    return name == ("???" if transposed else "Mkldnn")


def _channels_last(x: Tensor, weight: Tensor) -> bool:
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return layout is not None and any(
        each.is_contiguous(memory_format=layout) and not each.is_contiguous() for each in (x, weight)
    )


def _input(x: Tensor) -> int:
    return 0 if x.shape[1] <= _FEW else _blocked(x)


def _blocked(x: Tensor) -> int:
    block = 16 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 8
    return x.shape[0] * -(-x.shape[1] // block) * block * prod(x.shape[2:]) * x.element_size()


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()
