"""Words and boxes on a picture, in fonts that are there everywhere.

Pillow carries a font of its own, which has plain Latin letters and little else. A character that it lacks is taken from
a font of the system that has it, where there is one, and is replaced by a stand-in or ``?`` where there is none.
"""

from __future__ import annotations

import io
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hotlap.errors import UsageError
from hotlap.report import text
from hotlap.report.blocks import STAND_INS

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

#: Fonts with signs and with Chinese, by the names of their files, which Pillow looks for where fonts are.
_SYSTEM = (
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-zenhei.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
)
#: No font has a sign of its own for it, so each draws what it draws for all that it lacks.
_NOBODY_HAS = "\uffff"
#: No picture has room for more letters.
_LONGEST = 500


class Canvas:
    """A picture to draw on. Words stand on the line ``y``."""

    def __init__(self, width: int, height: int, paper: str) -> None:
        try:
            from PIL import Image, ImageDraw, __version__, features
        except ImportError:
            raise UsageError("Pillow draws the picture, and it is not installed: pip install 'pillow>=10.1'") from None
        if tuple(map(int, __version__.split(".")[:2])) < (10, 1):
            raise UsageError(f"Pillow {__version__} has no font that can be scaled: pip install 'pillow>=10.1'")
        if not features.check("freetype2"):
            raise UsageError(
                "this Pillow was built without FreeType, so it cannot write on a picture: pip install 'pillow>=10.1'"
            )
        self._image = Image.new("RGB", (width, height), paper)
        self._draw = ImageDraw.Draw(self._image)

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        if width > 0 and height > 0:
            self._draw.rectangle((round(x), round(y), max(round(x + width) - 1, round(x)), round(y + height) - 1), fill)

    def write(self, x: float, y: float, words: str, size: int, fill: str, width: float | None = None) -> float:
        """Write words, cut off where they are wider than ``width``, and return where they end."""
        shown = text.printable(words) if width is None else cut(words, size, width)
        for run, font in _runs(shown, size):
            self._draw.text((x, y), run, fill=fill, font=font, anchor="ls")
            x += font.getlength(run)
        return x

    def png(self) -> bytes:
        file = io.BytesIO()
        self._image.save(file, "PNG", optimize=True)
        return file.getvalue()


def length(words: str, size: int) -> float:
    return sum(font.getlength(run) for run, font in _runs(words, size))


def cut(words: str, size: int, width: float) -> str:
    """Return the words, or as many letters of them as fit, and three dots."""
    words = text.printable(words)[:_LONGEST]
    if length(words, size) <= width:
        return words
    room = width - length("…", size)
    fitting = bisect_right(range(len(words)), room, key=lambda letters: length(words[:letters], size)) - 1
    return f"{words[: max(fitting, 0)].rstrip()}…"


def wrapped(words: str, size: int, width: float, most: int) -> list[str]:
    """Return the words in lines, at most so many; the last one is cut off."""
    lines: list[str] = []
    left = text.printable(words)[:_LONGEST].split()
    while left and len(lines) < most:
        taken = 1
        while taken < len(left) and length(" ".join(left[: taken + 1]), size) <= width:
            taken += 1
        last = len(lines) == most - 1
        lines.append(cut(" ".join(left if last else left[:taken]), size, width))
        left = left[taken:]
    return lines


def _runs(words: str, size: int) -> list[tuple[str, FreeTypeFont]]:
    runs: list[tuple[str, FreeTypeFont]] = []
    for character in words:
        for shown, font in _drawn(character, size):
            if runs and runs[-1][1] is font:
                runs[-1] = (runs[-1][0] + shown, font)
            else:
                runs.append((shown, font))
    return runs


@lru_cache(maxsize=4096)
def _drawn(character: str, size: int) -> tuple[tuple[str, FreeTypeFont], ...]:
    """The character and the font that has it, or what stands for it."""
    fonts = _fonts(size)
    for font in fonts:
        if _has(font, character):
            return ((character, font),)
    plain = unicodedata.normalize("NFKD", character)[0]
    return ((STAND_INS.get(character, plain if plain.isascii() and plain.isalnum() else "?"), fonts[0]),)


@lru_cache(maxsize=32)
def _fonts(size: int) -> list[FreeTypeFont]:
    from PIL import ImageFont

    found: list[Any] = [ImageFont.load_default(size)]
    for name in _SYSTEM:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found


def _has(font: FreeTypeFont, character: str) -> bool:
    if character.isspace():
        return True
    drawn, missing = font.getmask(character), font.getmask(_NOBODY_HAS)
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)
