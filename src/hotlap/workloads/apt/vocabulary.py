"""Characters and tags as numbers, frozen before any loader exists.

A vocabulary that grows when it meets a new character grows in each worker's own copy: two workers give one number to
two characters, the process that trains knows neither, and no error says so. So this one is built from all the texts at
once, has nothing that adds to it, and answers what it does not know with ``UNK``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hotlap.workloads.apt.pairs import TAGS, Pair

PAD, BOS, EOS, UNK = range(4)
SPECIAL = ("[PAD]", "[BOS]", "[EOS]", "[UNK]")

_TOKEN = re.compile("|".join(re.escape(tag) for tag in TAGS.values()) + "|.", re.DOTALL)


class Vocabulary:
    """Token numbers: the special ones, the tags, then the characters in the order of Unicode."""

    __slots__ = ("_numbers", "_tokens")

    def __init__(self, texts: Iterable[str]) -> None:
        characters = sorted({token for text in texts for token in _TOKEN.findall(text)} - set(TAGS.values()))
        self._tokens = (*SPECIAL, *TAGS.values(), *characters)
        self._numbers = {token: number for number, token in enumerate(self._tokens)}

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Vocabulary:
        """Of the training pairs: what only a held-out pair has is unknown, as it will be in use."""
        return cls(text for pair in pairs for text in (pair.prompt, pair.target))

    def __len__(self) -> int:
        return len(self._tokens)

    def encode(self, text: str) -> list[int]:
        """Numbers of a text's tokens, without BOS and EOS; a tag is one token wherever it stands."""
        return [self._numbers.get(token, UNK) for token in _TOKEN.findall(text)]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text up to the first EOS; unknown tokens are U+FFFD, numbers past the end too."""
        text = []
        for number in numbers:
            if number == EOS:
                break
            if number == UNK or number >= len(self._tokens):
                text.append("\N{REPLACEMENT CHARACTER}")
            elif number not in (PAD, BOS):
                text.append(self._tokens[number])
        return "".join(text)
