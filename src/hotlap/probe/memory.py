"""What the memory of a step is made of: a look at one step (see ``looking``).

    before   forward ──> │ backward ──> │ optimizer ──>
             inputs      │ activations  │ gradients      storages, each counted once, under the first that claims it:
                         │ as saved     │ as they are    parameters, buffers, gradients, optimizer state, inputs,
                         │ for backward │                activations

The rest of the peak (libraries, caches, workspace) is worked out by whoever reads the record.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from hotlap.probe import graphs

#: Of the counters of torch's allocator, those that are kept.
_COUNTERS = {
    "reserved": "reserved_bytes.all.current",
    "inactive_split": "inactive_split_bytes.all.current",
    "retries": "num_alloc_retries",
}

_ident = threading.get_ident


class MemoryLook:
    def __init__(self, torch: Any, recorder: Any) -> None:
        self.torch = torch
        self.recorder = recorder
        self.account: dict[str, Any] | None = None
        self.readable = graphs.can_be_read(torch)
        #: Tensors with a graph and nodes that were alive before and after the first step that was watched: step, and
        #: both.
        self.counts: list[tuple[int, int, int]] = []
        self.first = True
        self.patched: list[tuple[Any, str, Any, Any]] = []
        self.watching = False
        self._forget()

    def _forget(self) -> None:
        #: Bytes in use when something was over.
        self.moments: dict[str, int] = {}
        self.inputs: dict[int, int] = {}
        self.called = False
        self.activations: int | None = None
        self.gradients = 0

    def begin(self) -> None:
        self._forget()
        self.step = self.recorder.steps
        self.thread = _ident()
        self.device = self.recorder.facts.values.get("device", "cpu")
        self.recorder.resident.gpu = next((p.device.index for p in self._parameters() if p.is_cuda), None)
        self.before: tuple[int, int] | None = None
        if self.first:
            # It takes a look at every object of the process, so it is done once, and again only upon suspicion.
            self.before = self.recorder.resident.alive(self.step)
        self._moment("before")
        self._input_of_first_call()
        self.watching = True
        for owner in (self.torch.Tensor, self.torch.autograd):
            self._replace(owner, "backward", self._backward)
        if not self._compiles():  # dynamo may guard on what a call of a module is
            self._replace(self.torch.nn.Module, "__call__", self._call)

    def undo(self) -> None:
        self.watching = False
        self._restore()

    def end(self) -> None:
        self.undo()
        if _ident() != self.thread:
            return
        self._moment("optimizer")
        claimed: dict[int, int] = {}
        parameters = self._parameters()
        account: dict[str, Any] = {"step": self.step, "device": self.device}
        account["parameters"] = self._claim(claimed, parameters)
        account["buffers"] = self._claim(
            claimed, (b for module in self._modules() for b in self.torch.nn.Module.buffers(module))
        )
        account["gradients"] = max(self.gradients, self._gradients(parameters))
        account["optimizer"] = self._claim(claimed, self._optimizer_state())
        account["inputs"] = sum(self.inputs.values()) if self.called else None
        account["activations"] = self.activations
        account["moments"] = self.moments
        if self.device == "cuda":
            account.update(_counters(self.torch, self.recorder.resident.gpu))
            known = self.account or {}
            account["first_step"] = known.get("first_step", self.step)
            account["first_retries"] = known.get("first_retries", account["retries"])
        self.account = account
        if self.first:
            self.first = False
            after = self.recorder.resident.alive(self.recorder.steps)
            # The time that this took is in the next step.
            self.recorder.record.looked.add(self.recorder.steps)
            if self.before is not None and after is not None:
                self.counts = [(self.step, *self.before), (self.recorder.steps, *after)]
                if after[1] > self.before[1]:
                    self.recorder.resident.suspect(self.recorder.steps)
        self._forget()

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        if self.account is not None:
            found.append(("memory", self.account))
        found += [("graphs", dict(zip(("i", "tensors", "nodes"), each, strict=True))) for each in self.counts]
        return found

    # what happens in the step

    def _replace(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        original = owner.__dict__[name]
        replaced = make(original)
        setattr(owner, name, replaced)
        self.patched.append((owner, name, original, replaced))

    def _restore(self) -> None:
        while self.patched:
            owner, name, original, replaced = self.patched.pop()
            if owner.__dict__.get(name) is replaced:  # else somebody has wrapped it meanwhile; it only passes on then
                setattr(owner, name, original)

    def _backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        compiling = self.torch.compiler.is_dynamo_compiling
        recorder = self.recorder

        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if compiling() or not self.watching or _ident() != self.thread or recorder.in_backward:
                return original(tensors, *args, **kwargs)
            with suppress(Exception):
                self._moment("forward")
                self._saved_for(tensors)
            try:
                return original(tensors, *args, **kwargs)
            finally:
                with suppress(Exception):
                    self._moment("backward")
                    self.gradients = max(self.gradients, self._gradients(self._parameters()))

        return backward

    def _call(self, original: Callable[..., Any]) -> Callable[..., Any]:
        compiling = self.torch.compiler.is_dynamo_compiling
        recorder = self.recorder

        def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if not compiling() and self.watching and not recorder.depth and _ident() == self.thread:
                with suppress(Exception):
                    self._called_with((args, kwargs))
            return original(module, *args, **kwargs)

        return __call__

    def _input_of_first_call(self) -> None:
        """The step may begin inside the call of a module, which is over before this look could have wrapped it."""
        wrapper = self.torch.nn.Module.__call__.__code__
        frame = sys._getframe()
        while frame is not None and frame.f_code is not wrapper:
            frame = frame.f_back  # type: ignore[assignment]
        if frame is not None:
            known = frame.f_locals
            self._called_with((known.get("args"), known.get("kwargs")))

    def _called_with(self, values: Any) -> None:
        self.called = True
        # What carries a graph comes from a module that was called before.
        self._claim(self.inputs, (tensor for tensor in self._tensors(values) if not tensor.requires_grad))

    def _saved_for(self, loss: Any) -> None:
        if not self.readable:
            return
        every = graphs.nodes(tensor.grad_fn for tensor in self._tensors(loss))
        if every is None:
            return
        parameters = self._parameters()
        parameters += [node.variable for node in every if hasattr(node, "variable")]
        claimed = dict(self.inputs)
        self._claim(claimed, parameters)
        self._claim(claimed, (buffer for module in self._modules() for buffer in self.torch.nn.Module.buffers(module)))
        names: dict[type, list[str]] = {}
        kept = self._claim(claimed, (tensor for node in every for tensor in graphs.saved(node, names)))
        self.activations = max(self.activations or 0, kept)

    def _moment(self, name: str) -> None:
        if self.device == "cuda":
            used: int | None = self.torch.cuda.memory_allocated(self.recorder.resident.gpu)
        else:
            found = self.recorder.resident.now()
            used = None if found is None else found[0]
        if used is not None:
            self.moments[name] = max(used, self.moments.get(name, 0))

    # what there is

    def _compiles(self) -> bool:
        dynamo = sys.modules.get("torch._dynamo.utils")
        done = dynamo is not None and dynamo.counters["stats"]["unique_graphs"]
        return bool(done or self.recorder.facts.values.get("compiled"))

    def _modules(self) -> list[Any]:
        return list(self.recorder.facts.live_modules.values())

    def _optimizers(self) -> list[Any]:
        return list(self.recorder.facts.live_optimizers.values())

    def _parameters(self) -> list[Any]:
        found = [parameter for module in self._modules() for parameter in self.torch.nn.Module.parameters(module)]
        groups = [group for optimizer in self._optimizers() for group in optimizer.param_groups]
        found += [parameter for group in groups for parameter in group["params"]]
        return list({id(parameter): parameter for parameter in found}.values())

    def _gradients(self, parameters: Iterable[Any]) -> int:
        return self._claim({}, (p.grad for p in parameters if p.is_leaf and p.grad is not None))

    def _optimizer_state(self) -> Iterator[Any]:
        for optimizer in self._optimizers():
            for state in list(optimizer.state.values()):
                yield from self._tensors(state)

    def _tensors(self, values: Any, depth: int = 0) -> Iterator[Any]:
        if isinstance(values, self.torch.Tensor):
            yield values
        elif depth < 5:
            inside = values.values() if isinstance(values, Mapping) else values
            if isinstance(values, (Mapping, list, tuple, set)):
                for value in list(inside):
                    yield from self._tensors(value, depth + 1)

    def _claim(self, claimed: dict[int, int], tensors: Iterable[Any]) -> int:
        """Bytes of the storages of these tensors on this device that nobody has claimed yet."""
        before = sum(claimed.values())
        for tensor in tensors:
            with suppress(Exception):  # sparse, quantised or made up: it has no storage to speak of
                local = getattr(tensor, "_local_tensor", tensor)
                for part in self._made_of(local):
                    if part.device.type == self.device:
                        storage = part.untyped_storage()
                        claimed[storage._cdata] = storage.nbytes()
        return sum(claimed.values()) - before

    def _made_of(self, tensor: Any) -> Iterator[Any]:
        """One that only looks like a tensor of its size (a quantised state) is made of others, which hold the bytes."""
        if type(tensor) in (self.torch.Tensor, self.torch.nn.Parameter) or not hasattr(tensor, "__tensor_flatten__"):
            yield tensor
            return
        for name in tensor.__tensor_flatten__()[0]:
            yield from self._made_of(getattr(tensor, name))


def _counters(torch: Any, index: int | None) -> dict[str, Any]:
    stats = torch.cuda.memory_stats(index)
    found = {name: stats.get(counter) for name, counter in _COUNTERS.items()}
    found["total"] = torch.cuda.get_device_properties(
        torch.cuda.current_device() if index is None else index
    ).total_memory
    return found
