"""Finds the lines where Python reads a tensor, which on a GPU makes the host wait for the device.

    script                      for one watched step                       record
    loss.item()      ───>  a wrapper in torch.Tensor  ───>  train.py:41, in train: item(), 1 a step, 3.1 ms a step

A wrapper stands in for each of torch's own for that step and is equal to it: a table of overrides that was made
before finds the same entry. What one read does inside itself (``print`` reads digits with ``item``) counts once.
Functions of the module ``torch`` are left alone: compiled and scripted code knows them by identity.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, MethodType
from typing import Any

#: Methods of a tensor that read it in Python, as a script writes them.
_READS = {
    "item": "item()",
    "cpu": "cpu()",
    "tolist": "tolist()",
    "numpy": "numpy()",
    "nonzero": "nonzero()",
    "argwhere": "argwhere()",
    "unique": "unique()",
    "masked_select": "masked_select()",
    "equal": "equal()",
    "allclose": "allclose()",
    "is_nonzero": "is_nonzero()",
    "__bool__": "bool()",
    "__float__": "float()",
    "__int__": "int()",
    "__index__": "as an index",
    "__format__": "format()",
    "__repr__": "str()",
    "__array__": "numpy()",
    "__contains__": "in",
}
#: Reads of a tensor that is on the host already, where ``cpu`` has just brought it.
_AFTERWARDS = ("numpy()", "tolist()", "item()", "float()")
#: Looks at most: what every step reads is known by then.
_LOOKS = 12
#: Lines that are kept, and that are written.
_KEPT, _WRITTEN = 256, 12

_PROBE = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: Standard libraries and others that format what a script hands them.
_THROUGH = (os.sep + "logging" + os.sep, os.sep + "tqdm" + os.sep)

_ident = threading.get_ident
_clock = time.perf_counter


class _Stand:
    """Stands in for one function of torch. Equal to it, so that whoever looks it up finds what was meant."""

    __slots__ = ("counts", "look", "original", "what")

    def __init__(self, look: Syncs, original: Any, what: str, counts: Callable[..., bool]) -> None:
        self.look = look
        self.original = original
        self.what = what
        self.counts = counts

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        look = self.look
        if look.compiling() or look.inside or look.thread != _ident() or not self.counts(args, kwargs):
            return self.original(*args, **kwargs)
        line = look.locate(sys._getframe(1), self.what, args)
        if line is None:
            return self.original(*args, **kwargs)
        look.inside = True
        start = _clock()
        try:
            return self.original(*args, **kwargs)
        finally:
            seconds = _clock() - start
            look.inside = False
            look.add(line, seconds)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def __eq__(self, other: object) -> bool:
        return other is self or bool(self.original == other)

    def __hash__(self) -> int:
        return hash(self.original)


#: File, line, function, what was called.
_Line = tuple[str, int, str, str]


class Syncs:
    """A look. ``begin`` and ``end`` are called in the training thread."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.compiling: Callable[[], bool] = torch.compiler.is_dynamo_compiling
        self.steps = 0
        self.thread: int | None = None
        self.inside = False
        self.on_host = False
        #: Calls, seconds and the watched steps in which it was seen (the last one's number and how many), by line.
        self.found: dict[_Line, list[float]] = {}
        self.stands: list[tuple[Any, str, _Stand, bool]] = []
        self.folders: dict[str, str] = {}
        self.torch_folder = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
        #: What ``cpu`` returned last, by id, and in which file and function.
        self.fetched: tuple[int, str, str] | None = None

    def begin(self) -> None:
        if self.steps >= _LOOKS:
            return
        torch = self.torch
        tensor = torch.Tensor
        self.on_host = not torch.cuda.is_initialized()
        for name, what in _READS.items():
            self._stand(tensor, name, what, self._reads)
        self._stand(tensor, "__getitem__", "x[mask]", self._picks)
        self._stand(tensor, "__setitem__", "x[mask] = y", self._puts)
        if not self.on_host:
            # On a CPU ``to(device)`` says nothing: a script calls it for its input as well.
            self._stand(tensor, "to", "to()", self._moves)
            self._stand(torch.cuda, "synchronize", "synchronize()", _always)
            self._stand(torch.cuda.Stream, "synchronize", "synchronize()", _always)
            self._stand(torch.cuda.Event, "synchronize", "synchronize()", _always)
        self.steps += 1
        self.inside = False
        self.thread = _ident()

    def _stand(self, place: Any, name: str, what: str, counts: Callable[..., bool]) -> None:
        original = getattr(place, name, None)
        if original is None:
            return
        stand = _Stand(self, original, what, counts)
        own = name in vars(place)
        setattr(place, name, stand)
        self.stands.append((place, name, stand, own))

    def end(self) -> None:
        self.undo()

    def undo(self) -> None:
        # A stand that the script took hold of meanwhile does nothing from now on.
        self.thread = None
        self.fetched = None
        stands, self.stands = self.stands, []
        for place, name, stand, own in stands:
            if vars(place).get(name) is not stand:
                continue  # the script has replaced it in this very step
            if own:
                setattr(place, name, stand.original)
            else:
                delattr(place, name)

    # what counts

    def _reads(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """A read of a plain tensor of the device; of any tensor where there is no other device than the host."""
        return bool(args) and self._plain(args[0]) and (self.on_host or not args[0].is_cpu)

    def _plain(self, value: Any) -> bool:
        # A subclass may mean anything by it.
        return type(value) is self.torch.Tensor or type(value) is self.torch.nn.Parameter

    def _moves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if not self._reads(args, kwargs) or kwargs.get("non_blocking"):
            return False
        target = kwargs.get("device", args[1] if len(args) > 1 else None)
        if isinstance(target, self.torch.Tensor):
            return bool(target.is_cpu)
        return str(target).partition(":")[0] == "cpu"

    def _picks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return len(args) == 2 and self._masks(args[1]) and self._reads(args, kwargs)

    def _puts(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        # A single value is filled in without looking where the mask is true.
        if len(args) != 3 or not self._masks(args[1]) or not self._reads(args, kwargs):
            return False
        return self._plain(args[2]) and args[2].numel() > 1

    def _masks(self, index: Any) -> bool:
        every = index if type(index) is tuple else (index,)
        return any(self._plain(each) and each.dtype is self.torch.bool for each in every)

    # where it is

    def locate(self, frame: FrameType | None, what: str, args: tuple[Any, ...]) -> _Line | None:
        """The first line outside torch and the probe; None for what is not the training's, or waits for nothing."""
        assert frame is not None
        immediate = self._folder(frame.f_code.co_filename)
        # The script's own call may come through one function of the probe (``print``, ``hotlap.metric``). What the
        # probe reads for itself is read further inside.
        if immediate == "probe" and frame.f_back and self._folder(frame.f_back.f_code.co_filename) == "probe":
            return None
        # Torch's own reads, of an optimizer's counters say, are of tensors that stay on the host with a GPU too.
        if immediate == "torch" and self.on_host:
            return None
        line: _Line | None = None
        caller: FrameType | None = frame
        while caller is not None:
            code = caller.f_code
            folder = self._folder(code.co_filename)
            if folder == "data":
                return None  # a sample that is made in this process: with a GPU it is on the host as well
            if line is None and folder == "":
                line = (code.co_filename, caller.f_lineno, code.co_name, what)
            caller = caller.f_back
        if line is None:
            return None
        if self.on_host and args:
            key = (id(args[0]), line[0], line[2])
            if what in _AFTERWARDS and self.fetched == key:
                return None
            if what == "cpu()":
                self.fetched = key
        return line

    def _folder(self, file: str) -> str:
        """Whose code it is: "probe", "data", "torch", "through", or "" for the training's."""
        found = self.folders.get(file)
        if found is None:
            if file.startswith(_PROBE):
                found = "probe"
            elif file.startswith(self.torch_folder):
                found = "data" if file.startswith(os.path.join(self.torch_folder, "utils", "data")) else "torch"
            elif "torchinductor" in file or file.startswith("<eval_with_key>"):
                found = "torch"
            else:
                found = "through" if any(part in file for part in _THROUGH) else ""
            self.folders[file] = found
        return found

    # what was found

    def add(self, line: _Line, seconds: float) -> None:
        entry = self.found.get(line)
        if entry is None:
            if len(self.found) >= _KEPT:
                return
            entry = self.found[line] = [0, 0.0, -1, 0]
        entry[0] += 1
        entry[1] += seconds
        if entry[2] != self.steps:
            entry[2] = self.steps
            entry[3] += 1

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        if not self.steps:
            return []
        ranked = sorted(self.found.items(), key=lambda item: (-item[1][1], item[0]))
        return [
            (
                "sync",
                {
                    "watched": self.steps,
                    "lines": [
                        {
                            "file": file,
                            "line": line,
                            "function": function,
                            "what": what,
                            "count": count / self.steps,
                            "seconds": seconds / self.steps,
                            "seen": seen,
                        }
                        for (file, line, function, what), (count, seconds, _, seen) in ranked[:_WRITTEN]
                    ],
                },
            )
        ]


def _always(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return True
