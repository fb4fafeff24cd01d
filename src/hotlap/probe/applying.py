"""``hotlap.apply(...)``: levers that a script pulls itself, as the patch that a tuning wrote makes it do.

no probe here          the levers alone, as ``hotlap run --with`` has them: nothing is measured
hotlap profile, tune   the probe is here and has the levers from now on; the record names them
hotlap run --with      a lever that was set from outside is left as it is, with a note
"""

from __future__ import annotations

import copy
import difflib
import sys
import time
from types import FunctionType, ModuleType
from typing import Any

from hotlap import probe
from hotlap.probe import levers

#: What the script has applied.
applied: dict[str, Any] = {}


def apply(**settings: Any) -> None:
    """Apply proven changes to the training of this process, e.g. ``hotlap.apply(workers=2, autocast="bfloat16")``.

    Call it before torch is imported, or at least before the training's objects are made.

    Raises:
        TypeError: there is no such change.
        RuntimeError: it was called before, with other changes.
    """
    for name in settings:
        if name not in levers.LEVERS:
            close = difflib.get_close_matches(name, levers.LEVERS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f": use one of {', '.join(levers.LEVERS)}"
            raise TypeError(f"hotlap.apply() knows no {name!r}{hint}")
    if applied and applied != settings:
        raise RuntimeError(f"hotlap.apply() was called already, with {applied}: give all changes in one call")
    if applied:
        return  # a script that is also imported under its own name
    applied.update(settings)
    told = probe.told
    if told is None:
        own = probe.told = probe.Settings({"run_dir": "", "levers": dict(settings), "silent": True})
        before = _functions_of_torch()
        probe.after_import("torch", lambda torch: probe.install(torch, own, time.perf_counter()))
        _bind_anew(before)
        return
    outside = settings.keys() & told.levers.keys()
    if outside:
        names = ", ".join(sorted(outside))
        probe.notes.append(f"hotlap.apply() in the script left {names} as set from outside")
    told.levers = {**settings, **told.levers}
    if probe.installed is None:
        return  # torch is not here yet, and comes with all of them
    before = _functions_of_torch()
    if probe.active is None:
        again = copy.copy(told)
        again.seed_offset = 0  # it was shifted already
        probe.install(probe.installed, again, time.perf_counter())
    elif len(outside) < len(settings):
        levers.install(probe.installed, told.levers, measured=told.gated)
    _bind_anew(before)


def _functions_of_torch() -> dict[tuple[str, str], FunctionType]:
    """What a script may have imported by name."""
    return {
        (name, key): value
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "torch" and isinstance(module, ModuleType)
        for key, value in list(_names(module).items())
        if type(value) is FunctionType  # what asks an object for its class may run code of its own
    }


def _bind_anew(before: dict[tuple[str, str], FunctionType]) -> None:
    """Where the script has imported functions by name that were replaced since, it gets those that replaced them."""
    after = _functions_of_torch()
    replaced = {id(old): after[key] for key, old in before.items() if after.get(key, old) is not old}
    if not replaced:
        return
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("torch", "hotlap") or not isinstance(module, ModuleType):
            continue
        names = _names(module)
        for key, value in list(names.items()):
            if id(value) in replaced and type(value) is FunctionType:
                names[key] = replaced[id(value)]


def _names(module: ModuleType) -> dict[str, Any]:
    """Without asking the module itself, which may load what it stands for."""
    names: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return names
