"""What makes two results not comparable, by the environments in which they were measured."""

from __future__ import annotations

from hotlap.records.run import Environment

#: Name of a field, and what it is called. All of them must be equal, where both are known.
_EQUAL = (
    ("cpu", "processor"),
    ("cores", "number of usable cores"),
    ("physical_cores", "number of physical cores"),
    ("machine_cores", "number of the machine's cores"),
    ("affinity", "set of cores"),
    ("cpu_quota", "limit of processor time (cores)"),
    ("memory", "usable memory (bytes)"),
    ("memory_limit", "limit of memory (bytes)"),
    ("gpus", "GPU"),
    ("driver", "GPU driver"),
    ("platform", "platform"),
    ("kernel", "kernel"),
    ("virtual", "virtual machine"),
    ("governor", "governor of the cores' clocks"),
    ("boost", "boost of the cores' clocks"),
    ("huge_pages", "setting of transparent huge pages"),
    ("python", "version of Python"),
    ("torch", "version of torch"),
    ("cuda", "CUDA that torch was built for"),
    ("hotlap", "version of hotlap"),
)
#: Where something waited for a core for a larger share of a minute, or more processes per core were ready.
_BUSY_PRESSURE = 0.1
_BUSY_LOAD = 0.5


def differences(a: Environment, b: Environment) -> list[str]:
    """Say, a sentence each, why figures of ``b`` may not be held against those of ``a``; nothing where they may.

    What one of the two does not know, as records of an older version, is not held against the other.
    """
    told = []
    for field, name in _EQUAL:
        old, new = getattr(a, field), getattr(b, field)
        if old not in (None, "", []) and new not in (None, "", []) and old != new:
            told.append(f"the {name} was {_shown(old)}, and is {_shown(new)}")
    # Records that do not know the kernel are older than the variables too.
    if a.kernel and b.kernel:
        for variable in sorted({*a.variables, *b.variables}):
            old, new = a.variables.get(variable), b.variables.get(variable)
            if old != new:
                told.append(f"{variable} was {_variable(old)}, and is {_variable(new)}")
    if _busy(a) is not None and _busy(b) is not None and _busy(a) != _busy(b):
        other, then = (a, "at the first") if _busy(a) else (b, "at the second")
        told.append(f"the machine was busy with something else {then}, and not at the other: {_load(other)}")
    return told


def busy(each: Environment) -> str | None:
    """Say with what figures the machine was busy with something else when a run began; None where it was not."""
    return _load(each) if _busy(each) else None


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _variable(value: str | None) -> str:
    return "not set" if value is None else f"{value!r}"


def _busy(each: Environment) -> bool | None:
    if each.pressure is not None:
        return each.pressure >= _BUSY_PRESSURE
    return None if each.load is None else each.load >= _BUSY_LOAD * each.cores


def _load(each: Environment) -> str:
    waited = [] if each.pressure is None else [f"something waited for a core in {100 * each.pressure:.0f}% of a minute"]
    return ", ".join([*([] if each.load is None else [f"load {each.load:.1f} on {each.cores} cores"]), *waited])
