"""Figures as words: sensible units, and ``n/a`` for whatever is missing."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hotlap.records import Effect, moment_of
from hotlap.report.secrets import MASK, mask, mask_prose

NA = "n/a"
UNKNOWN = "unknown"

#: An interval's end from here on is not known: what ``tune.statistics.UNBOUNDED`` stands for, which costs an import
#: of scipy to ask.
_UNBOUNDED = 1e9
#: Longer than any command or sentence that somebody reads; what is beyond only makes a page heavy.
_LONGEST = 3000

_CONTROLS: dict[int, str] = dict.fromkeys(
    (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"
)
_CONTROLS |= {ord("\n"): " ", ord("\r"): " ", ord("\t"): "    "}


def known(value: float | None) -> bool:
    """Whether there is a finite figure to show."""
    return value is not None and math.isfinite(value)


def figure(value: float | None, digits: int = 3) -> str:
    """Return a number with about ``digits`` significant digits and no exponent where one can read it."""
    if value is None or not math.isfinite(value):
        return NA
    if value == 0:
        return "0"
    # Of the rounded value: 9.996 is written 10.0.
    magnitude = int(f"{value:.{digits - 1}e}".split("e")[1])
    if magnitude >= digits - 1:
        return f"{value:,.0f}" if magnitude < 12 else f"{value:.2e}"
    return f"{value:.{digits - 1 - magnitude}f}" if magnitude >= -4 else f"{value:.1e}"


def seconds(value: float | None) -> str:
    """Return a duration in the unit in which it reads best."""
    if value is None or not math.isfinite(value):
        return NA
    size = abs(value)
    if size >= 1e10:
        return f"{figure(value)} s"
    if size >= 3599.5:
        minutes = round(value / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min"
    if size >= 119.5:
        whole = round(value)
        return f"{whole // 60} min {whole % 60:02d} s"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if size >= 0.9995 * factor:
            return f"{figure(value / factor)} {unit}"
    return "0 ms" if value == 0 else f"{figure(value / 1e-6)} µs"


class Unit(NamedTuple):
    """A unit that a whole table or axis shares, with the decimals that its largest figure deserves."""

    name: str
    factor: float
    decimals: int

    def number(self, value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return NA
        return f"{value / self.factor + 0.0:,.{self.decimals}f}"

    def signed(self, difference: float, name: bool = True) -> str:
        return f"{difference / self.factor + 0.0:+,.{self.decimals}f}" + (f" {self.name}" if name else "")

    def __call__(self, value: float | None) -> str:
        number = self.number(value)
        return number if number == NA else f"{number} {self.name}"


def unit(values: Iterable[float]) -> Unit:
    """Return the unit of time in which figures of this size line up."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    names = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
    # Nothing but zeros is as well in milliseconds as in anything else.
    name, factor = next((each for each in names if largest >= 0.9995 * each[1]), names[-1] if largest else names[1])
    scaled = largest / factor
    return Unit(name, factor, 0 if scaled >= 1000 else 1 if scaled >= 100 else 2)


def size_unit(values: Iterable[float]) -> Unit:
    """Return the decimal unit in which sizes in bytes line up."""
    largest = max(values, default=0.0)
    units = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
    factor, name = next((each for each in units if largest >= 0.9995 * each[0]), units[-1])
    return Unit(name, factor, 0 if largest >= 1000 * factor else 1 if largest >= 100 * factor else 2)


def size(value: float | None) -> str:
    """Return bytes in decimal units (1 GB is 10⁹ bytes)."""
    if value is None or not math.isfinite(value):
        return NA
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= 0.9995 * factor:
            return f"{figure(value / factor)} {unit}"
    return f"{value:.0f} B"


def ratio(value: float | None, sign: str = "x") -> str:
    if value is None or not math.isfinite(value):
        return NA
    if value >= _UNBOUNDED:
        return UNKNOWN
    return f"{value:.2f}{sign}" if 0.095 <= value < 99.5 else f"{figure(value, 2)}{sign}"


def bounded(effect: Effect) -> tuple[float | None, float | None]:
    """Return the ends of the interval, None for one that is not known."""
    low = effect.low if math.isfinite(effect.low) and effect.low > 0 else None
    high = effect.high if math.isfinite(effect.high) and effect.high < _UNBOUNDED else None
    return low, high


def interval(effect: Effect | None) -> str:
    """Return e.g. ``[1.71, 1.95]``; an end that nobody knows is ``unknown``."""
    if effect is None:
        return NA
    low, high = bounded(effect)
    if low is None and high is None:
        return UNKNOWN
    return f"[{', '.join(UNKNOWN if end is None else ratio(end, '') for end in (low, high))}]"


def percent(share: float | None) -> str:
    if share is None or not math.isfinite(100 * share):
        return NA
    return f"{100 * share:.1f} %" if abs(share) < 1e4 else f"{figure(100 * share)} %"


def rate(value: float | None) -> str:
    return NA if not known(value) else f"{figure(value)} samples/s"


def moment(date: str) -> str:
    """Return a date as people read it, e.g. ``2026-11-21 12:53 UTC``; what is none stays as it is."""
    known = moment_of(date)
    return date if known is None else known.strftime("%Y-%m-%d %H:%M UTC")


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def confidence(effect: Effect) -> str:
    return f"{100 * effect.confidence:g} %"


def effect_sentence(effect: Effect | None, sign: str = "x") -> str:
    """Return e.g. ``1.83x [1.71, 1.95], 12 pairs, 99 % interval``."""
    if effect is None:
        return NA
    if effect.n < 1:
        return "no pair was measured"
    figures = f"{ratio(effect.ratio, sign)} {interval(effect)}, {plural(effect.n, 'pair')}"
    if bounded(effect) == (None, None):
        return f"{ratio(effect.ratio, sign)}, {plural(effect.n, 'pair')}, interval unknown"
    return f"{figures}, {confidence(effect)} interval"


def command(words: Sequence[str]) -> str:
    """Return a command as one would type it, its secrets masked."""
    return shorten(" ".join(_quote(word) for word in mask(words))) if words else NA


def _quote(word: str) -> str:
    """Quote a word where a shell needs it; the mask itself, which nobody types, needs no quotes."""
    bare = word.replace(MASK, "_")
    return word if shlex.quote(bare) == bare else shlex.quote(word)


def shorten(content: str, most: int = _LONGEST) -> str:
    """Return the text, or its beginning and end where it is longer than anybody reads."""
    return content if len(content) <= most else f"{content[: most * 2 // 3]} … {content[-most // 3 :]}"


def printable(content: str, keep: str = "") -> str:
    """Return the text without control characters, which could steer a terminal or hide what is shown, nor secrets."""
    return mask_prose(content).translate({code: shown for code, shown in _CONTROLS.items() if chr(code) not in keep})


def lower_first(sentence: str) -> str:
    """Return a sentence to go on with after a colon, leaving names and abbreviations as they are."""
    head = sentence.split(" ", 1)[0]
    return sentence[:1].lower() + sentence[1:] if head[1:].islower() or head == "A" else sentence


def upper_first(sentence: str) -> str:
    """Return a sentence with a capital, unless it begins with a name such as ``torch.compile`` or ``bfloat16``."""
    head = sentence.split(" ", 1)[0].rstrip(",:;.")
    return sentence[:1].upper() + sentence[1:] if head.isalpha() else sentence


def sentence(words: str) -> str:
    return stop(upper_first(words.strip()))


def stop(sentence: str) -> str:
    """Return the sentence with a full stop at its end."""
    sentence = sentence.strip()
    return sentence if not sentence or sentence[-1] in ".!?" else sentence + "."
