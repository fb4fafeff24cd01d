"""What a lever is: one setting of a training that can be changed from outside.

    at the start                    between two steps, of those that are ``live``
    ───────────────────────         ─────────────────────────────────────────────
    install                         switch(other value) ── switch(None): as the script has it
       │
    a DataLoader is made            change_loader
    it starts workers               before_workers
    outermost forward               before_forward ... after_forward
    backward, optimizer's step      before_backward, before_optimizer

A lever that cannot be pulled leaves a note, and the training as it was. What the script does itself (its own autocast,
its own compilation) is left alone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

#: What could not be applied, in sentences. Until a lever has been pulled it stands here as never applied.
notes: list[str] = []


class Lever:
    """Subclasses override the events that they need; only those are called."""

    #: The setting that it answers to.
    name: ClassVar[str]
    #: Why it has not been applied, until it has been; empty for one that is applied in ``install`` or says so itself.
    never: ClassVar[str] = ""
    #: Whether it can be switched between two steps and leaves nothing behind.
    live: ClassVar[bool] = False

    def __init__(self, torch: Any, value: Any) -> None:
        self.torch = torch
        #: None while it is switched off.
        self.value = value
        self.applied = False
        #: Until it is switched the next time.
        self.gave_up = False
        self.obstacles: list[str] = []
        self._tell()

    def switch(self, value: Any) -> None:
        """Between two steps: another value, or None for what the script has itself."""
        self.value = value
        self._tell()

    def install(self) -> None:
        """Once, when torch has been imported; of a live lever perhaps between two steps."""

    def change_loader(self, arguments: dict[str, Any], iterable: bool) -> None:
        """A DataLoader is made with these arguments, to be changed in place, of an iterable dataset or not."""

    def before_workers(self, iterator: Any, loader: Any) -> None:
        """An iterator of this loader is about to start its workers, with what it has of the loader by now."""

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        """An outermost module is called; return the arguments to use, change ``kwargs`` in place."""
        return args

    def after_forward(self) -> None:
        """It has ended, by an error too."""

    def before_backward(self) -> None:
        """A backward begins."""

    def before_optimizer(self, optimizer: Any) -> None:
        """An optimizer is about to step. A state that the script loads brings its own flags along."""

    def give_up(self, error: Exception) -> None:
        """It failed in the script's own doing, which goes on without it."""
        text = f"{self.name} was not applied: {error!r}"
        self.note(text)
        with suppress(Exception):
            self.switch(None)
        self.value, self.gave_up = None, True
        if text not in notes:  # it was asked for, and is off all the same
            notes.append(text)

    # notes

    def pulled(self) -> None:
        """It has taken effect."""
        if not self.applied:
            self.applied = True
            self._tell()

    def note(self, text: str) -> None:
        """Say why it was not applied here."""
        self.applied = True
        if text not in self.obstacles:
            self.obstacles.append(text)
            self._tell()

    def _tell(self) -> None:
        untold = f"{self.name} was not applied: {self.never}"
        mine = {untold, *self.obstacles}
        notes[:] = [text for text in notes if text not in mine]
        if self.value is not None and self.value is not False:
            notes.extend([untold] if self.never and not self.applied else self.obstacles)
