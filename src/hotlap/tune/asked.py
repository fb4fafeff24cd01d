"""What a user asks to be tried: ``--set TRAIN.BATCH_SIZE=1,2,4,8``, ``--set --batch-size=16,32``.

A key keeps the type of the value that it has. It is named as in the configuration, or as in the command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml

from hotlap.changes import Situation, precision
from hotlap.changes import asked as asked_by_name
from hotlap.errors import UsageError, did_you_mean
from hotlap.records import Change, NumericsClass
from hotlap.tune.keys import Place
from hotlap.tune.settings import Settings, raw_name
from hotlap.tune.target import Target

#: What is known to train the same. Loader workers may draw other random numbers.
_NUMERICS: dict[str, NumericsClass] = {
    **dict.fromkeys(
        ("prefetch_factor", "pin_memory", "log_every", "keep_freed_memory", "use_checkpoint"),
        "exact",
    ),
    **dict.fromkeys(
        (
            "num_workers",
            "persistent_workers",
            "use_mixed_precision",
            "mixed_precision_dtype",
            "precision",
            "channels_last",
            "compile_model",
            "optimizer_implementation",
            "optimizer_8bit",
            "pad_to_max_length",
        ),
        "rounding",
    ),
    "use_checkpoint_attn": "exact",
    "use_checkpoint_ffn": "exact",
}


#: Changes of ours that can be asked for by name, with their values: some are tried where they are asked for alone.
NAMED = {"precision": precision.VALUES}


class _Own(NamedTuple):
    """A key or flag of the user's."""

    present: Any
    #: How an edit names it.
    edit: str
    #: The canonical key that it is recognised as.
    canonical: str | None


def asked(texts: Sequence[str], target: Target) -> list[Change]:
    """Return a change for each value of each key, in the order in which they were asked for.

    Raises:
        UsageError: there is no such key, or the value is not of its kind.
    """
    own = _of_settings(target.settings) if target.settings is not None else _of_keys(target)
    changes = [change for text in texts for change in _changes(text, own, target)]
    ids = [change.id for change in changes]
    if again := {each for each in ids if ids.count(each) > 1}:
        raise UsageError(f"--set asks for {' and '.join(sorted(again))} twice")
    return changes


def _of_keys(target: Target) -> dict[str, _Own]:
    """By the path of each; a key that stands for several paths has none of its own."""
    keys = target.keys or {}
    return {target.spelled[name][0]: _Own(keys[name], name, name) for name in keys if len(target.spelled[name]) == 1}


def _of_settings(settings: Settings) -> dict[str, _Own]:
    recognised = {place: key for key in settings.recognised.keys.values() for place in key.places}
    own: dict[str, _Own] = {}
    twice: set[str] = set()
    for entry in settings.entries:
        key = recognised.get(entry.place)
        plain = key is not None and key.words is None and key.ranks == 1 and len(key.places) == 1
        edit = key.name if key is not None and plain else raw_name(entry.place)
        found = _Own(entry.value, edit, key.name if key else None)
        for name in _names(settings, entry.place):
            if name in own:
                twice.add(name)
            own[name] = found
    # What stands in two files is named with its file.
    return {name: each for name, each in own.items() if name not in twice}


def _names(settings: Settings, place: Place) -> Iterator[str]:
    if place.source:
        yield raw_name(place)
        yield place.path
    elif place.path in settings.flags:
        yield from settings.flags[place.path].names
    else:
        yield place.path


def _changes(text: str, own: dict[str, _Own], target: Target) -> Iterator[Change]:
    name, equals, values = text.partition("=")
    name = name.strip()
    if name not in own and name in NAMED and equals:
        # What it takes here is known once the training has been seen: see ``search``.
        for value in _split(values, name):
            if value not in NAMED[name]:
                raise UsageError(f"--set {name}={value}: its values are {', '.join(NAMED[name])}")
            yield Change(name=name, value=value, title=f"{name} = {value}", numerics="trajectory", note="asked for")
        return
    if name not in own:
        raise UsageError(_unknown(name, own, target))
    key = own[name]
    if not equals:
        if not isinstance(key.present, bool):
            raise UsageError(f"--set {text}: write the values to try after it, as in --set {name}=1,2,4")
        values = str(not key.present)
    different = 0
    for written in _split(values, name):
        value = _typed(written, key.present, name)
        if repr(value) == repr(key.present):
            continue
        different += 1
        spelled = str(value).lower() if isinstance(value, bool) else written
        change = Change(
            name=name,
            value=spelled,
            title=f"{name} = {spelled}",
            numerics=_NUMERICS.get(key.canonical or "", "trajectory"),
            edits={key.edit: value},
            note=f"asked for; now {_spelled(key.present)}",
        )
        if not target.has_keys(change):
            raise UsageError(f"--set {text}: {name} does not take {written}")
        yield change
    if not different:
        raise UsageError(f"--set {text}: {name} is {_spelled(key.present)} already, so there is nothing to try")


def _unknown(name: str, own: dict[str, _Own], target: Target) -> str:
    below = [each for each in own if each.rpartition(".")[2].lower() == name.rpartition(".")[2].lower()]
    hint = f"; did you mean {below[0]!r}?" if below else did_you_mean(name, own)
    fixed = [] if target.settings is None else [each.fixed for each in target.settings.documents.values() if each.fixed]
    if name.startswith("-"):
        what_to_do = hint or "; write it into the command with the value that it has now"
        return f"--set {name}: the command has no such flag, and its script declares none{what_to_do}"
    if fixed:
        return f"--set {name}: {fixed[0]}"
    if target.settings is not None and not target.settings.documents and not hint:
        return f"--set {name}: the command names no configuration (YAML, JSON) to hold it; flags begin with --"
    return (
        f"--set {name}: there is no such key{hint or '; the keys are those of the configuration, as TRAIN.BATCH_SIZE'}"
    )


def _split(values: str, name: str) -> list[str]:
    """At commas outside of brackets."""
    parts = re.findall(r"(?:\[[^\]]*\]|[^,\[\]])+", values)
    if ",".join(parts) != values or not parts:
        raise UsageError(f"--set {name}={values}: write values with commas between them, lists in brackets")
    return [part.strip() for part in parts]


def _typed(written: str, present: Any, name: str) -> Any:
    """Raises UsageError where the value is of another kind than the present one."""
    if isinstance(present, list):
        kinds = [each for each in present if not isinstance(each, (list, dict))]
        if not re.fullmatch(r"\[.*\]", written):
            raise _wrong(name, written, present)
        parts = [part.strip() for part in written[1:-1].split(",") if part.strip()]
        return [_typed(part, kinds[0] if kinds else None, name) for part in parts]
    if present is None:
        return _plain(written)
    if isinstance(present, bool):
        if written.lower() not in ("true", "false"):
            raise _wrong(name, written, present)
        return written.lower() == "true"
    if isinstance(present, str) and not _is_number(present):
        # "auto" stands where a number may.
        return int(written) if present == "auto" and written.isdigit() else written
    try:
        return int(written) if isinstance(present, int) else float(written)
    except ValueError:
        raise _wrong(name, written, present) from None


def _plain(written: str) -> Any:
    value = yaml.safe_load(written)
    return value if value is None or isinstance(value, (bool, int, float, str)) else written


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _wrong(name: str, written: str, present: Any) -> UsageError:
    kind = (
        "a list in brackets"
        if isinstance(present, list)
        else "true or false"
        if isinstance(present, bool)
        else "a number"
    )
    return UsageError(f"--set {name}={written}: {name} is {_spelled(present)}, so its values must be {kind}")


def resolved(change: Change, situation: Situation) -> Change:
    """A change that was asked for by its name alone, as it is made in this training.

    Raises:
        UsageError: there is none, or it cannot be here.
    """
    if change.edits or change.inject:
        return change
    try:
        return asked_by_name(change.name, change.value, situation)
    except ValueError as error:
        raise UsageError(f"--set {change.id}: {error}") from None
