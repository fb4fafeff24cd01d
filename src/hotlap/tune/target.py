"""What is tuned: a command, and the configuration file that it reads, where it has one.

hotlap tune configs/restoration.yaml        the reference trainer with this configuration
hotlap tune -- python train.py ...          any script; a change whose keys are recognised among its flags or in its
                                            configuration is made there, any other from outside
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import ConfigError, TrainingFailed, UsageError
from hotlap.records import Change, Environment, write_whole
from hotlap.tune.adopt import edit_yaml
from hotlap.tune.keys import Place
from hotlap.tune.settings import Settings

#: A script that lies in a folder of data is not worth a walk through all of it.
_MOST_FILES = 5000


class Target(msgspec.Struct, frozen=True, kw_only=True):
    command: list[str]
    #: Path of the reference trainer's configuration, and its text; None for any other command.
    config: str | None = None
    text: str = ""
    #: Canonical keys with their present values; None where none is known.
    keys: dict[str, Any] | None = None
    #: Paths in the configuration that each canonical key sets.
    spelled: dict[str, list[str]] = {}
    #: What any other command is set to; None for the reference trainer.
    settings: Settings | None = None
    #: What is read from that which it prints; None where nothing is.
    metric: str | None = None

    @classmethod
    def of_config(cls, path: Path) -> Target:
        """Raises ConfigError where the configuration is wrong."""
        from hotlap.train.config import read_config

        config, spelled = read_config(path)
        command = [sys.executable, "-m", "hotlap", "train", str(path)]
        text = path.read_bytes().decode()
        return cls(command=command, config=str(path), text=text, keys=config.known(), spelled=spelled)

    @classmethod
    def of_command(cls, command: Sequence[str]) -> Target:
        if not command:
            raise UsageError(
                "there is no training command: write it after `--`, as in `hotlap tune -- python train.py`"
            )
        settings = Settings.of_command(command)
        return cls(command=list(command), keys=settings.recognised.values() or None, settings=settings)

    def check(self) -> None:
        """Raises TrainingFailed where the program or its script is not there, before anything is measured."""
        if shutil.which(self.command[0]) is None:
            program = self.command[0]
            variable = f"; for a variable write `env {program} ...`" if "=" in program else ""
            raise TrainingFailed(
                f"there is no program {program}: give the command that trains; it is started without a shell{variable}"
            )
        script = _script_of(self.command)
        if script is not None and not Path(script).exists():
            raise TrainingFailed(f"there is no {script} in {Path.cwd()}: give the script that trains")

    def fingerprint(self, environment: Environment) -> str:
        """Changes when the command does, the files that it names, the modules beside its script, or the machine."""
        here = environment
        machine = [here.hotlap, here.torch, here.cpu, here.cores, here.gpus, here.variables]
        parts = [json.dumps([self.command, *machine]), self.text]
        named = self.files()
        folders = {path.parent for path in named if path.suffix == ".py"}
        folders |= {Path.cwd()} if "-m" in self.command else set()
        if self.config is not None:
            folders = set()  # the trainer is hotlap's own
        files = sorted(named.union(*map(_modules, folders)))
        parts += [f"{path} {_size_and_time(path)}" for path in files]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def files(self) -> set[Path]:
        """Those that the command names."""
        words = [part for word in self.command[1:] for part in {word, word.rpartition("=")[2]}]
        return {path.absolute() for path in map(Path, words) if _size_and_time(path)}

    def edits(self, changes: Sequence[Change]) -> dict[str, object]:
        """Edits of keys for those changes that the training has keys for."""
        return {key: value for change in changes if self.has_keys(change) for key, value in change.edits.items()}

    def levers(self, changes: Sequence[Change]) -> dict[str, Any]:
        return {key: value for change in changes if not self.has_keys(change) for key, value in change.inject.items()}

    def has_keys(self, change: Change) -> bool:
        if not change.edits:
            return False
        if self.settings is not None:
            return self.settings.spell(change.edits) is not None
        return self.keys is not None and all(key in self.keys for key in change.edits)

    def told(self) -> list[str]:
        """Sentences on what was recognised in a command, and on what is left alone and why."""
        if self.settings is None:
            return []
        keys = self.settings.recognised.keys.values()
        known = [f"keys that are known: {'; '.join(map(str, keys))}"] if keys else []
        return known + self.settings.notes

    def with_steps(self, steps: int | None) -> dict[str, object]:
        """Edits that make the training a short one of so many steps, judged at its end alone."""
        if steps is None or self.config is None or self.keys is None:
            return {}
        return {
            "steps": steps,
            "validate_every": 0,
            "save_every": 0,
            "warmup_steps": min(self.keys["warmup_steps"], steps // 4),
        }

    def samples_ratio(self, changes: Sequence[Change]) -> float:
        """Samples in a step with these changes over those without, as far as the keys of a configuration tell."""

        def samples(keys: Mapping[str, Any]) -> Any:
            return (keys.get("batch_size") or 1) * (keys.get("accumulation_steps") or 1)

        return float(samples({**(self.keys or {}), **self.edits(changes)}) / samples(self.keys or {}))

    def rewritten(self, changes: Sequence[Change]) -> dict[str, tuple[str, str]]:
        """Return the text of each configuration that these changes edit, before and after, by its path."""
        edits = self.edits(changes)
        if self.settings is not None:
            texts = self.settings.rewritten(self._spelled(edits))
            return {source: (self.settings.documents[source].text, text) for source, text in texts.items()}
        return (
            {self.config: (self.text, edit_yaml(self.text, self._paths(edits), dotted=True))}
            if edits and self.config is not None
            else {}
        )

    def _paths(self, edits: Mapping[str, object]) -> dict[str, object]:
        return {path: value for key, value in edits.items() for path in self.spelled[key]}

    def _spelled(self, edits: Mapping[str, object]) -> dict[Place, Any]:
        assert self.settings is not None
        spelled = self.settings.spell(edits)
        if spelled is None:
            raise ConfigError(f"{', '.join(edits)} cannot be set together in this training's configuration")
        return spelled

    def arrange(self, changes: Sequence[Change], directory: Path, steps: int | None = None) -> list[str]:
        """Return the command to run with these changes; edited configurations are written into ``directory``."""
        edits = self.edits(changes) | self.with_steps(steps)
        if self.settings is not None:
            return self.settings.arrange(self._spelled(edits), directory)
        if not edits or self.config is None:
            return self.command
        path = directory / Path(self.config).name
        write_whole(path, edit_yaml(self.text, self._paths(edits), dotted=True).encode())
        return [str(path) if word == self.config else word for word in self.command]


def python_of(command: Sequence[str]) -> str:
    """The interpreter that trains, where the command tells; ours otherwise."""
    return command[0] if "python" in Path(command[0]).name else sys.executable


def _script_of(command: Sequence[str]) -> str | None:
    """The file that an interpreter is given; None where it is given something else."""
    if "python" not in Path(command[0]).name or not {"-m", "-c"}.isdisjoint(command):
        return None
    return next((word for word in command[1:] if word.endswith(".py")), None)


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
