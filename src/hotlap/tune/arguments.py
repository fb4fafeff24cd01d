"""The words of a training command: which of them set a value, how to set another, and what else its parser takes.

    torchrun --nproc_per_node=2  train.py  --config my.yaml --batch-size 8 --amp model.depth=4
    ^ the launcher's words       ^ script  ^ --flag VALUE   ^ and =VALUE   ^ bare ^ assignment

Which other flags there are is read from the script's source (``add_argument`` with plain values), never by running it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_ASSIGNMENT = re.compile(r"\+{0,2}([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
#: A default that is not written out.
_UNKNOWN = object()


class Argument(NamedTuple):
    """A value in the words of a command."""

    #: "--batch-size", or "model.depth" of an assignment.
    name: str
    #: None for a flag without a value.
    text: str | None
    #: Where the flag stands, and where its value does: the same word for --flag=VALUE.
    at: int
    value_at: int


class Flag(NamedTuple):
    """An optional argument that the script's parser declares."""

    names: tuple[str, ...]
    #: "store", "store_true" or "boolean" (with a --no- form); None for what cannot be set safely.
    action: str | None
    default: Any
    choices: tuple[Any, ...] | None

    @property
    def longest(self) -> str:
        return max(self.names, key=len)


def split(words: Sequence[str]) -> int:
    """Return the place of the script (or module, or program) whose arguments follow."""
    if "-c" in words[1:2]:
        return min(2, len(words) - 1)
    for place, word in enumerate(words):
        if word.endswith(".py") and not word.startswith("-"):
            return place
    return words.index("-m", 1) + 1 if "-m" in words[1:-1] else 0


def ranks(words: Sequence[str]) -> int:
    """How many processes the launcher starts here, by its own words."""
    for argument in arguments(words, 0, split(words)):
        if argument.name in ("--nproc_per_node", "--nproc-per-node", "--num_processes", "--num-processes"):
            return int(argument.text) if argument.text and argument.text.isdigit() else 1
    return 1


def arguments(
    words: Sequence[str], first: int, last: int | None = None, flags: Mapping[str, Flag] | None = None
) -> list[Argument]:
    """Return the values in ``words[first:last]``; ``flags`` tell which of them stand without a value."""
    found = []
    last = len(words) if last is None else last
    place = first
    while place < last:
        word = words[place]
        if word == "--":
            break
        name, equals, text = word.partition("=")
        assignment = _ASSIGNMENT.fullmatch(word)
        if _FLAG.fullmatch(name):
            flag = (flags or {}).get(name)
            following = words[place + 1] if place + 1 < last else None
            if equals:
                found.append(Argument(name, text, place, place))
            elif following is None or not _is_value(following) or (flag is not None and flag.action != "store"):
                found.append(Argument(name, None, place, place))
            else:
                found.append(Argument(name, following, place, place + 1))
                place += 1
        elif assignment:
            found.append(Argument(assignment[1], assignment[2], place, place))
        place += 1
    return found


def _is_value(word: str) -> bool:
    """What follows ``--cfg-options`` are assignments, each for itself."""
    return not _FLAG.fullmatch(word.partition("=")[0]) and not _ASSIGNMENT.fullmatch(word)


def value_of(text: str | None) -> Any:
    """Return what a parser would most likely make of it."""
    if text is None:
        return True
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null"):
        return None
    if re.fullmatch(r"\[.*\]", text):
        return [value_of(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def text_of(value: Any, before: str | None) -> str:
    """Spell a value as the one before it was."""
    if isinstance(value, bool):
        return str(value) if before is None or before[:1].isupper() else str(value).lower()
    if isinstance(value, list):
        gap = ", " if before and ", " in before else ","
        return f"[{gap.join(text_of(each, None) for each in value)}]"
    return "null" if value is None else str(value)


def replaced(words: Sequence[str], argument: Argument, value: Any) -> list[str]:
    """Return the words with another value there. A flag without a value stays where True, and goes where False."""
    changed = list(words)
    if argument.text is None:
        return changed if value else changed[: argument.at] + changed[argument.at + 1 :]
    text = text_of(value, argument.text)
    word = changed[argument.value_at]
    if argument.value_at == argument.at:
        text = word[: len(word) - len(argument.text)] + text
    changed[argument.value_at] = text
    return changed


def declared(source: str) -> dict[str, Flag]:
    """Return the flags that a script declares, by each of their names; none where it has several parsers."""
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError):
        return {}
    names = [node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func) for node in calls]
    if names.count("ArgumentParser") != 1 or "add_subparsers" in names:
        return {}
    flags: dict[str, Flag] = {}
    for name, call in zip(names, calls, strict=True):
        if name == "add_argument" and (flag := _declared(call)):
            flags |= dict.fromkeys(flag.names, flag)
    return flags


def _declared(call: ast.Call) -> Flag | None:
    names = tuple(
        arg.value
        for arg in call.args
        if isinstance(arg, ast.Constant) and isinstance(arg.value, str) and _FLAG.fullmatch(arg.value)
    )
    if not names or len(names) != len(call.args):
        return None
    given = {word.arg: word.value for word in call.keywords}
    action = _literal(given.get("action"), "store")
    if isinstance(given.get("action"), ast.Attribute):
        action = "boolean" if ast.unparse(given["action"]).endswith("BooleanOptionalAction") else None
    if action not in ("store", "store_true", "boolean") or "nargs" in given or None in given:
        action = None
    default = _literal(given.get("default"), None)
    if default is None and action in ("store_true", "boolean"):
        default = False
    kind = ast.unparse(given["type"]) if "type" in given else None
    if kind == "float" and isinstance(default, int) and not isinstance(default, bool):
        default = float(default)
    if action == "store" and kind not in (None, "int", "float", "str"):
        action = None  # a reader of its own, such as type=bool, for which "False" is true
    choices = _literal(given.get("choices"), None)
    return Flag(names, action, default, tuple(choices) if isinstance(choices, (list, tuple)) else None)


def _literal(node: ast.expr | None, missing: Any) -> Any:
    if node is None:
        return missing
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        return _UNKNOWN


def known(default: Any) -> bool:
    return default is not _UNKNOWN


def added(words: Sequence[str], flag: Flag, value: Any) -> list[str]:
    """Return the words with a declared flag that was not among them, before all that could swallow it."""
    name = flag.longest
    if flag.action == "store":
        new = [f"{name}={text_of(value, None)}" if name.startswith("--") else f"{name}{text_of(value, None)}"]
    elif value:
        new = [name]
    else:
        new = [f"--no-{name[2:]}"] if flag.action == "boolean" else []
    place = split(words) + 1
    return [*words[:place], *new, *words[place:]]
