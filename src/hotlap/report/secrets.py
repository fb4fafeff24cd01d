"""Commands as they may be shown: what looks like a secret is masked, the rest is left as it was typed.

Covered are options and assignments whose name says so (``--api-key=...``, ``--token ...``, ``wandb.password=...``,
``HF_TOKEN=...``), passwords inside URLs, and values with the prefix of a well-known kind of key. A secret that looks
like an ordinary word is not recognised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MASK = "***"

_NAME = re.compile(
    r"(?:^|[-_.])(?:api[-_.]?key|access[-_.]?key|secret[-_.]?key|private[-_.]?key|license[-_.]?key|secrets?|passw(?:or)?d"
    r"|passphrase|pwd|(?:auth[-_.]?)?token|bearer|auth(?:orization)?|credentials?|cookie)(?:$|[-_.])",
    re.IGNORECASE,
)
#: Tokens of a vocabulary, and what only speaks of a secret.
_NO_SECRET = re.compile(r"(?:^|[-_.])(?:pad|eos|bos|unk|sep|cls|mask|per|num|max|min|no|use)[-_.]", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: A name begins where none goes on, or a long word would be searched from each of its letters.
_OPTION = re.compile(r"(?<![\w.\-])(?P<before>(?P<name>--?[\w.\-]+)\s+(?P<quote>[\"']?))[^\s\"'\-][^\s\"']*(?P=quote)")
_ASSIGNMENT = re.compile(
    r"(?<![\w.\-])(?P<before>(?P<name>[\w.\-]+)[\"']?\s*[=:]\s*(?P<quote>[\"']?))[^\s\"']+(?P=quote)"
)
_PLAIN_ASSIGNMENT = re.compile(r"(?<![\w.\-])(?P<before>(?P<name>[\w.\-]+)=(?P<quote>[\"']?))[^\s\"']+(?P=quote)")
_URL = re.compile(r"(?P<scheme>(?<![a-z0-9+.\-])[a-z0-9+.\-]+://[^/\s:@]*:)[^/\s@]+@", re.IGNORECASE)
_KEY = re.compile(
    r"\b(?:sk-[\w\-]{16,}|hf_\w{16,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w\-]{16,}|xox[abprs]-[\w\-]{10,}"
    r"|AKIA[0-9A-Z]{12,}|AIza[\w\-]{30,}|eyJ[\w\-]{10,}\.[\w\-]{10,}\.[\w\-]+)"
)


def mask(words: Sequence[str]) -> list[str]:
    """Return the words of a command with the values of secrets replaced by ``***``."""
    shown: list[str] = []
    secret_next = False
    for word in words:
        if secret_next and not word.startswith("--"):
            shown.append(MASK)
            secret_next = False
            continue
        secret_next = word.startswith("-") and "=" not in word and _is_secret(word)
        shown.append(_mask_inside(word))
    return shown


def mask_prose(words: str) -> str:
    """Return a text with what can only be a secret masked: known kinds of keys, passwords in URLs, ``NAME=value``.

    Not what stands after a colon or a word: "the token: 5" is no secret.
    """
    return _PLAIN_ASSIGNMENT.sub(_hide, _KEY.sub(MASK, _URL.sub(_hide_password, words)))


def _hide_password(match: re.Match[str]) -> str:
    return f"{match['scheme']}{MASK}@"


def _mask_inside(word: str) -> str:
    """Mask what is secret inside a word, which may be a whole command line of a shell."""
    word = _KEY.sub(MASK, _URL.sub(_hide_password, word))
    name, equals, _ = word.partition("=")
    if equals and " " not in name and _is_secret(name):
        return f"{name}={MASK}"
    return _ASSIGNMENT.sub(_hide, _OPTION.sub(_hide, word))


def _hide(match: re.Match[str]) -> str:
    return f"{match['before']}{MASK}{match['quote']}" if _is_secret(match["name"]) else match[0]


def _is_secret(name: str) -> bool:
    plain = _CAMEL.sub("-", name.lstrip("-+"))
    return bool(_NAME.search(plain)) and not _NO_SECRET.search(plain)
