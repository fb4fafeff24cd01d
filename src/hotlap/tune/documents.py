"""Configuration files among the words of a command: what they say, and whether an edited copy would be read alike.

A copy lies in another folder. So a file that names others relative to its own folder, or inherits from them, is not
copied, and the reason is said.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hotlap.errors import ConfigError
from hotlap.tune.adopt import edit_yaml
from hotlap.tune.dialects import names
from hotlap.tune.jsontext import edit_json, read_json

#: Larger files are data.
_MOST_BYTES = 1 << 20
#: Parts of a flag's name that says where a configuration is.
_CONFIGURES = names(
    "config cfg conf opt options yaml yml json settings setting params hparams hyp args arguments recipe"
)
#: Keys by which one configuration takes over another.
_INHERITS = names(
    "_base_ __base__ base defaults inherit inherits inherit_from extends include includes parent parent_config "
    "base_config"
)


class Document(NamedTuple):
    #: As the word of the command says it.
    source: str
    #: Where that word stands.
    at: int
    text: str
    #: Dotted path -> scalar or list of scalars.
    values: dict[str, Any]
    #: Why it is not edited in a copy; None where it can be.
    fixed: str | None

    @property
    def name(self) -> str:
        return Path(self.source).name

    def edited(self, edits: Mapping[str, Any]) -> str:
        """Raises ConfigError where that cannot be done safely."""
        try:
            edit = edit_json if self.source.endswith(".json") else edit_yaml
            return edit(self.text, dict(edits))
        except ConfigError as error:
            raise ConfigError(f"{self.source}: {error}") from None


def may_configure(flag: str) -> bool:
    """Whether a flag of this name takes a configuration."""
    return bool(_CONFIGURES.intersection(flag.lstrip("-").lower().replace("-", "_").split("_"))) or flag == "-c"


def read_document(source: str, at: int, *, wanted: bool = False) -> Document | None:
    """Return the configuration that the word names; None where it names none. ``wanted``: behind a flag for one."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml", ".json"):
        return None
    try:
        if wanted and not path.exists():
            return Document(source, at, "", {}, f"{source} is not there, so none of its keys is known")
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        text = path.read_bytes().decode()
        data = read_json(text) if path.suffix == ".json" else yaml.safe_load(text)
    except UnicodeDecodeError:
        return Document(source, at, "", {}, f"{source} is left alone: it is not UTF-8")
    except (OSError, ValueError, ConfigError, RecursionError):
        return None
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        return Document(source, at, "", {}, f"{source} is left alone: it is not plain YAML ({problem})")
    if not isinstance(data, dict):
        return None
    values = dict(flattened(data))
    return Document(source, at, text, values, _why_fixed(source, data, values))


def flattened(data: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if not isinstance(key, str) or "." in key or not key:
            continue
        if isinstance(value, dict):
            yield from flattened(value, f"{above}{key}.")
        elif not isinstance(value, list) or not any(isinstance(each, (dict, list)) for each in value):
            yield above + key, value


def _why_fixed(source: str, data: Mapping[Any, Any], values: Mapping[str, Any]) -> str | None:
    for key, value in data.items():
        # A mapping of that name has values of its own.
        if str(key).lower() in _INHERITS and value not in (None, "", [], [""]) and not isinstance(value, dict):
            return f"{source} is left alone: its {key} names other files, which a copy elsewhere would not find"
    folder = Path(source).parent
    for path, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and each and _only_beside(folder, each):
                return (
                    f"{source} is left alone: {path} names {each}, which lies beside it and which a copy elsewhere "
                    "would not find"
                )
    return None


def _only_beside(folder: Path, name: str) -> bool:
    try:
        return not Path(name).exists() and (folder / name).exists()
    except (OSError, ValueError):
        return False


def python_values(path: Path) -> dict[str, Any]:
    """Return the plain values that a configuration in Python writes out (``train_dataloader = dict(batch_size=2)``)."""
    try:
        tree = ast.parse(path.read_text())
    except (OSError, ValueError, SyntaxError, RecursionError):
        return {}
    assigned: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                assigned |= _written_out(statement.value, target.id)
    return assigned


def _written_out(node: ast.expr, path: str) -> dict[str, Any]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict":
        found: dict[str, Any] = {}
        for word in node.keywords:
            if word.arg:
                found |= _written_out(word.value, f"{path}.{word.arg}")
        return found
    if isinstance(node, ast.Dict):
        return {
            key: value
            for name, child in zip(node.keys, node.values, strict=True)
            if isinstance(name, ast.Constant) and isinstance(name.value, str)
            for key, value in _written_out(child, f"{path}.{name.value}").items()
        }
    try:
        return {path: ast.literal_eval(node)}
    except (ValueError, TypeError, RecursionError):
        return {}
