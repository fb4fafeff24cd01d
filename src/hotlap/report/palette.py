"""The colours that mean something: of phases, parts of the process and kinds of memory, on a page as on a card."""

from __future__ import annotations

from typing import NamedTuple


class Colour(NamedTuple):
    fill: str
    #: For words on it.
    ink: str


_LIGHT, _DARK = "#fff", "#1b1f24"
_NAMES = {
    "data_wait": Colour("#b4590e", _LIGHT),
    "host_to_device": Colour("#e3a857", _DARK),
    "sampling": Colour("#31757f", _LIGHT),
    "forward steps": Colour("#2f6fbd", _LIGHT),
    "loss": Colour("#7fb0e6", _DARK),
    "backward": Colour("#3360ac", _LIGHT),
    "recompute": Colour("#7d56b8", _LIGHT),
    "gradient_sync": Colour("#b04b88", _LIGHT),
    "gradient_clip": Colour("#5f7482", _LIGHT),
    "optimizer": Colour("#1f7f68", _LIGHT),
    "validation": Colour("#66781b", _LIGHT),
    "checkpoint": Colour("#7d681a", _LIGHT),
    "logging": Colour("#8a5a4a", _LIGHT),
    "other unexplained": Colour("#a9b1bb", _DARK),
    "startup": Colour("#606d7d", _LIGHT),
    "warmup": Colour("#c9a06a", _DARK),
    "end": Colour("#98a1ad", _DARK),
    "building": Colour("#54606e", _LIGHT),
    "compiling": Colour("#a3568f", _LIGHT),
    "loader_start": Colour("#d48a3a", _DARK),
    "measuring rest": Colour("#c7ccd3", _DARK),
    # of a fetch
    "samples fetching": Colour("#c07a2c", _DARK),
    "collating": Colour("#e8c48f", _DARK),
    # of memory
    "parameters": Colour("#2f6fbd", _LIGHT),
    "buffers": Colour("#7fb0e6", _DARK),
    "gradients": Colour("#7d56b8", _LIGHT),
    "optimizer_state": Colour("#1f7f68", _LIGHT),
    "inputs": Colour("#e3a857", _DARK),
    "activations": Colour("#b4590e", _LIGHT),
}

COLOURS = {name: colour for names, colour in _NAMES.items() for name in names.split()}

#: Of what has no colour of its own.
PLAIN = Colour("#8e98a4", _DARK)


def colour(name: str) -> Colour:
    return COLOURS.get(name, PLAIN)
