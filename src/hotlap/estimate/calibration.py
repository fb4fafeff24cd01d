"""``hotlap estimate --calibrate``: what this machine's processor takes for each kind of operator.

for each kind, type and size:  several sets of arguments in turn, so that they do not all come from the cache
                               seconds of a call: the median of repetitions
                               what the call does: counted as a step's operators are (``probe.counting``)
rate = operations or bytes / (seconds - seconds of a call on one number)
overhead = a training step of tiny tensors / its operators
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hotlap.estimate.rates import ARITHMETIC
from hotlap.probe.counting import Count, mode
from hotlap.records import Rate, Rates

_aten = torch.ops.aten
_REPEATS = 5
#: Seconds of a repetition, at least.
_BLOCK = 0.012
#: Arguments that are used in turn are as large as this together.
_IN_TURN = 16 << 20
_MOST_SETS = 64
_DTYPES = (torch.float32, torch.bfloat16)
_KIB, _MIB = 1 << 10, 1 << 20

_clock = time.perf_counter


class Probe(NamedTuple):
    """An operator, and what makes a new set of arguments for it."""

    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    #: What the rate goes by; None: the bytes that it moves.
    width: int | None = None


def calibrate(say: Callable[[str], None] = lambda _: None) -> Rates:
    """Measure every kind of operator; it takes about half a minute, on a machine that does nothing else."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one = torch.ones(1)
        alone = _seconds(lambda: one.add(one))
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for probe in _probes():
            kind, dtype, at, rate = _measured(probe, alone)
            if (kind, dtype) not in found:
                say(f"measuring {kind.replace('_', ' ')}, {dtype}")
            found.setdefault((kind, dtype), []).append((at, rate))
        say("measuring what a call costs")
        overhead = _overhead()
    table = [Rate(kind=kind, dtype=dtype, points=sorted(points)) for (kind, dtype), points in found.items()]
    return Rates(device="cpu", table=table, overhead=overhead)


def _measured(probe: Probe, alone: float) -> tuple[str, str, float, float]:
    """Kind, type, what the rate goes by, and the rate."""
    count = Count(torch)
    first = probe.arguments()
    with mode(count, lambda: "forward"):
        probe.function(*first)
    (row,) = [row for row in count.lines() if row[1] != "view"]
    _, kind, dtype, flops, size, width, _ = row
    held = max(sum(each.nbytes for each in first if isinstance(each, Tensor)), 1)
    sets = [first, *(probe.arguments() for _ in range(min(_MOST_SETS, _IN_TURN // held)))]
    turn = 0

    def call() -> None:
        nonlocal turn
        turn = (turn + 1) % len(sets)
        probe.function(*sets[turn])

    seconds = _seconds(call)
    own = max(seconds - alone, 0.05 * seconds)
    if kind in ARITHMETIC:
        return kind, dtype, float(width or 1), flops / own
    return kind, dtype, float(size), size / own


def _seconds(work: Callable[[], Any]) -> float:
    for _ in range(2):
        work()
    found = []
    for _ in range(_REPEATS):
        began, calls = _clock(), 0
        while not calls or _clock() - began < _BLOCK:
            work()
            calls += 1
        found.append((_clock() - began) / calls)
    return statistics.median(found)


def _probes() -> Iterator[Probe]:
    yield from _products()
    yield from _convolutions()
    yield from _attention()
    yield from _recurrent()
    yield from _moves()


def _products() -> Iterator[Probe]:
    for dtype in _DTYPES:
        for width in (8, 32, 128, 512):
            rows = max(1024, width)
            yield Probe(_aten.mm.default, _made((rows, width), (width, width), dtype=dtype))
        for width in (8, 32, 128):
            batch = 65536 // width**2 * 4 or 4
            yield Probe(_aten.bmm.default, _made((batch, width, width), (batch, width, width), dtype=dtype))


def _convolutions() -> Iterator[Probe]:
    for dtype in _DTYPES:
        for last in (False, True):
            for inputs, outputs, side in ((3, 32, 48), (32, 32, 48), (64, 64, 32), (128, 128, 16)):
                how = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
                yield Probe(
                    lambda x, w, how=how: _aten.convolution.default(x, w, None, *how),
                    _made((8, inputs, side, side), (outputs, inputs, 3, 3), dtype=dtype, last=last),
                )
                yield Probe(
                    lambda g, x, w, how=how: _aten.convolution_backward.default(
                        g, x, w, None, *how, [True, True, False]
                    ),
                    _made(
                        (8, outputs, side, side),
                        (8, inputs, side, side),
                        (outputs, inputs, 3, 3),
                        dtype=dtype,
                        last=last,
                    ),
                )
    depthwise = ([1, 1], [1, 1], [1, 1], False, [0, 0], 64)
    yield Probe(lambda x, w: _aten.convolution.default(x, w, None, *depthwise), _made((8, 64, 32, 32), (64, 1, 3, 3)))
    yield Probe(
        lambda g, x, w: _aten.convolution_backward.default(g, x, w, None, *depthwise, [True, True, False]),
        _made((8, 64, 32, 32), (8, 64, 32, 32), (64, 1, 3, 3)),
    )


def _attention() -> Iterator[Probe]:
    for dtype in _DTYPES:
        for size in (8, 64):
            shape = (8, 8, 128, size)
            yield Probe(
                lambda q, k, v: _aten._scaled_dot_product_flash_attention_for_cpu.default(q, k, v),
                _made(shape, shape, shape, dtype=dtype),
            )


def _recurrent() -> Iterator[Probe]:
    features = 256
    layer = nn.LSTM(features, features)
    weights = [each.detach() for each in layer.parameters()]
    state = torch.zeros(1, 16, features)

    def run(x: Tensor) -> Any:
        return _aten.mkldnn_rnn_layer.default(
            x, *weights, state[0], state[0], False, [], 2, features, 1, True, False, False, True
        )

    yield Probe(run, _made((64, 16, features)))


def _moves() -> Iterator[Probe]:
    sizes = (16 * _KIB, 256 * _KIB, 4 * _MIB, 32 * _MIB)
    for dtype in _DTYPES:
        for size in sizes:
            yield Probe(_aten.add.Tensor, _made((size // dtype.itemsize,), (size // dtype.itemsize,), dtype=dtype))
        for size in sizes[1:3]:
            rows = size // dtype.itemsize // 256
            yield Probe(_aten.gelu.default, _made((rows, 256), dtype=dtype))
            yield Probe(_aten.native_layer_norm.default, _layer_norm(rows, dtype))
            yield Probe(_aten.sum.default, _made((rows, 256), dtype=dtype))
            yield Probe(_transposed, _made((rows, 256), dtype=dtype))
    for size in sizes[1:3]:
        rows = size // 4 // 256
        yield Probe(lambda x: _aten.bernoulli_.float(x, 0.5), _made((rows, 256)))
        yield Probe(_aten.index_select.default, _indices(rows))
        side = round((size / 4 / 32) ** 0.5)
        yield Probe(lambda x: _aten.max_pool2d_with_indices.default(x, [2, 2], [2, 2]), _made((4, 8, side, side)))
        yield Probe(
            lambda x, grid: _aten.grid_sampler_2d.default(x, grid, 0, 0, True),
            _made((4, 8, side, side), (4, side, side, 2)),
        )


def _transposed(x: Tensor) -> Tensor:
    return x.t().clone(memory_format=torch.contiguous_format)


def _layer_norm(rows: int, dtype: torch.dtype) -> Callable[[], tuple[Any, ...]]:
    def made() -> tuple[Any, ...]:
        return (
            torch.randn(rows, 256, dtype=dtype),
            [256],
            torch.ones(256, dtype=dtype),
            torch.zeros(256, dtype=dtype),
            1e-5,
        )

    return made


def _indices(rows: int) -> Callable[[], tuple[Any, ...]]:
    return lambda: (torch.randn(rows, 256), 0, torch.randint(0, rows, (rows,)))


def _made(
    *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32, last: bool = False
) -> Callable[[], tuple[Any, ...]]:
    layout = torch.channels_last if last else torch.contiguous_format

    def made() -> tuple[Any, ...]:
        return tuple(torch.randn(shape).to(dtype).contiguous(memory_format=layout) for shape in shapes)

    return made


def _overhead() -> float:
    """Of an operator in a training step that computes next to nothing."""
    with torch.enable_grad():
        layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
        optimizer = torch.optim.Adam(layer.parameters())
        x = torch.randn(1, 2, 8)

        def step() -> None:
            layer(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        step()
        count = Count(torch)
        with mode(count, lambda: "forward"):
            step()
        operators: int = sum(row[-1] for row in count.lines())
        return _seconds(step) / operators
