"""What a training command is set to, by its words and by the configuration files that they name, and how to set it
otherwise: an edited copy of the file, another word.

    words ──> arguments, documents, declared flags ──> entries ──> recognised keys ──> edits ──> words of a trial
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hotlap.errors import ConfigError
from hotlap.records import write_whole
from hotlap.tune import arguments as command_line
from hotlap.tune.arguments import Argument, Flag
from hotlap.tune.dialects import CANONICAL, recognise
from hotlap.tune.documents import Document, may_configure, python_values, read_document
from hotlap.tune.frameworks import RUNNER, unwritten
from hotlap.tune.keys import Entry, Key, Place, Recognised


def raw_name(place: Place) -> str:
    """How an edit names a key or a flag of the user's own: "my.yaml:TRAIN.BATCH_SIZE", "--batch-size"."""
    return f"{place.source}:{place.path}" if place.source else place.path


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    words: list[str]
    arguments: list[Argument] = []
    flags: dict[str, Flag] = {}
    documents: dict[str, Document] = {}
    #: Paths that may be added to the words after this flag.
    options_flag: str | None = None
    entries: list[Entry] = []
    recognised: Recognised = Recognised()

    @classmethod
    def of_command(cls, words: Sequence[str]) -> Settings:
        """Nothing is run, and what cannot be read is not known."""
        words = list(words)
        begin = command_line.split(words)
        script = _source_of(words, begin)
        flags = command_line.declared(script)
        arguments = command_line.arguments(words, begin + 1, flags=flags)
        documents = _documents(words, begin, arguments)
        known = cls(words=words, arguments=arguments, flags=flags, documents=documents)
        options = next((each.name for each in arguments if each.name == "--cfg-options"), None)
        if options is None and "--cfg-options" in script:
            options = "--cfg-options"
        entries = known._entries(script, options)
        known = msgspec.structs.replace(known, options_flag=options, entries=entries)
        return known._only_editable(recognise(entries, command_line.ranks(words)))

    def _entries(self, script: str, options: str | None) -> list[Entry]:
        entries = []
        written: dict[str, Any] = {}
        for argument in self.arguments:
            flag = self.flags.get(argument.name)
            if flag is not None and flag.action is None:
                continue
            written[argument.name] = command_line.value_of(argument.text)
        entries += [Entry(Place("", path), value) for path, value in written.items()]
        named = {name for argument in self.arguments for name in self._names(argument.name)}
        for flag in {flag.longest: flag for flag in self.flags.values()}.values():
            if flag.action is not None and not named.intersection(flag.names) and command_line.known(flag.default):
                entries.append(Entry(Place("", flag.longest), flag.default, given=False))
        missing = unwritten(script, written, flags=True)
        for document in self.documents.values():
            if document.fixed is not None:
                continue
            missing_here = unwritten(script, document.values, flags=False)
            values = [(path, value, True) for path, value in document.values.items()]
            values += [(path, value, False) for path, value in missing_here.items()]
            entries += [Entry(Place(document.source, path), value, given=given) for path, value, given in values]
        if options is not None:
            for word in self.words:
                values_of = python_values(Path(word)) if word.endswith(".py") else {}
                if {"train_dataloader", "optim_wrapper", "default_hooks"} & {p.partition(".")[0] for p in values_of}:
                    missing |= {**RUNNER, **values_of}
        entries += [Entry(Place("", path), each, given=False) for path, each in missing.items() if path not in written]
        return entries

    def _names(self, name: str) -> Iterable[str]:
        """Every declared name that this word may stand for: argparse takes beginnings, and --no-x for --x."""
        if name in self.flags:
            return self.flags[name].names
        if not name.startswith("--"):
            return []
        negated = f"--{name[5:]}" if name.startswith("--no-") else name
        return [each for each in self.flags if each.startswith((name, negated))]

    def _only_editable(self, recognised: Recognised) -> Settings:
        """Without the keys that cannot be edited where they stand."""

        def obstacle(keys: Sequence[Key]) -> str | None:
            try:
                places = {place: word for key in keys for place, word in (key.written(another(key)) or {}).items()}
                for document in self.documents.values():
                    if edits := self._of_document(document, places):
                        document.edited(edits)
            except ConfigError as error:
                return str(error)
            return None

        refused = dict(recognised.refused)
        keys = recognised.keys
        if obstacle(list(keys.values())):
            found = {name: obstacle([key]) for name, key in keys.items()}
            refused |= {name: why for name, why in found.items() if why is not None}
            keys = {name: key for name, key in keys.items() if found[name] is None}
        return msgspec.structs.replace(self, recognised=Recognised(keys, refused))

    @staticmethod
    def _of_document(document: Document, places: Mapping[Place, Any]) -> dict[str, Any]:
        return {place.path: value for place, value in places.items() if place.source == document.source}

    @property
    def notes(self) -> list[str]:
        """Why some of what may be known is not touched."""
        fixed = [document.fixed for document in self.documents.values() if document.fixed]
        return [*fixed, *(f"{name}: {why}" for name, why in self.recognised.refused.items())]

    def spell(self, edits: Mapping[str, Any]) -> dict[Place, Any] | None:
        """Return what to write where for edits of canonical keys and of the user's own; None where one cannot be made.

        The user's own are named as ``raw_name`` does.
        """
        own = {raw_name(entry.place): entry.place for entry in self.entries}
        raw = {own[name]: value for name, value in edits.items() if name in own and name not in CANONICAL}
        spelled = self.recognised.spell({name: value for name, value in edits.items() if own.get(name) not in raw})
        if spelled is None:
            return None
        unwritten = {entry.place: entry.value for entry in self.entries if not entry.given}
        every = {
            place: value
            for place, value in (spelled | raw).items()
            if place not in unwritten or repr(unwritten[place]) != repr(value)
        }
        return every if all(self._takes(place, value) for place, value in every.items()) else None

    def _takes(self, place: Place, value: Any) -> bool:
        flag = None if place.source else self.flags.get(place.path)
        return flag is None or flag.choices is None or value in flag.choices

    def rewritten(self, spelled: Mapping[Place, Any]) -> dict[str, str]:
        """Return the text of each configuration file that these values change, by the word that names it.

        Raises:
            ConfigError: a file cannot be edited safely.
        """
        edits = {source: self._of_document(document, spelled) for source, document in self.documents.items()}
        return {source: self.documents[source].edited(each) for source, each in edits.items() if each}

    def arrange(self, spelled: Mapping[Place, Any], directory: Path) -> list[str]:
        """Return the words that train with these values; edited copies of the files are written to ``directory``.

        Raises:
            ConfigError: a file cannot be edited safely.
        """
        words = list(self.words)
        copies: set[Path] = set()
        for source, text in self.rewritten(spelled).items():
            document = self.documents[source]
            path = directory / document.name
            if path in copies:
                path = directory / str(document.at) / document.name
            copies.add(path)
            write_whole(path, text.encode())
            word = words[document.at]
            words[document.at] = word[: len(word) - len(source)] + str(path.absolute())
        here = {place.path: value for place, value in spelled.items() if not place.source}
        # From the end, so that earlier places stay true.
        present = {argument.name: argument for argument in self.arguments}
        for argument in sorted(present.values(), key=lambda argument: -argument.at):
            if argument.name in here:
                words = command_line.replaced(words, argument, here.pop(argument.name))
        return self._with_new(words, here)

    def _with_new(self, words: list[str], new: Mapping[str, Any]) -> list[str]:
        options = []
        for path, value in new.items():
            if path in self.flags:
                words = command_line.added(words, self.flags[path], value)
            elif path.startswith("-"):
                # Sub-commands stand before their flags.
                words = [*words, f"{path}={command_line.text_of(value, None)}"]
            else:
                options.append(f"{path}={command_line.text_of(value, None)}")
        if options:
            flag = self.options_flag
            assert flag is not None, "only where there is such a flag are its options among the entries"
            at = words.index(flag) + 1 if flag in words else len(words)
            words = [*words[:at], *([] if flag in words else [flag]), *options, *words[at:]]
        return words


def _source_of(words: Sequence[str], begin: int) -> str:
    """Text of the script; empty where it cannot be read."""
    if begin >= len(words):
        return ""
    word = words[begin]
    paths = [Path(word)]
    if begin and words[begin - 1] == "-m":
        module = word.replace(".", "/")
        paths = [Path(f"{module}.py"), Path(module, "__main__.py")]
    for path in paths:
        try:
            if path.suffix == ".py" and path.is_file():
                return path.read_text()
        except (OSError, ValueError):
            continue
    return ""


def _documents(words: Sequence[str], begin: int, arguments: Sequence[Argument]) -> dict[str, Document]:
    named = {argument.value_at: argument for argument in arguments if argument.text is not None}
    flags = {argument.at for argument in arguments}
    found: dict[str, Document] = {}
    for at in range(begin + 1, len(words)):
        argument = named.get(at)
        if argument is not None:
            source = argument.text if may_configure(argument.name) else None
        else:
            source = None if at in flags else words[at]
        document = read_document(source, at, wanted=argument is not None) if source else None
        if document is None:
            continue
        if document.source in found:
            document = document._replace(fixed=f"{document.source} is left alone: the command names it twice")
        found[document.source] = document
    return found


def another(key: Key) -> Any:
    """A value that the key may have and has not."""
    value = key.value
    if key.words is not None:
        return next(word for word in key.words if word != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [each + 1 for each in value]
    return 1 if isinstance(value, str) else value + 1
