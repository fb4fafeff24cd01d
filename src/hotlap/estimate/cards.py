"""The catalogue of GPUs: what each can hold, move and compute, by the figures that its vendor publishes.

    cards.yaml ──> cards() ──> find("RTX 4090") ──> Card

``cards.yaml`` names the publication of every card, and which figures are not printed in it but follow from others.
They are peaks: a real kernel reaches a part of them, see ``peak.py`` for what the machine at hand does.

How PyTorch's or the driver's name becomes a card:

    "NVIDIA GeForce RTX 4090", "rtx4090", "4090"   the words that tell cards apart are {4090}: this card has just these
    "6000 Ada", "H100 HBM3"                        one card has all of these words, and others
    "RTX 2080 Ti 11GB"                             so it is without the size, which must fit the card
    "A100", "RTX 4060 Ti"                          several have them: an error that names them, or the memory decides
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from hotlap.errors import UsageError

Precision = Literal["fp32", "tf32", "fp16", "bf16"]

GIB = 2**30
#: What the system sees may be this much less than the nominal memory: ECC takes a sixteenth, the driver some more.
_MISSING = 0.12
_SIZE = re.compile(r"\d+gb")


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One GPU. Rates are dense ones, never "with sparsity"; None is "no such unit" or "not published"."""

    #: As the driver and ``torch.cuda.get_device_name()`` print it. Where cards of several sizes share that name, the
    #: size is added, and ``reports`` is what the driver prints.
    name: str
    reports: str
    alias: tuple[str, ...] = ()
    vendor: Literal["NVIDIA", "AMD", "Apple"]
    form: Literal["desktop", "laptop", "workstation", "data centre", "integrated"]
    architecture: str
    #: CUDA's compute capability such as ``8.9``, or AMD's target such as ``gfx942``.
    capability: str | None
    year: int
    #: Bytes. Vendors write GB and mean GiB, for HBM too. None: shared with the CPU, in many sizes.
    memory: int | None
    #: Bytes that ``nvidia-smi`` prints as the total, where a public log of it was found.
    shows: int | None = None
    #: GB/s (10^9).
    bandwidth: float
    #: TFLOP/s (10^12) of the vector units.
    fp32: float | None
    #: TFLOP/s of the matrix units with sums in float32, as PyTorch uses them.
    tf32: float | None
    fp16: float | None
    bf16: float | None
    #: TFLOP/s of the matrix units that take float32 itself: AMD's data centre cards.
    fp32_matrix: float | None = None
    #: Of the whole board, the highest that may be set. None: not stated for the GPU alone.
    watts: int | None
    #: What the figures can be checked by: CUDA cores or stream processors, their boost clock in MHz, the float32
    #: operations of each in a clock; the width of the memory bus in bits, and Gbit/s of each.
    cores: int | None
    clock: float | None
    per_clock: int = 2
    bus: int | None
    pins: float | None
    #: Names of the figures that the vendor does not print: they follow from others, or as ``note`` says.
    derived: tuple[str, ...] = ()
    #: Address of the vendor's datasheet, whitepaper or table. None: it publishes none.
    source: str | None
    note: str = ""

    def flops(self, precision: Precision) -> float | None:
        """FLOP/s of a product of large matrices in ``precision`` at best, None where the card has no unit for it.

        Without one, PyTorch computes it at the rate of ``fp32`` or below.
        """
        rates = {
            "fp32": (self.fp32, self.fp32_matrix),
            "tf32": (self.tf32,),
            "fp16": (self.fp16,),
            "bf16": (self.bf16,),
        }
        known = [rate for rate in rates[precision] if rate is not None]
        return max(known) * 1e12 if known else None


@functools.cache
def cards() -> tuple[Card, ...]:
    """Every card of the catalogue, in its order: by generation, then from slow to fast."""
    content = yaml.safe_load(Path(__file__).with_name("cards.yaml").read_text(encoding="utf-8"))
    group: dict[str, Any] = {}
    found = []
    for entry in content["groups"]:
        if isinstance(entry, dict):
            group = entry
        else:
            found.append(_card(group, content["columns"], entry, content["sources"]))
    return tuple(found)


def _card(group: dict[str, Any], columns: list[str], row: list[Any], sources: dict[str, str]) -> Card:
    fields = {**group, **dict(zip(columns, row, strict=False))}
    for own in row[len(columns) :]:
        fields.update(own)
    fields.setdefault("reports", fields["name"])
    fields["source"] = fields["source"] and sources[fields["source"]]
    for field, unit in (("memory", GIB), ("shows", 2**20)):
        if fields.get(field) is not None:
            fields[field] *= unit
    return msgspec.convert(fields, Card)


def find(name: str, memory: int | None = None) -> Card:
    """Return the card that ``name`` means.

    Case, spaces, "NVIDIA GeForce" and the like do not matter. ``memory``, in bytes as ``total_memory`` of the device's
    properties, decides between cards of one name, and must fit the card by all means.

    Raises:
        UsageError: no card is meant, or several; the message offers names.
    """
    words = _words(name)
    matches = _matching(words)
    size = next((word for word in words if _SIZE.fullmatch(word)), None)
    if not matches and size:
        matches = _matching(words - {size})
        memory = memory or int(size.removesuffix("gb")) * GIB
    fitting = [card for card in matches if memory is None or _fits(memory, card)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{name!r} is the name of several cards: say which of {_listed(fitting)}")
    if matches and memory is not None:
        size = f"{memory / GIB:.1f} GiB of memory"
        raise UsageError(f"no {name!r} with {size} is in the catalogue of GPUs, only {_listed(matches)}")
    near = _nearest(name)
    offered = f"; the nearest are {_listed(near)}" if near else ": docs/cards.md lists them"
    raise UsageError(f"{name!r} is not in the catalogue of GPUs{offered}")


def _matching(words: frozenset[str]) -> list[Card]:
    """The cards with just these words, or else those with more; a size or "laptop" alone is too little for that."""
    exact = [card for card in cards() if words in _spellings(card)]
    if exact or not any(re.search(r"\d", word) and not _SIZE.fullmatch(word) for word in words):
        return exact
    return [card for card in cards() if any(words < each for each in _spellings(card))]


def _fits(memory: int, card: Card) -> bool:
    return card.memory is None or (1 - _MISSING) * card.memory <= memory <= card.memory


def _listed(found: Iterable[Card]) -> str:
    return ", ".join(repr(card.name) for card in found)


def _nearest(name: str) -> list[Card]:
    spelled = {_plain(text): card for card in reversed(cards()) for text in (card.name, card.reports, *card.alias)}
    close = difflib.get_close_matches(_plain(name), spelled, n=6, cutoff=0.5)
    return list(dict.fromkeys(spelled[text] for text in close))[:3]


@functools.cache
def _spellings(card: Card) -> frozenset[frozenset[str]]:
    return frozenset(_words(text) for text in (card.name, card.reports, *card.alias))


#: Words that tell no card of the catalogue from another.
_IDLE = re.compile(r"\b(nvidia|amd|apple|geforce|tesla|instinct|radeon|gpu|graphics|generation|edition)\b")


def _plain(name: str) -> str:
    """Return the name with one spelling for all: ``RTX4080Super`` and ``NVIDIA GeForce RTX 4080 SUPER`` are one."""
    text = re.sub(r"[^a-z0-9]+", " ", name.lower())
    text = re.sub(r"\bmobile\b", "laptop", _IDLE.sub(" ", text))
    text = re.sub(r"\b(rtx|gtx|rx)(?=a?\d)", r"\1 ", text)
    text = re.sub(r"(?<=\d)(ti|super|xtx|max|pro|ultra|laptop)\b", r" \1", text)
    text = re.sub(r"(?<=\d)(ti)(super)\b", r" \1 \2", text)
    text = re.sub(r"\b(\d+) ?gi?b\b", r"\1gb", text)
    text = re.sub(r"\bsxm\d\b", "sxm", text)
    # The series says nothing where a number follows: "TITAN RTX" needs it.
    text = re.sub(r"\b(rtx|gtx|rx)(?= +(pro +)?a?\d)", " ", text)
    return " ".join(text.split())


def _words(name: str) -> frozenset[str]:
    return frozenset(_plain(name).split())
