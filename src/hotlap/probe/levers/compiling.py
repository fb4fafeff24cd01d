"""torch.compile of outermost modules, or of the blocks that they repeat, in place.

    "default", "max-autotune", ...   a mode of torch.compile, for the whole model
    "default dynamic"                for shapes that change
    "default blocks"                 each repeated block by itself: those that are alike are compiled once

What cannot be compiled runs as it is, frame by frame, and nothing is computed twice for it.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from typing import Any

from hotlap.probe.compiled import is_compiled
from hotlap.probe.levers.prepared import ModelLever
from hotlap.probe.repeated import repeated_blocks

Call = Callable[..., Any]

#: Modes that record CUDA graphs: what such a graph returned is overwritten when it runs again.
_GRAPHS = ("reduce-overhead", "max-autotune")
_NAME = "_hotlap_compiled"
#: How dynamo's accounts call what goes wrong in the compiler; a model that it cannot follow is none of these.
_FAILED = ("InductorError", "BackendCompilerFailed", "InternalTorchDynamoError")


class _Made(dict[str, list[tuple[Any, Call]]]):
    """What was compiled of a module for each value: switched on again, nothing is compiled a second time.

    It is the module's own, so that both are gone together; a copy of the module, or a pickled one, has none of it.
    """

    def __reduce__(self) -> Any:
        return dict, ()


def _made(module: Any) -> _Made:
    made = module.__dict__.get(_NAME)
    if not isinstance(made, _Made):
        made = module.__dict__[_NAME] = _Made()
    return made


class Compile(ModelLever):
    name = "compile"
    never = "no model was trained that the script does not compile itself"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: Modules are told apart by their code, so that what is alike shares what was compiled, and nothing else does.
        self.codes: dict[Any, types.CodeType] = {}
        self.numbers = itertools.count()
        #: What the script had told dynamo to do with errors, while we tell it otherwise.
        self.suppressed: bool | None = None
        #: How many frames dynamo had seen when it was last asked how it went.
        self.frames = 0
        #: The accounts that it had then, of the script's own compilations.
        self.known: set[int] = set()
        #: No model has been called since the last optimizer step.
        self.step_begins = True

    def prepare(self, module: Any) -> None:
        made = _made(module)
        if self.value not in made:
            if any(is_compiled(child) for child in module.modules()):
                self.note("compile was not applied: the script compiles its model itself")
                return
            try:
                made[self.value] = self._compile(module)
            except Exception as error:  # of a Python or a system that torch does not compile on
                made[self.value] = []
                self.note(f"compile was not applied: {error}")
        for part, call in made[self.value]:
            part._compiled_call_impl = call
        if made[self.value]:
            self._suppress(True)
            self.pulled()

    def _compile(self, module: Any) -> list[tuple[Any, Call]]:
        mode, *options = self.value.split()
        if "blocks" not in options:
            # Its address may be that of another one before it.
            alike: dict[Any, list[Any]] = {next(self.numbers): [module]}
        else:
            alike = {**repeated_blocks(self.torch, module)}
            if not alike:
                self.note("compile was not applied: the model repeats no block")
        dynamic = True if "dynamic" in options else None
        compile_ = self.torch.compile
        return [
            (part, compile_(self._call(key, part), mode=None if mode == "default" else mode, dynamic=dynamic))
            for key, parts in alike.items()
            for part in parts
        ]

    def _call(self, key: Any, module: Any) -> Call:
        """What dynamo follows from its first frame on; it passes over frames of torch itself."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            return module._call_impl(*args, **kwargs)

        name = type(module).__name__
        forward.__code__ = self.codes.setdefault((key, self.value), forward.__code__.replace(co_name=name))
        return forward

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        args = super().before_forward(module, args, kwargs, training)
        if self.step_begins and self.value is not None and self.value.split()[0] in _GRAPHS:
            self.step_begins = False
            # What the last step's graphs returned may be overwritten from here on.
            self.torch.compiler.cudagraph_mark_step_begin()
        return args

    def before_optimizer(self, optimizer: Any) -> None:
        self.step_begins = True

    def after_forward(self) -> None:
        if self.suppressed is None:
            return
        utils = self.torch._dynamo.utils
        frames = utils.counters["frames"]["total"]
        if frames == self.frames:
            return
        self.frames = frames
        accounts = [account for account in utils.get_compilation_metrics() if id(account) not in self.known]
        failed = next((account for account in accounts if account.fail_type in _FAILED), None)
        if failed is not None:
            lines = str(failed.fail_reason).strip().splitlines()
            self._leave()
            for module in self.prepared:
                _made(module)[self.value] = []
            self.note(f"compile was not applied: {lines[0] if lines else failed.fail_type}")

    def undo(self, module: Any) -> None:
        for parts in _made(module).values():
            for part, _ in parts:
                part._compiled_call_impl = None

    def switch(self, value: Any) -> None:
        super().switch(value)
        self._suppress(False)

    def _leave(self) -> None:
        for module in list(self.prepared):
            self.undo(module)
        self._suppress(False)

    def _suppress(self, on: bool) -> None:
        """Where compiling fails the frame runs as it is, as if it had not been tried."""
        if on == (self.suppressed is not None):
            return
        dynamo = self.torch._dynamo
        if on:
            self.suppressed, dynamo.config.suppress_errors = dynamo.config.suppress_errors, True
            self.known = {id(account) for account in dynamo.utils.get_compilation_metrics()}
        else:
            dynamo.config.suppress_errors, self.suppressed = self.suppressed, None
