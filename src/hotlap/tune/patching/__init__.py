"""The adopted changes as a diff of the user's script.

    levers + where things happen (Sites) ──> native edits, each checked by itself ──┐
                                        └──> the rest: one hotlap.apply(...) ───────┴──> Patch: texts, diff, copies

What can be written as a user would write it is: keyword arguments of the very calls that were seen, a statement of
torch. That needs certainty that the training is the one that was measured with the levers applied from outside; where
there is any doubt, ``hotlap.apply`` at the top of the script has the same effect, by the same code. Only files below
the working directory are edited, and none that are installed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hotlap.records import Sites, write_whole
from hotlap.tune.adopt import unified_diff
from hotlap.tune.patching.calls import edit_checkpoints, edit_loaders, edit_optimizers
from hotlap.tune.patching.source import Refused, Source
from hotlap.tune.patching.statements import SETTINGS, Forward, apply_levers, set_torch

__all__ = ["Patch", "make_patch", "write_copies"]

_LOADER = ("workers", "prefetch_factor", "persistent_workers", "pin_memory")
_PACKAGE = Path(__file__).parents[2]


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    #: For ``git apply`` or ``patch -p1`` in ``root``. Bytes, because a file may be in any encoding.
    diff: bytes
    root: str
    #: The edited files, by their paths relative to ``root``.
    files: dict[str, bytes]
    #: Levers that are written as a user would write them, and those that ``hotlap.apply`` pulls, with the reason.
    native: list[str]
    by_apply: dict[str, str]

    @property
    def shown(self) -> str:
        """The diff to be read."""
        return self.diff.decode(errors="replace")


def make_patch(
    levers: Mapping[str, Any],
    sites: Sites | None,
    command: Sequence[str] = (),
    root: Path | None = None,
    *,
    native: bool = True,
) -> Patch | None:
    """Return the script's patch; None where no file of the script lies below ``root`` or none needs an edit.

    ``sites``: as a run of the script without levers saw them. Without them the script is looked for in ``command``.
    ``root``: the working directory of the training, by default the one that was seen, or that of this process.
    ``native``: whether what can be is written as a user would write it, or all through ``hotlap.apply``.
    """
    seen = sites or Sites(root=str(Path.cwd()))
    patching = _Patching(levers, seen, command, (root or Path(seen.root)).resolve())
    if native:
        patching.write_natively()
    return patching.finish()


def write_copies(patch: Patch, folder: Path) -> dict[str, str]:
    """Write the edited files; return what ``launch.Plan(copies=...)`` needs to run them in the place of the user's."""
    copies = {}
    for name, data in patch.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
        copies[str(Path(patch.root) / name)] = str(path.absolute())
    return copies


class _Patching:
    def __init__(self, levers: Mapping[str, Any], sites: Sites, command: Sequence[str], root: Path) -> None:
        self.levers, self.sites, self.root = dict(levers), sites, root
        self.sources: dict[Path, Source] = {}
        self.native: list[str] = []
        self.by_apply: dict[str, str] = {}
        self.main = self._main(command)

    def _main(self, command: Sequence[str]) -> Path | None:
        named = [self.sites.main] if self.sites.main else [word for word in command if word.endswith(".py")]
        for name in named:
            path = (self.root / name).resolve()
            if path.is_file() and self._is_users(path):
                return path
        return None

    def _is_users(self, path: Path) -> bool:
        """Whether it may be edited: below the working directory, and no installed package."""
        if not path.is_relative_to(self.root) or path.is_relative_to(_PACKAGE):
            return False
        inside = path.relative_to(self.root)
        environments = [place for place in inside.parents if (self.root / place / "pyvenv.cfg").exists()]
        return not environments and not {"site-packages", "dist-packages"} & set(inside.parts)

    def write_natively(self) -> None:
        levers, sites = self.levers, self.sites
        trained = [site for site in sites.models if site.trained]

        def loaders(source: Source, there: Any) -> None:
            edit_loaders(source, there, levers)

        def fused(source: Source, there: Any) -> None:
            edit_optimizers(source, there, "fused", levers["fused"])

        def foreach(source: Source, there: Any) -> None:
            edit_optimizers(source, there, "foreach", levers["foreach"])

        def channels_last(source: Source, there: Any) -> None:
            Forward(source, sites).channels_last(sites.optimizers)

        def compiled(source: Source, there: Any) -> None:
            Forward(source, sites).compile(sites.optimizers, levers["compile"])

        def autocast(source: Source, there: Any) -> None:
            Forward(source, sites).autocast(sites.backwards, levers["autocast"])

        self._try(_LOADER, sites.loaders, loaders)
        self._try(["fused"], sites.optimizers, fused)
        self._try(["foreach"], sites.optimizers, foreach)
        if levers.get("checkpointing") == "off":
            self._try(["checkpointing"], sites.checkpoints, edit_checkpoints)
        # First, as it asks what is computed where the model is called.
        self._try(["autocast"], trained, autocast)
        if levers.get("channels_last") is True:
            self._try(["channels_last"], trained, channels_last)
        self._try(["compile"], trained, compiled)
        for name in SETTINGS:
            self._try([name], None, functools.partial(_set_torch, name, levers.get(name)))

    def _try(self, names: Iterable[str], sites: Sequence[Any] | None, edit: Callable[[Source, Any], None]) -> None:
        """Edit every file of these sites, or none. Without sites it is the main one."""
        names = [name for name in names if name in self.levers]
        if not names:
            return
        before = dict(self.sources)
        try:
            if sites is None:
                if self.main is None:
                    raise Refused("the script lies outside of the working directory")
                edit(self._draft(self.main), None)
            else:
                by_file: dict[Path, list[Any]] = {}
                for site in sites:
                    by_file.setdefault(Path(site.file).resolve(), []).append(site)
                if not by_file:
                    raise Refused("it was not seen where that happens")
                for path, there in by_file.items():
                    if not self._is_users(path):
                        raise Refused(f"{path} lies outside of the working directory")
                    edit(self._draft(path), there)
            for path in self.sources:
                self.sources[path].result()
        except Refused as refused:
            self.sources = before
            self.by_apply.update(dict.fromkeys(names, str(refused)))
        else:
            self.native += names

    def _draft(self, path: Path) -> Source:
        known = self.sources.get(path)
        self.sources[path] = draft = known.draft() if known is not None else Source(path)
        return draft

    def finish(self) -> Patch | None:
        rest = {name: value for name, value in self.levers.items() if name not in self.native}
        for name in rest:
            self.by_apply.setdefault(name, "there is no other way to write it")
        if rest:
            if self.main is None:
                return None
            try:
                source = self._draft(self.main)
                apply_levers(source, rest)
                source.result()
            except Refused:
                return None
        files = {}
        diff = b""
        for path, source in sorted(self.sources.items()):
            after = source.result()
            if after != source.data:
                name = str(path.relative_to(self.root))
                files[name] = after
                diff += _diff(source.data, after, name)
        if not files:
            return None
        return Patch(diff=diff, root=str(self.root), files=files, native=self.native, by_apply=self.by_apply)


def _set_torch(name: str, value: object, source: Source, _: Any) -> None:
    set_torch(source, name, value)


def _diff(before: bytes, after: bytes, name: str) -> bytes:
    """As if each byte were a letter: what the bytes stand for is of no concern."""
    path = os.fsencode(name).decode("latin-1")
    # A tab ends a name in which there are spaces.
    ending = "\t" if " " in path else ""
    return unified_diff(before.decode("latin-1"), after.decode("latin-1"), path + ending).encode("latin-1")
