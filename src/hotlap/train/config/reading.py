"""Read a configuration file into the class of its workload.

text -> one mapping of keys, with the line of each -> paths ("TRAIN.BATCH_SIZE") -> fields -> checked values
"""

from __future__ import annotations

import contextlib
import math
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from hotlap.errors import ConfigError, did_you_mean
from hotlap.train.config.apt import AptConfig
from hotlap.train.config.base import TrainConfig
from hotlap.train.config.restoration import RestorationConfig
from hotlap.train.config.vrt_spike import VrtSpikeConfig

WORKLOADS: dict[str, type[TrainConfig]] = {
    "restoration": RestorationConfig,
    "apt": AptConfig,
    "vrt_spike": VrtSpikeConfig,
}


class _Entry(NamedTuple):
    path: str
    value: Any
    line: int | None


def load_config(path: str | Path) -> TrainConfig:
    """Read a configuration file. Raises ``ConfigError`` with one clear sentence for whatever is wrong with it."""
    return read_config(path)[0]


def read_config(path: str | Path) -> tuple[TrainConfig, dict[str, list[str]]]:
    """Read a configuration file; return also the paths that set each key of ``TrainConfig.known``, as it is written.

    Raises ``ConfigError`` as ``load_config`` does.
    """
    path = Path(path)
    raw, lines = _read_mapping(path)
    kind = _kind(path, raw, lines)
    hints = get_type_hints(kind, include_extras=True)
    fields = {kind.path(name): name for name in kind.__struct_fields__}
    values: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for entry in _entries(raw, lines, fields):
        place = str(path) if entry.line is None else f"{path}, line {entry.line}"
        name = fields[_field(entry.path, fields, place, kind)]
        if name in values:
            raise ConfigError(f"{place}: {entry.path} says the same as {spelled[name]}: keep one of them")
        values[name] = _value(entry.path, entry.value, hints[name], place)
        spelled[name] = entry.path
    try:
        config = kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    paths = {name: [spelled.get(name, kind.path(name))] for name in kind.__struct_fields__}
    paths |= {name: [path for part in parts for path in paths[part]] for name, parts in kind.together.items()}
    return config, paths


def _kind(path: Path, raw: Mapping[Any, Any], lines: Mapping[tuple[Any, ...], int]) -> type[TrainConfig]:
    keys = [key for key in raw if str(key).lower() == "workload"]
    if not keys:
        return RestorationConfig
    name = raw[keys[0]]
    if isinstance(name, str) and name in WORKLOADS:
        return WORKLOADS[name]
    names = list(WORKLOADS)
    hint = did_you_mean(name, names) if isinstance(name, str) else ""
    raise ConfigError(
        f"{path}, line {lines[(keys[0],)]}: {keys[0]} is {name!r} but must be {', '.join(names[:-1])} or {names[-1]}"
        f"{hint}"
    )


def _entries(
    raw: Mapping[Any, Any],
    lines: Mapping[tuple[Any, ...], int],
    fields: Mapping[str, str],
    above: tuple[Any, ...] = (),
) -> Iterator[_Entry]:
    """Each key with its dotted path; a mapping is a section unless it is itself the value of a key."""
    for key, value in raw.items():
        keys = (*above, key)
        path = ".".join(map(str, keys))
        if path.lower() == "workload":  # by which the fields were chosen, however it is written
            path = next(known for known, name in fields.items() if name == "workload")
        if isinstance(value, dict) and value and not _matches(path, fields):
            yield from _entries(value, lines, fields, keys)
        elif not value and not _matches(path, fields) and any(known.startswith(f"{path}.") for known in fields):
            continue  # a section whose keys are all commented out
        else:
            yield _Entry(path, value, lines.get(keys))


def _matches(path: str, fields: Mapping[str, str]) -> list[str]:
    """The fields that a path can mean: its own, or that of which it is the last part, as BATCH_SIZE is."""
    if path in fields:
        return [path]
    return [known for known in fields if known.endswith(f".{path}")]


def _field(written: str, fields: Mapping[str, str], place: str, kind: type[TrainConfig]) -> str:
    found = _matches(written, fields)
    if len(found) > 1:
        raise ConfigError(f"{place}: {written} could be {' or '.join(found)}: write which one")
    if not found:
        last = {known.rpartition(".")[2]: known for known in fields}
        close = did_you_mean(written, fields) or did_you_mean(written.rpartition(".")[2], last)
        shipped = f"configs/{next(name for name, each in WORKLOADS.items() if each is kind)}.yaml"
        raise ConfigError(
            f"{place}: there is no key {written!r}{close or f'; take the line out, or see the keys in {shipped}'}"
        )
    return found[0]


def _read_mapping(path: Path) -> tuple[dict[Any, Any], dict[tuple[Any, ...], int]]:
    """Return the file's mapping, and the line of each of its keys, by the keys that lead to it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist: give the path of a configuration file, for example configs/restoration.yaml"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file in UTF-8: save it as UTF-8, or give another file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give a readable configuration file") from None
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        if len(documents) > 1:
            line = documents[1].start_mark.line
            raise ConfigError(
                f"{path} holds {len(documents)} documents, the second from line {line}: "
                "keep one and delete its --- line"
            )
        if not documents:
            return {}, {}
        node = documents[0]
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path} is not a list of keys: write one 'key: value' a line, for example 'steps: 1000'")
        return yaml.safe_load(text), dict(_lines(path, node))
    except RecursionError:
        raise ConfigError(f"{path}: an alias contains itself: write out what it stands for") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        content = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
        if "\t" in content:
            raise ConfigError(
                f"{path}, line {line}: YAML does not allow tabs here, put spaces in their place"
            ) from None
        remedy = f"correct {content.strip()!r}" if content.strip() else "it ends before it is complete"
        raise ConfigError(f"{path}, line {line} is not YAML ({error.problem}): {remedy}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML ({str(error).splitlines()[0]}): remove the unusual characters") from None


def _lines(path: Path, node: yaml.MappingNode, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], int]]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        # As the loader reads it: the 10 of {10: 128} is a number.
        loaded = yaml.safe_load(key.value) if key.tag.endswith(":int") else key.value
        name, line = str(loaded), key.start_mark.line + 1
        if name in seen:
            raise ConfigError(f"{path}: {name} is there twice, on lines {seen[name]} and {line}: delete one")
        seen[name] = line
        yield (*above, loaded), line
        if isinstance(value, yaml.MappingNode):
            yield from _lines(path, value, (*above, loaded))


def _value(key: str, value: Any, hint: Any, place: str) -> Any:
    # YAML 1.1 reads 3e-4 as a text, and everybody writes it.
    if _is_float(hint):
        value = _number(value)
    elif hint == dict[str, float] and isinstance(value, dict):
        value = {name: _number(each) for name, each in value.items()}
    try:
        if isinstance(value, float) and not math.isfinite(value):
            raise msgspec.ValidationError
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        choices = [choice for choice in get_args(hint) if isinstance(choice, str)]
        suggestion = did_you_mean(value.lower(), choices) if isinstance(value, str) else ""
        raise ConfigError(f"{place}: {key} is {value!r} but must be {_expected(hint)}{suggestion}") from None


def _number(value: Any) -> Any:
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def _is_float(hint: Any) -> bool:
    return get_origin(hint) is Annotated and get_args(hint)[0] is float


def _expected(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next(meta.description or "" for meta in parts[1:] if isinstance(meta, Meta))
    if origin is Literal:
        words = [str(part) for part in parts]
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _expected(part) for part in parts)
    if origin is list:
        return f"a list, each of it {_expected(parts[0])}"
    if origin is dict:
        return f"keys, each with {_expected(parts[1]) if get_origin(parts[1]) else 'a number'}"
    return "true or false" if hint is bool else "a number"
