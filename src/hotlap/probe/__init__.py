"""The part of hotlap that lives in the training process of somebody else's script.

It imports the standard library, ``hotlap.allocator`` and ``hotlap.shallow``, and torch only once the script has
imported it. It never changes what the training computes, except for the levers that it is told to pull.

    sitecustomize ──> start(settings) ──> waits until torch has been imported
                                          └─> hooks.install: spans for a Recorder, lines into steps.jsonl
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

#: The probe of this process, once a script has imported torch.
active: Any = None
#: What this process was told, from outside or by the script itself, and torch once the levers are installed in it.
told: Settings | None = None
installed: ModuleType | None = None
#: For the record, of what happened before there is one.
notes: list[str] = []


class Settings:
    """What ``probe.json`` asks for; see ``hotlap.launch.process`` which writes it."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.run_dir: str = raw["run_dir"]
        #: Step boundaries wait for the controller's word.
        self.gated: bool = raw.get("gated", False)
        #: End the process after so many steps, or so many seconds of steps.
        self.stop_steps: int | None = raw.get("stop_steps")
        self.stop_seconds: float | None = raw.get("stop_seconds")
        self.levers: dict[str, Any] = raw.get("levers", {})
        #: Redirect what the script writes into this directory; None leaves the script's files alone.
        self.contain: str | None = raw.get("contain")
        #: What to take away to see what it costs; see ``ablations``.
        self.without: str | None = raw.get("without")
        self.seed_offset: int = raw.get("seed_offset", 0)
        #: Look at single steps from close by.
        self.looks: bool = raw.get("looks", False)
        #: Trace a few steps with torch.profiler, and count the operations of one.
        self.trace: bool = raw.get("trace", False)
        #: Count what the datasets hold when their loaders start.
        self.memory: bool = raw.get("memory", False)
        #: Apply the levers and measure nothing.
        self.silent: bool = raw.get("silent", False)
        #: A metric that is read from what the training prints; see ``printed``.
        self.metric: str | None = raw.get("metric")
        #: Texts that run in the place of the script's files; see ``replaced``.
        self.copies: dict[str, str] = raw.get("copies", {})
        #: Go through the script with imitated tensors; see ``hotlap.estimate.script``.
        self.imitated: dict[str, Any] | None = raw.get("imitated")


def start(settings_path: str) -> None:
    global told
    with open(settings_path) as file:
        settings = told = Settings(json.load(file))
    started = time.perf_counter()
    if settings.copies:
        from hotlap.probe import replaced

        replaced.install(settings.copies)
    if settings.contain:
        from hotlap.probe import contain

        contain.install(settings.contain, settings.run_dir)
    if settings.imitated is not None:
        after_import("torch", lambda module: _imitate(settings))
        return
    if settings.seed_offset:
        _shift_seeds_of_random(settings.seed_offset)
    after_import("torch", lambda module: install(module, settings, started))
    if not settings.silent:
        from hotlap.probe import frameworks

        frameworks.install()
        _finish_before_exit()
    if settings.seed_offset:
        after_import("numpy", lambda module: _shift_seeds_of_numpy(module, settings.seed_offset))


def install(torch: ModuleType, settings: Settings, started: float) -> None:
    from hotlap.probe import hooks

    global active, installed
    active, installed = hooks.install(torch, settings, started), torch


def _imitate(settings: Settings) -> None:
    from hotlap.estimate import script

    assert settings.imitated is not None
    script.install(settings.imitated, settings.run_dir)


def _finish_before_exit() -> None:
    """Write the record out when the script ends by ``os._exit``, which runs nothing that was registered."""
    leave = os._exit

    def _exit(status: int) -> NoReturn:
        try:
            if active is not None:
                active.finish()
        finally:
            leave(status)

    os._exit = _exit


def after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Run ``action(module)`` when the module has been imported, now if it already is."""
    if name in sys.modules:
        action(sys.modules[name])
        return
    sys.meta_path.insert(0, _AfterImport(name, action))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Lets the other finders find the module, and runs an action once it has been executed."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.action = action

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec: importlib.machinery.ModuleSpec | None = None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(fullname, path, target) if find else None
            if spec is not None:
                break
        if spec is None or spec.loader is None:
            # Not there (yet): the script may try again after changing its path.
            sys.meta_path.insert(0, self)
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            try:
                self.action(module)
            except Exception as error:
                print(f"hotlap: the probe could not start: {error!r}", file=sys.stderr)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _shift_seeds_of_random(offset: int) -> None:
    import random

    original = random.seed

    def seed(a: Any = None, version: int = 2) -> None:
        original(a + offset if isinstance(a, int) else a, version)

    random.seed = seed


def _shift_seeds_of_numpy(numpy: Any, offset: int) -> None:
    for name in ("seed", "default_rng"):
        original = getattr(numpy.random, name)

        def seeded(seed: Any = None, *, original: Callable[..., Any] = original) -> Any:
            return original(seed + offset if isinstance(seed, int) else seed)

        setattr(numpy.random, name, seeded)
