"""Sees when ``torch.compile`` compiles: when, for how long, what, and why again.

    torch._dynamo imported ─> callback_handler: start ─────────────── end ─> line "compile", number n
                                                └ what is compiled ┘    └─> what and why are known only when dynamo has
                                                                            put its account away: the same line again
Nothing here imports ``torch._dynamo``: it waits until the script has. The callbacks are dynamo's own, but are put
around the handler's two methods, because ``torch._dynamo.reset()`` forgets what was registered.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from types import ModuleType
from typing import Any

from hotlap.probe import after_import
from hotlap.probe.steps import Steps
from hotlap.probe.timeline import EVALUATION, VALIDATION

#: Characters of a reason. Dynamo's can hold whole guards.
LONGEST_REASON = 300
_REMEMBERED = 256
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_DYNAMO = os.path.join("torch", "_dynamo", "")
_MODULE = os.path.join("torch", "nn", "modules", "module.py")


def watch_compiling(steps: Steps) -> None:
    compilations = Compilations(steps)
    steps.before_facts.append(compilations.conclude)
    after_import("torch._dynamo", compilations.hook)


class Compilations:
    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.depth = 0
        self.count = 0
        self.began = 0.0
        self.thread = 0
        #: The module whose call needs the compilation, "" where it is none.
        self.module = ""
        #: The line of the last compilation, and dynamo's number for it ("" where it gives none).
        self.last: dict[str, Any] | None = None
        self.last_id = ""
        self.last_module = ""
        #: What has been compiled, by dynamo's number, for its backward: there the module is no longer called.
        self.names: dict[str, str] = {}
        #: Dynamo's accounts that were there when it began; it keeps the newest 64.
        self.known: set[int] = set()

    def hook(self, dynamo: ModuleType) -> None:
        handler = getattr(dynamo, "callback_handler", None)
        begin, end = getattr(handler, "run_start_callbacks", None), getattr(handler, "run_end_callbacks", None)
        if handler is None or begin is None or end is None:
            return

        # Newer versions of torch say what was the trigger, older ones call without arguments.
        def run_start_callbacks(*args: Any) -> None:
            with suppress(Exception):
                self.begins()
            begin(*args)

        def run_end_callbacks(*args: Any) -> None:
            try:
                end(*args)
            finally:
                with suppress(Exception):
                    self.ends(*args)

        handler.run_start_callbacks = run_start_callbacks
        handler.run_end_callbacks = run_end_callbacks

    def begins(self) -> None:
        self.depth += 1
        if self.depth == 1:
            self.explain()
            self.known = {id(account) for account in _accounts()}
            self.thread = threading.get_ident()
            self.module = _module_called()
            self.began = time.perf_counter()

    def ends(self, call: Any = None) -> None:
        self.depth = max(0, self.depth - 1)
        if self.depth or not self.began:
            return
        seconds = time.perf_counter() - self.began
        number = str(getattr(call, "compile_id", None) or "")
        trigger = getattr(getattr(call, "callback_trigger", None), "name", "")
        backward = trigger == "LAZY_BACKWARD"
        last = self.last
        if last is not None and number and number == self.last_id and last["backward"] == backward:
            # Dynamo analyses a function anew where its first attempt met something that it cannot compile.
            last["seconds"] = round(last["seconds"] + seconds, 9)
            self.steps.event("compile", **last)
            return
        timeline = self.steps.timeline
        here = self.thread == self.steps.thread and bool(timeline.stack)
        self.last_id = number
        self.last = {
            "n": self.count,
            "t": self.began,
            "seconds": round(seconds, 9),
            "backward": backward,
            "evaluating": here and timeline.stack[-1] in (EVALUATION, VALIDATION),
        }
        self.last_module = self.module
        if trigger == "CUDAGRAPH_RECORDING":
            self.last["what"] = "recording of a CUDA graph"
        self.count += 1
        self.steps.event("compile", **self.last)

    def explain(self) -> None:
        """Say what the last compilation was of, now that dynamo has put its account away."""
        line, number = self.last, self.last_id
        if line is None or "what" in line:
            return
        new = [account for account in _accounts() if id(account) not in self.known]
        if number:
            # The account of a backward names no function: that of its forward, perhaps long before, does.
            new = [account for account in _accounts() if str(getattr(account, "compile_id", "")) == number]
        named = [account for account in new if getattr(account, "co_name", None)]
        if not named:
            return
        account = named[-1]
        what = line["what"] = _function(account, self.last_module)
        if line["backward"]:
            line["what"] = self.names.get(number, what)
        elif number:
            if len(self.names) >= _REMEMBERED:
                self.names.clear()
            self.names[number] = what
        reason = getattr(account, "recompile_reason", None)
        if reason and not line["backward"]:
            line["reason"] = first_line(str(reason))
        self.steps.event("compile", **line)

    def conclude(self) -> None:
        """Before the facts are written: what is left to say."""
        self.explain()
        utils = sys.modules.get("torch._dynamo.utils")
        config = sys.modules.get("torch._dynamo.config")
        if utils is None or not self.count:
            return
        self.steps.facts.values.update(
            graph_breaks=sum(utils.counters["graph_break"].values()),
            # Called cache_size_limit before torch 2.6.
            recompile_limit=getattr(config, "recompile_limit", getattr(config, "cache_size_limit", None)),
        )


def _accounts() -> list[Any]:
    utils = sys.modules.get("torch._dynamo.utils")
    get = getattr(utils, "get_compilation_metrics", None)
    return list(get()) if get is not None else []


def _module_called() -> str:
    """The innermost call of a module above here. Only frames of torch and hotlap are looked into."""
    frame = sys._getframe(1)
    while frame is not None:
        if _wraps(frame.f_code.co_filename):
            for name in ("self", "module"):
                module = frame.f_locals.get(name)
                if hasattr(type(module), "named_parameters"):
                    return _forward(getattr(module, "_orig_mod", module))
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost
    return ""


def _forward(module: Any) -> str:
    kind = type(module)
    code = getattr(kind.forward, "__code__", None)
    place = f" ({os.path.basename(code.co_filename)}:{code.co_firstlineno})" if code is not None else ""
    return f"{kind.__name__}.forward{place}"


def _wraps(file: str) -> bool:
    """Whether its functions stand around the module that is meant."""
    return file.startswith(_HERE) or _DYNAMO in file or file.endswith(_MODULE)


def _function(account: Any, module: str) -> str:
    file, line = getattr(account, "co_filename", None), getattr(account, "co_firstlineno", None)
    if module and file and _wraps(os.path.abspath(file)):
        return module
    return f"{account.co_name} ({os.path.basename(file)}:{line})" if file else str(account.co_name)


def first_line(reason: str) -> str:
    lines = reason.strip().splitlines()
    return lines[0].strip()[:LONGEST_REASON] if lines else ""
