"""What is tuned: a command, and the configuration file that it reads, where it has one.

hotlap tune configs/restoration.yaml        the reference trainer with this configuration
hotlap tune -- python train.py ...          any script; changes are applied from outside
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import UsageError
from hotlap.records import Change, Environment, write_whole
from hotlap.tune.adopt import edit_yaml

#: A script that lies in a folder of data is not worth a walk through all of it.
_MOST_FILES = 5000


class Target(msgspec.Struct, frozen=True, kw_only=True):
    command: list[str]
    #: Path of the configuration, and its text, if it is one whose keys we know.
    config: str | None = None
    text: str = ""
    keys: dict[str, Any] | None = None

    @classmethod
    def of_config(cls, path: Path) -> Target:
        """Raises ConfigError where the configuration is wrong."""
        from hotlap.train.config import load_config

        config = load_config(path)
        keys = {name: getattr(config, name) for name in config.__struct_fields__}
        command = [sys.executable, "-m", "hotlap", "train", str(path)]
        return cls(command=command, config=str(path), text=path.read_bytes().decode(), keys=keys)

    @classmethod
    def of_command(cls, command: Sequence[str]) -> Target:
        if not command:
            raise UsageError(
                "there is no training command: write it after `--`, as in `hotlap tune -- python train.py`"
            )
        return cls(command=list(command))

    def fingerprint(self, environment: Environment) -> str:
        """Changes when the command does, the files that it names, the modules beside its script, or the machine."""
        here = environment
        parts = [json.dumps([self.command, here.hotlap, here.torch, here.cpu, here.cores, here.gpus]), self.text]
        words = [part for word in self.command[1:] for part in {word, word.rpartition("=")[2]}]
        named = {path.absolute() for path in map(Path, words) if _size_and_time(path)}
        folders = {path.parent for path in named if path.suffix == ".py"} | ({Path.cwd()} if "-m" in words else set())
        if self.keys is not None:
            folders = set()  # the trainer is hotlap's own
        files = sorted(named.union(*map(_modules, folders)))
        parts += [f"{path} {_size_and_time(path)}" for path in files]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def edits(self, changes: Sequence[Change]) -> dict[str, object]:
        """Edits of the configuration for those changes that it has keys for."""
        return {key: value for change in changes if self.has_keys(change) for key, value in change.edits.items()}

    def levers(self, changes: Sequence[Change]) -> dict[str, Any]:
        return {key: value for change in changes if not self.has_keys(change) for key, value in change.inject.items()}

    def has_keys(self, change: Change) -> bool:
        return self.keys is not None and bool(change.edits) and all(key in self.keys for key in change.edits)

    def with_steps(self, steps: int | None) -> dict[str, object]:
        """Edits that make the training a short one of so many steps, judged at its end alone."""
        if steps is None or self.keys is None:
            return {}
        return {
            "steps": steps,
            "validate_every": 0,
            "save_every": 0,
            "warmup_steps": min(self.keys["warmup_steps"], steps // 4),
        }

    def arrange(self, changes: Sequence[Change], directory: Path, steps: int | None = None) -> list[str]:
        """Return the command to run with these changes; an edited configuration is written into ``directory``."""
        edits = self.edits(changes) | self.with_steps(steps)
        if not edits or self.config is None:
            return self.command
        path = directory / Path(self.config).name
        write_whole(path, edit_yaml(self.text, edits).encode())
        return [str(path) if word == self.config else word for word in self.command]


def _size_and_time(path: Path) -> tuple[int, int] | None:
    """None where there is no such file: a word may be anything, and an editor's lock is a link to nowhere."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return (stat.st_size, stat.st_mtime_ns) if path.is_file() else None


def _modules(folder: Path) -> Iterator[Path]:
    """Python files that a script in this folder may import, without environments and hidden folders."""
    seen = 0
    for place, folders, files in os.walk(folder):
        environments = {name for name in folders if Path(place, name, "pyvenv.cfg").exists()}
        folders[:] = [name for name in folders if not name.startswith((".", "__")) and name not in environments]
        for name in files:
            if name.endswith(".py"):
                yield Path(place, name)
        seen += len(files)
        if seen > _MOST_FILES:
            return
