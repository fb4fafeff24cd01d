"""Follow every storage that operators make, from its birth to its death, be it real or imitated.

    setup | forward ...... backward ...... optimizer | forward ...
             born: activations  ^ still alive here     born: state
                                | recompute: what checkpointing computes again

What a block is for is often known only later, and is written into it then: a gradient when the optimizer takes it, an
activation when it is still alive as backward begins.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from hotlap.estimate import onednn
from hotlap.estimate.on_cuda import on_cuda
from hotlap.estimate.timeline import Block, Category, Kind, Phase, Timeline
from hotlap.probe.counting import Count

_aten = torch.ops.aten
_RECURRENT = _aten.mkldnn_rnn_layer.default
_DEVICE = torch.ops.prim.device.default
_CONVOLUTIONS = {_aten.convolution, _aten.convolution_backward}
KINDS: tuple[Kind, ...] = ("convolution", "product")
#: Made for the run of one operator and gone when it returns: bytes, by what the operator was called with and gave.
Hidden = Callable[[Any, tuple[Any, ...], Any], int]
#: What torch's own code is told when it asks an imitated tensor for its number: an optimizer which step it is, a
#: gradient scaler how many gradients overflowed, an initialization whether it has to draw again.
_ANSWERS = {"torch.optim": 1, "torch.amp": 0, "torch.nn.init": 0}
#: Nothing is born of these and no shape changes, so that imitated they need not be gone through.
_WRITES = {
    *(getattr(_aten, name).default for name in ("uniform_", "normal_", "zero_", "addcmul_", "addcdiv_", "sqrt_")),
    *(_aten.add_.Tensor, _aten.mul_.Tensor, _aten.div_.Tensor, _aten.lerp_.Scalar, _aten.fill_.Scalar),
}
_WRITES_ALL = {
    getattr(packet, overload)
    for name in ("add", "mul", "div", "addcmul", "addcdiv", "lerp", "sqrt", "neg", "maximum", "sub")
    for packet in [getattr(_aten, f"_foreach_{name}_")]
    for overload in packet.overloads()
}


class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """While it is entered, what this thread does is written down; enter it inside of a ``FakeTensorMode``, if any.

    ``as_on_cuda``: optimizers that leave the choice to torch work on all parameters at once, dropout keeps a byte for
    each number, and what ``on_cuda`` says.
    """

    def __init__(self, *, as_on_cuda: bool = False, hidden: Hidden | None = None, count: Count | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self._as_on_cuda, self._hidden = as_on_cuda, hidden
        #: Of the last step.
        self._count = count
        self._differences = ExitStack()
        self._blocks: list[Block] = []
        #: Births of what was there before, and then all that happened.
        self._earlier: list[int] = []
        self._events: list[int] = []
        #: Storages that are alive: what tells of their death, their block, and their bytes here, by address.
        self._living: dict[int, tuple[weakref.ref[Any], int, int]] = {}
        #: Living blocks that were born since the phase changed.
        self._passing: set[int] = set()
        self._step = 0
        self._starts: list[int] = []
        self._flops: Counter[tuple[int, Kind]] = Counter()
        self._last: Phase = "setup"
        self._optimizing = False
        self._names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._parameters: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._inside: list[nn.Module] = []
        #: Blocks of a sum in backward and of its first part, and the sum's address, see ``_died``.
        self._sum: tuple[int, int, int] | None = None
        self._handles: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled while this is entered, and the guard against it would cost time in every operator."""
        return False

    def timeline(self) -> Timeline:
        return Timeline(self._blocks, self._earlier + self._events)

    def starts(self) -> list[int]:
        """Where in the timeline each step begins."""
        return [len(self._earlier) + start for start in self._starts]

    def flops(self, step: int) -> dict[Kind, int]:
        """Floating-point operations of a step, by torch's formulas; it has none for a CPU's fused attention."""
        return {kind: self._flops[step, kind] for kind in KINDS}

    def watch(self, module: nn.Module) -> None:
        """Name the parts of a network; one that is not watched is named when it is first called from outside of all."""
        known = set(self._names.values())
        root = type(module).__name__
        root = next(name for name in (root, *(f"{root}{n}" for n in range(2, 1000))) if name not in known)
        for path, part in module.named_modules():
            self._names.setdefault(part, f"{root}.{path}" if path else root)
        self._parameters.add(module)
        self._claim(module.parameters(), "parameter")
        self._claim(module.buffers(), "buffer")

    def next_step(self) -> None:
        """What comes now belongs to the next step."""
        self._inside.clear()
        self._claim_gradients()
        self._step += 1
        self._starts.append(len(self._events))
        self._last = "forward"
        if self._count is not None:
            self._count.restart()

    def __enter__(self) -> Tracker:
        self._handles = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
            register_optimizer_step_pre_hook(self._before_optimizer),
            register_optimizer_step_post_hook(self._after_optimizer),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]  # of torch
        if self._as_on_cuda:
            self._differences.enter_context(on_cuda())
        return self

    def __exit__(self, *error: Any) -> None:
        self._differences.close()
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # of torch
        for handle in self._handles:
            handle.remove()
        self._claim_gradients()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _DEVICE:  # half of all calls: autograd asks imitated tensors where they are
            return args[0].fake_device if isinstance(args[0], FakeTensor) else func(*args)
        phase = self._phase()
        if phase != self._last:
            self._turn(phase)
        if func is not _aten.lift_fresh.default:  # its argument is what torch.tensor has made just now
            for tensor in tensors_in(args):
                self._index(tensor, earlier=True)
        if func is _aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            answer = own_question()
            if answer is not None:
                return answer
        if func is _aten.bernoulli_.float and self._as_on_cuda:
            self._is_mask(args[0])
        if func in _WRITES and isinstance(args[0], FakeTensor):
            out: Any = args[0]
        elif func in _WRITES_ALL and isinstance(args[0][0], FakeTensor):
            out = None
        else:
            out = self._run(func, args, kwargs or {}, phase)
        if self._count is not None and self._step:
            self._count.add(func, args, kwargs or {}, out, phase)
        return out

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], phase: Phase) -> Any:
        out = func(*args, **kwargs)
        if func is _RECURRENT and isinstance(out[0], FakeTensor):
            # Its meta function leaves out what is kept for backward.
            out = (*out[:3], torch.empty(onednn.kept_by_recurrent(out[0]), dtype=torch.uint8))
        for tensor in tensors_in(out):
            self._follow(tensor, func, args, phase)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            kind: Kind = "convolution" if func._overloadpacket in _CONVOLUTIONS else "product"
            self._flops[self._step, kind] += int(formula(*args, **kwargs, out_val=out))
        if self._hidden is not None:
            size = self._hidden(func, args, out)
            if size:
                self._events += [self._born(size, str(func), phase, "workspace"), ~(len(self._blocks) - 1)]
        return out

    # storages

    def _phase(self) -> Phase:
        if torch._C._current_graph_task_id() != -1:
            # Backward computes without gradients, unless it runs a forward again.
            return "recompute" if torch.is_grad_enabled() else "backward"
        if self._optimizing and not self._inside:  # a closure calls the network within the optimizer's step
            return "optimizer"
        return "forward" if self._step else "setup"

    def _turn(self, phase: Phase) -> None:
        """What has lived up to here was not in passing."""
        if phase in ("backward", "recompute") and self._last in ("forward", "recompute"):
            for index in self._passing:
                if self._blocks[index].category == "temporary":
                    self._blocks[index].category = "activation"
        self._passing.clear()
        self._last = phase

    def _index(self, tensor: Tensor, *, earlier: bool = False) -> int | None:
        """The number of a tensor's block; it is begun, as of before all, where ``earlier`` and nobody knew it."""
        storage = tensor.untyped_storage()
        known = self._living.get(storage._cdata)
        if known is not None:
            return known[1]
        if not earlier or not storage.nbytes():
            return None
        index = self._born(storage.nbytes(), "", "setup", "temporary")
        self._earlier.append(index)
        self._remember(storage, index)
        return index

    def _follow(self, tensor: Tensor, func: Any, args: tuple[Any, ...], phase: Phase) -> None:
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        known = self._living.get(storage._cdata)
        if known is not None:
            if known[2] == size:
                return
            self._died(storage._cdata, known[0])  # it was resized
        if not size:
            return
        category: Category = "temporary"
        first = args[0] if args and isinstance(args[0], Tensor) else None
        source = None if first is None else self._index(first)
        if func is _aten._to_copy.default and source is not None and self._blocks[source].category == "parameter":
            category = "cast"
        index = self._born(size, str(func), phase, category)
        self._events.append(index)
        self._passing.add(index)
        self._remember(storage, index)
        if phase == "backward" and func is _aten.add.Tensor and source is not None and _fills(first, size):
            self._sum = index, source, storage._cdata

    def _born(self, size: int, operator: str, phase: Phase, category: Category) -> int:
        module = self._names.get(self._inside[-1], "") if self._inside else ""
        self._blocks.append(Block(size, operator, module, phase, self._step, category))
        return len(self._blocks) - 1

    def _remember(self, storage: Any, index: int) -> None:
        died = partial(self._died, storage._cdata)
        self._living[storage._cdata] = weakref.ref(storage, died), index, storage.nbytes()

    def _died(self, address: int, reference: Any) -> None:
        known = self._living.get(address)
        if known is None or known[0] is not reference:
            return  # another storage lives at this address by now
        del self._living[address]
        index = known[1]
        self._passing.discard(index)
        last = self._events[-1] if self._events else -1
        if self._sum is not None and self._sum[:2] == (last, index) and last == len(self._blocks) - 1:
            # Autograd adds up gradients in the place of the first, if nobody else has it. Not so while a tracker looks
            # on: there the sum is a new storage, and the first dies at once.
            self._events.pop()
            self._blocks.pop()
            self._passing.discard(last)
            other = self._sum[2]
            its_reference, _, its_size = self._living[other]
            self._living[other] = its_reference, index, its_size
            self._sum = None
            return
        self._events.append(~index)

    def _is_mask(self, tensor: Tensor) -> None:
        """Dropout's, of numbers on a CPU and of bytes on CUDA."""
        index = self._index(tensor)
        if index is not None:
            self._blocks[index].size = tensor.numel()

    # what they are for

    def _claim(self, tensors: Iterable[Any], category: Category) -> None:
        for tensor in tensors:
            index = self._index(tensor, earlier=True) if isinstance(tensor, Tensor) else None
            if index is not None and self._blocks[index].category in ("temporary", "input", "activation", "kept"):
                self._blocks[index].category = category

    def _claim_gradients(self) -> None:
        for module in list(self._parameters):
            self._claim((parameter.grad for parameter in module.parameters()), "gradient")

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        if not self._inside:
            if module not in self._names:
                self.watch(module)
            for tensor in tensors_in(args):
                index = None if tensor.requires_grad else self._index(tensor, earlier=True)
                if index is not None and not self._blocks[index].module:
                    self._claim([tensor], "input")
        self._inside.append(module)

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        while self._inside and self._inside.pop() is not module:
            pass

    def _before_optimizer(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            self._claim(group["params"], "parameter")
            self._claim((parameter.grad for parameter in group["params"]), "gradient")
            if self._as_on_cuda and group.get("foreach", True) is None and not group.get("fused"):
                group["foreach"] = not group.get("differentiable")
        self._optimizing = True

    def _after_optimizer(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._optimizing = False
        for group in optimizer.param_groups:
            on_device = group.get("capturable") or group.get("fused")
            for parameter in group["params"]:
                for name, value in optimizer.state.get(parameter, {}).items():
                    # The number of the step is kept by the CPU, unless a kernel on the device reads it.
                    self._claim(tensors_in(value), "host" if name == "step" and not on_device else "optimizer")


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Those in tuples, lists and mappings, too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each)


def _fills(tensor: Tensor | None, size: int) -> bool:
    """Whether the tensor takes all of its storage, and that is as large as ``size``."""
    return (
        tensor is not None
        and tensor.numel() * tensor.element_size() == size
        and tensor.untyped_storage().nbytes() == size
    )


def own_question() -> int | None:
    """What torch's own code is answered; None: it is somebody else who asks."""
    frame = sys._getframe(1)
    for _ in range(8):
        if frame.f_back is None:
            break
        frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
        for package, answer in _ANSWERS.items():
            if module.startswith(package):
                return answer
    return None
