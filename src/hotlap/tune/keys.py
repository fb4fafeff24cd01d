"""Keys of a training in canonical terms: what they are now, where they stand, and in whose words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec


class Place(NamedTuple):
    """Where a value stands: the name of the file's word in the command ("" for the command itself), and its path."""

    source: str
    path: str

    def __str__(self) -> str:
        return f"{self.path} in {self.source}" if self.source else self.path


class Entry(msgspec.Struct, frozen=True):
    """A value that the training reads."""

    place: Place
    value: Any
    #: Whether it is written there; otherwise it is what holds while nothing is.
    given: bool = True


class _Keep:
    """A place whose value stays."""


KEEP = _Keep()


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A canonical key in the words of one training."""

    name: str
    value: Any
    dialect: str
    places: tuple[Place, ...]
    #: Canonical value -> what is written at each place; None where it is written as it is.
    words: dict[Any, tuple[Any, ...]] | None = None
    #: It is written as the sum over so many ranks.
    ranks: int = 1

    def __str__(self) -> str:
        return f"{self.name}: {' and '.join(map(str, self.places))} ({self.dialect})"

    def written(self, value: Any) -> dict[Place, Any] | None:
        """Return what to write where; None where this training has no word for the value."""
        if self.words is None:
            return dict.fromkeys(self.places, value * self.ranks if self.ranks > 1 else value)
        if isinstance(value, list) or value not in self.words:
            return None
        return {
            place: word
            for place, word in zip(self.places, self.words[value], strict=True)
            if not isinstance(word, _Keep)
        }


class Recognised(msgspec.Struct, frozen=True):
    keys: dict[str, Key] = {}
    #: Canonical keys that could be several of the training's, with the reason why none is touched.
    refused: dict[str, str] = {}

    def values(self) -> dict[str, Any]:
        """The canonical keys with their present values; precision as the two keys that a change sets."""
        values = {name: key.value for name, key in self.keys.items() if name != "precision"}
        precision = self.keys.get("precision")
        if precision is not None:
            words = precision.words or {}
            values["use_mixed_precision"] = precision.value != "float32"
            dtypes = [word for word in ("bfloat16", "float16") if word in words]
            if dtypes:
                values["mixed_precision_dtype"] = precision.value if precision.value in dtypes else dtypes[0]
        return values

    def spell(self, edits: Mapping[str, Any]) -> dict[Place, Any] | None:
        """Return what to write where for these edits of canonical keys; None where one of them has no word here."""
        spelled: dict[Place, Any] = {}
        for name, value in self._joined(edits).items():
            words = self.keys[name].written(value) if name in self.keys else None
            if words is None:
                return None
            spelled |= words
        return spelled

    def _joined(self, edits: Mapping[str, Any]) -> dict[str, Any]:
        joined = dict(edits)
        both = ("use_mixed_precision", "mixed_precision_dtype")
        wanted: dict[str, Any] = {name: joined.pop(name) for name in both if name in joined}
        if wanted and "precision" in self.keys:
            present = self.values()
            dtype = wanted.get("mixed_precision_dtype", present.get("mixed_precision_dtype", "on"))
            on = wanted.get("use_mixed_precision", present["use_mixed_precision"])
            joined["precision"] = dtype if on else "float32"
        elif wanted:
            joined |= wanted
        return joined
