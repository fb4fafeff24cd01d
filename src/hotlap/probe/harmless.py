"""A look at an object of the script may fail in any way: then there is one fact less, and the training goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

#: What failed, in sentences for the record.
notes: list[str] = []


def harmless(look: Function) -> Function:
    """Return None instead of raising, and leave a note."""

    @functools.wraps(look)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return look(*args, **kwargs)
        except Exception as error:
            note = f"{look.__qualname__} failed: {error!r}"
            if note not in notes and len(notes) < 20:
                notes.append(note)

    return wrapper  # type: ignore[return-value]
