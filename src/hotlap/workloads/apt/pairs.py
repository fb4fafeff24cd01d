"""The data: concepts at several levels, as in HLBD, and the pairs that come from them.

    concept 自行车:   emoji 🚲   phrase "this means bicycle"   pinyin zì xíng chē
                      english bicycle   japanese 自転車   korean 자전거   chinese 自行车

    "[EMOJI] 🚲" -> 自行车     "[PHRASE] this means bicycle" -> 自行车     "[PY] zì xíng chē" -> 自行车
    "[EN] bicycle" -> 自行车   "[JP] 自転車" -> 自行车                     "[KR] 자전거" -> 自行车

The names are those that Unicode gives an emoji (CLDR short names), from the ``emoji`` package; the pinyin is that of
``pypinyin``. The phrase is the English name in one carrier sentence, so that what is learnt of a name in one level
helps in the other.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from hotlap.errors import ConfigError

#: The tag in front of a source, by the level that the source is.
TAGS = {
    "emoji": "[EMOJI]",
    "phrase": "[PHRASE]",
    "pinyin": "[PY]",
    "english": "[EN]",
    "japanese": "[JP]",
    "korean": "[KR]",
}
TARGET = "chinese"
#: ``CONCEPTS`` give six pairs each. One pair of ``HELD_OUT`` of them is held out, and the documents' 600 are left.
CONCEPTS = 110
HELD_OUT = 60
#: An emoji occurs in one pair only: held out, its character would never have been seen.
NEVER_HELD_OUT = TAGS["emoji"]

#: Emoji of later versions are missing in older releases of the package.
_NEWEST_EMOJI = 5.0
#: A gesture that nobody wants to see in a report.
_RUDE = "\N{REVERSED HAND WITH MIDDLE FINGER EXTENDED}"
_CARRIER = "this means {}"
#: What a name may look like: short, in its language's own script.
_SHORT = {
    "english": re.compile(r"(?=.{3,16}$)[a-z]+( [a-z]+)*"),
    "chinese": re.compile(r"[\u4e00-\u9fff]{1,5}"),
    "japanese": re.compile(r"[\u3041-\u3096\u30a1-\u30fc\u3005\u4e00-\u9fff]{1,10}"),
    "korean": re.compile(r"(?=.{1,10}$)[\uac00-\ud7a3]+( [\uac00-\ud7a3]+)*"),
}


class Pair(NamedTuple):
    """One example; ``tag`` is empty where a file has none."""

    concept: str
    tag: str
    source: str
    target: str

    @property
    def prompt(self) -> str:
        return f"{self.tag} {self.source}" if self.tag else self.source


def real_pairs(*, concepts: int = CONCEPTS, seed: int = 0) -> list[Pair]:
    """Six pairs for each of so many concepts, the same ones for the same seed and release of ``emoji``.

    A name that another emoji has too, in any level (homophones in pinyin among them), would have two right answers:
    such emoji are left out.
    """
    known = _concepts()
    if concepts > len(known):
        raise ConfigError(f"concepts is {concepts}, and emoji has {len(known)} that suit: choose at most that many")
    # By a hash of its own, so that a name that a new release changes moves one concept, not all.
    chosen = sorted(known, key=lambda levels: _rank(seed, levels["emoji"]))[:concepts]
    return [
        Pair(levels[TARGET], tag, levels[level], levels[TARGET]) for levels in chosen for level, tag in TAGS.items()
    ]


def split(pairs: list[Pair], *, held_out: int = HELD_OUT, seed: int = 0) -> tuple[list[Pair], list[Pair]]:
    """Divide into training and held-out pairs, the latter spread evenly over the tags.

    Single pairs are held out, never a whole concept: its Chinese name cannot be guessed by somebody who never saw it,
    so a concept left out whole would measure nothing. So each held-out concept stays in training with its other levels,
    and the question is whether the model connects a level to what it learnt from the others. No concept loses more than
    a sixth of its pairs (one, if it has fewer than twelve), and what occurs twice is counted once.
    """
    pairs = list({(pair.prompt, pair.target): pair for pair in pairs}.values())
    left = {concept: _may_lose(count) for concept, count in Counter(pair.concept for pair in pairs).items()}
    by_tag: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: _rank(seed, pair.prompt + pair.target)):
        if pair.tag != NEVER_HELD_OUT:
            by_tag[pair.tag].append(pair)
    chosen: set[Pair] = set()
    while len(chosen) < held_out:
        before = len(chosen)
        for candidates in by_tag.values():
            found = next((pair for pair in candidates if left[pair.concept] and pair not in chosen), None)
            if found is not None and len(chosen) < held_out:
                chosen.add(found)
                left[found.concept] -= 1
        if len(chosen) == before:
            raise ConfigError(
                f"held_out is {held_out}, but of these {len(pairs)} pairs only {before} can be held out while every "
                "concept stays in training: lower held_out or take more concepts"
            )
    return [pair for pair in pairs if pair not in chosen], [pair for pair in pairs if pair in chosen]


def _may_lose(count: int) -> int:
    return max(1, count // len(TAGS)) if count > 1 else 0


def _rank(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def _concepts() -> list[dict[str, str]]:
    """Every emoji of one character with a short name in all levels that is its own, by level."""
    emoji, pypinyin = _package("emoji"), _package("pypinyin")
    languages = {"english": "en", TARGET: "zh", "japanese": "ja", "korean": "ko"}
    emoji.config.load_language(list(languages.values()))
    found = []
    for text, data in emoji.EMOJI_DATA.items():
        symbol = text.removesuffix("\ufe0f")
        if len(symbol) > 1 or data["E"] > _NEWEST_EMOJI or data["status"] != emoji.STATUS["fully_qualified"]:
            continue
        if symbol == _RUDE:
            continue
        names = {level: data.get(key, "").strip(":").replace("_", " ") for level, key in languages.items()}
        if not all(pattern.fullmatch(names[level]) for level, pattern in _SHORT.items()):
            continue
        pinyin = " ".join(pypinyin.lazy_pinyin(names[TARGET], style=pypinyin.Style.TONE))
        found.append({"emoji": symbol, "phrase": _CARRIER.format(names["english"]), "pinyin": pinyin, **names})
    uses = Counter((level, text) for levels in found for level, text in levels.items())
    return [levels for levels in found if all(uses[item] == 1 for item in levels.items())]


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"the pairs of concepts come from the package {name}, which is not installed: pip install emoji pypinyin, "
            "or give a data file"
        ) from None
