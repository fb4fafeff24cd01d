"""What happened in the process around and between its steps: its start, compilations, starts of loaders."""

from __future__ import annotations

import msgspec


class Startup(msgspec.Struct, frozen=True, kw_only=True):
    """Moments of the machine's monotonic clock, in seconds."""

    #: The interpreter ran and was about to begin the script.
    began: float
    #: torch had been imported.
    imported: float


class Compilation(msgspec.Struct, frozen=True, kw_only=True):
    """One compilation by ``torch.compile``, or the backward of one that was compiled when it was first needed."""

    t: float
    seconds: float
    #: The step in which it happened; None before the first step, after the last, or between two.
    step: int | None = None
    #: The function and where it is, e.g. "forward (model.py:12)"; None where torch does not say.
    what: str | None = None
    #: Why code that had been compiled was compiled again; None where it was not compiled before.
    reason: str | None = None
    backward: bool = False
    #: It happened inside a call of a model that may be validation.
    evaluating: bool = False


class LoaderStart(msgspec.Struct, frozen=True, kw_only=True):
    """One start of an iteration over a ``DataLoader``: of an epoch, or of a validation."""

    t: float
    #: Seconds inside ``DataLoader.__iter__``.
    seconds: float
    #: Seconds of the wait for the first batch; None where none was asked for.
    first_batch: float | None = None
    step: int | None = None
    loader: str = ""
    workers: int = 0
    #: Worker processes were started, rather than woken.
    fresh: bool = False
    #: The loader feeds validation.
    validation: bool = False
