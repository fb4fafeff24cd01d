"""Libraries that open files in C: the paths are redirected where Python hands them over."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hotlap.probe import after_import
from hotlap.probe.contain import Containment


def install(containment: Containment) -> None:
    for name, redirect in (
        ("subprocess", _subprocess),
        ("sqlite3", _sqlite3),
        ("torch", _torch),
        ("safetensors", _safetensors),
        ("tokenizers", _tokenizers),
        ("cv2", _cv2),
        ("h5py", _h5py),
    ):
        after_import(name, lambda module, redirect=redirect: redirect(module, containment))  # type: ignore[misc]


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


def _first(function: Callable[..., Any], place: Callable[[Any], str], index: int = 0) -> Callable[..., Any]:
    """``function`` with the path among its positional arguments redirected."""

    def redirected(*args: Any, **options: Any) -> Any:
        if len(args) > index and _is_path(args[index]):
            args = (*args[:index], place(args[index]), *args[index + 1 :])
        return function(*args, **options)

    return redirected


def _subprocess(subprocess: Any, containment: Containment) -> None:
    construct = subprocess.Popen.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        if options.get("cwd") is not None:
            options["cwd"] = containment.to_read(options["cwd"])
        construct(self, *args, **options)

    subprocess.Popen.__init__ = __init__


def _sqlite3(sqlite3: Any, containment: Containment) -> None:
    connect = sqlite3.connect

    def path_of(database: Any, uri: bool) -> Any:
        if not _is_path(database):
            return database
        text = os.fsdecode(database)
        if text in ("", ":memory:"):
            return database
        if not (uri and text.startswith("file:")):
            return _to_change(text)
        parts = urlsplit(text)
        path, options = unquote(parts.path), parse_qs(parts.query)
        if path in ("", ":memory:") or options.get("mode") == ["memory"]:
            return database
        place = containment.to_read(path) if options.get("mode") == ["ro"] else _to_change(path)
        return f"file:{quote(place)}?{parts.query}"

    def _to_change(path: str) -> str:
        # A database that was not closed is not whole without its journals.
        for journal in ("-journal", "-wal"):
            if os.path.exists(path + journal):
                containment.to_change(path + journal)
        return containment.to_change(path)

    def redirected(database: Any, *args: Any, **options: Any) -> Any:
        uri = options.get("uri", args[6] if len(args) > 6 else False)
        place = path_of(database, uri)
        with containment.trusted():
            return connect(place, *args, **options)

    sqlite3.connect = sqlite3.dbapi2.connect = redirected


def _torch(torch: Any, containment: Containment) -> None:
    def to_write(path: Any) -> str:
        return containment.to_change(path, keep=False)

    class PyTorchFileWriter(torch._C.PyTorchFileWriter):  # type: ignore[misc]
        def __init__(self, file: Any, *args: Any, **options: Any) -> None:
            super().__init__(to_write(file) if _is_path(file) else file, *args, **options)

    class PyTorchFileReader(torch._C.PyTorchFileReader):  # type: ignore[misc]
        def __init__(self, file: Any, *args: Any, **options: Any) -> None:
            super().__init__(containment.to_read(file) if _is_path(file) else file, *args, **options)

    torch._C.PyTorchFileWriter = PyTorchFileWriter
    torch._C.PyTorchFileReader = PyTorchFileReader

    def mapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def redirected(filename: Any, shared: Any = None, *args: Any, **options: Any) -> Any:
            place = containment.to_change(filename) if shared else containment.to_read(filename)
            return function(place, shared, *args, **options)

        return redirected

    torch.from_file = mapped(torch.from_file)
    torch.UntypedStorage.from_file = staticmethod(mapped(torch.UntypedStorage.from_file))
    torch._C.ScriptModule.save = _first(torch._C.ScriptModule.save, to_write, 1)
    torch._C.import_ir_module = _first(torch._C.import_ir_module, containment.to_read, 1)
    result = torch._C._autograd._ProfilerResult
    result.save = _first(result.save, to_write, 1)
    if torch.distributed.is_available():
        _file_store(torch.distributed, containment)


def _file_store(distributed: Any, containment: Containment) -> None:
    class FileStore(distributed.FileStore):  # type: ignore[misc]
        def __init__(self, file_name: Any, *args: Any, **options: Any) -> None:
            super().__init__(containment.to_change(file_name), *args, **options)

    # Its name in the package is that of a function.
    rendezvous: Any = importlib.import_module("torch.distributed.rendezvous")
    distributed.FileStore = rendezvous.FileStore = FileStore


def _safetensors(safetensors: Any, containment: Containment) -> None:
    def serialize_file(tensor_dict: Any, filename: Any, *args: Any, **options: Any) -> Any:
        return write(tensor_dict, containment.to_change(filename, keep=False), *args, **options)

    def safe_open(filename: Any, *args: Any, **options: Any) -> Any:
        return read(containment.to_read(filename), *args, **options)

    write, read = safetensors.serialize_file, safetensors.safe_open
    safetensors.serialize_file, safetensors.safe_open = serialize_file, safe_open


def _tokenizers(tokenizers: Any, containment: Containment) -> None:
    kind = tokenizers.Tokenizer
    kind.save = _first(kind.save, lambda path: containment.to_change(path, keep=False), 1)
    kind.from_file = staticmethod(_first(kind.from_file, containment.to_read))


def _cv2(cv2: Any, containment: Containment) -> None:
    cv2.imread = _first(cv2.imread, containment.to_read)
    cv2.imwrite = _first(cv2.imwrite, lambda path: containment.to_change(path, keep=False))


def _h5py(h5py: Any, containment: Containment) -> None:
    construct = h5py.File.__init__

    def __init__(self: Any, name: Any, mode: str = "r", *args: Any, **options: Any) -> None:  # noqa: N807
        if _is_path(name):
            name = containment.to_read(name) if mode == "r" else containment.to_change(name, keep=mode != "w")
        construct(self, name, mode, *args, **options)

    h5py.File.__init__ = __init__
