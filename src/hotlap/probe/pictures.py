"""Pictures that are decoded, seen where that happens: how long it takes, how often the same one, and kept if wanted.

    Image.open(file).convert(), np.asarray(Image.open(file)), imageio, skimage.io   PIL.ImageFile.ImageFile.load
    cv2.imread(path), cv2.imdecode(bytes)                                          themselves

A picture in a file is known by the file's device, inode, size and time of modification, so that one that is written
anew is decoded anew; one in memory by its bytes. What is kept is copied for each that asks, who may change it. Workers
share what is kept (``shared.keyed``), and the marks of what has been decoded before.
"""

from __future__ import annotations

import functools
import hashlib
import io
import mmap
import os
import pickle
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from hotlap.probe import after_import

#: Marks of pictures that were decoded, a bit each by three bytes of a digest.
_MARKS = 2**21
#: Bytes of a picture in memory that tell it from others where no more than that is at stake.
_GLANCE = 4096
_DIGEST = 16

#: Formats of PIL that are loaded in its common way. To ask others how many frames they have may read all of the file.
_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TGA")
#: The bytes of a picture as PIL gives and takes them, by its mode: the quickest of those that lose nothing.
_BYTES_OF = {mode: mode for mode in ("1", "L", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")}
_BYTES_OF["RGB"] = "RGBX"
#: What no attribute is.
_NOTHING = object()


class Packed(NamedTuple):
    """How a picture is kept."""

    #: What makes a picture of its bytes again.
    form: Any
    body: Callable[[], Any]
    #: Bytes that it takes where it is used.
    size: int


class Keeps(Protocol):
    """Such as ``levers.decoded``: form and body by a digest."""

    def get(self, digest: bytes) -> tuple[bytes, Any] | None: ...

    def put(self, digest: bytes, form: bytes, body: Any) -> None: ...


class Pictures:
    """What this process decodes."""

    def __init__(self) -> None:
        #: Seconds, reset by whoever asks for those of one fetch.
        self.spent = 0.0
        #: How many, how many of them were decoded before, and the bytes of all others.
        self.count = self.again = self.bytes = 0
        #: Shared with workers that are forked; a mark that is lost between two processes makes little difference.
        self._marks: mmap.mmap | None = None
        #: None where they are not kept.
        self.kept: Keeps | None = None

    def watch(self) -> None:
        """See whatever is decoded from now on, once its library is here."""
        if self._marks is None:
            self._marks = mmap.mmap(-1, _MARKS)
            after_import("PIL.ImageFile", self._watch_pillow)
            after_import("cv2", self._watch_opencv)

    def forget_counts(self) -> None:
        """They were written down, or are those of the parent of this process."""
        self.count = self.again = self.bytes = 0

    def decoded(
        self,
        key: tuple[Any, ...],
        decode: Callable[[], Any],
        pack: Callable[[Any], Packed | None],
        unpack: Callable[[Any, Any], Any],
    ) -> Any:
        """What ``decode`` returns, or what it once returned.

        ``pack`` says how that is kept, None for what cannot be; ``unpack`` makes of form and body what is returned.
        """
        start, digest = time.perf_counter(), hashlib.blake2b(repr(key).encode(), digest_size=_DIGEST).digest()
        found = _NOTHING
        if self.kept is not None:
            with suppress(Exception):  # it is decoded once more
                held = self.kept.get(digest)
                if held is not None:
                    found = unpack(pickle.loads(held[0]), held[1])
        if found is _NOTHING:
            found = decode()
            with suppress(Exception):  # it stays as it was decoded
                packed = pack(found)
                if packed is not None:
                    self._count(digest, packed.size)
                    if self.kept is not None:
                        self.kept.put(digest, pickle.dumps(packed.form), packed.body())
        self.spent += time.perf_counter() - start
        return found

    def _count(self, digest: bytes, size: int) -> None:
        self.count += 1
        if self._marks is None:
            return
        place, bit = int.from_bytes(digest[:3], "little") % _MARKS, 1 << (digest[3] % 8)
        if self._marks[place] & bit:
            self.again += 1
        else:
            self._marks[place] |= bit
            self.bytes += size

    def of_bytes(self, held: memoryview) -> tuple[Any, ...]:
        """What tells these from others."""
        looked_at = held if self.kept is not None else held[:_GLANCE]
        return len(held), hashlib.blake2b(looked_at, digest_size=_DIGEST).digest()

    # PIL

    def _watch_pillow(self, module: Any) -> None:
        ordinary, base = module.ImageFile.load, module.Image.Image

        @functools.wraps(ordinary)
        def load(image: Any) -> Any:
            key = None
            with suppress(Exception):  # what is wrong with it PIL says
                # Palettes and films keep more than their pixels.
                plain = image.format in _FORMATS and image.mode not in ("P", "PA") and not _animated(image)
                if plain and type(image).load is load and image.tile and not _loaded(image):
                    key = self._of_image(image)
            if key is None:
                return ordinary(image)
            file, before = image.fp, dict(image.__dict__)
            infos, chunks = set(image.info), len(getattr(image, "private_chunks", ()))

            def pack(_: Any) -> Packed | None:
                after, bytes_of = _changed(before, image.__dict__), _BYTES_OF.get(image.mode)
                if after is None or bytes_of is None or len(getattr(image, "private_chunks", ())) != chunks:
                    return None
                place = None if file.closed else file.tell()
                info = {name: value for name, value in image.info.items() if name not in infos}
                form = image.mode, image.size, after, info, place
                return Packed(form, lambda: image.tobytes("raw", bytes_of), _bytes(image))

            def unpack(form: Any, body: Any) -> Any:
                mode, size, after, info, place = form
                image.im = module.Image.frombytes(mode, size, body, "raw", _BYTES_OF[mode]).im
                image.__dict__.update(after)
                image.info.update(info)
                image.tile, image.readonly, image.fp = [], 0, None
                if place is None:
                    file.close()
                else:
                    file.seek(place)
                return base.load(image)

            # A file of the script's own stays open.
            how = type(image), getattr(image, "_exclusive_fp", False), repr(image.tile), repr(image.decoderconfig)
            known = "pil", key, image.mode, image.size, *how
            return self.decoded(known, lambda: ordinary(image), pack, unpack)

        module.ImageFile.load = load

    def _of_image(self, image: Any) -> tuple[Any, ...] | None:
        """By the whole file that it is read from, or the bytes; None where it is another source, as in an archive."""
        file = image.fp
        if type(file) is io.BytesIO:
            with file.getbuffer() as held:
                return self.of_bytes(held)
        raw = file.raw if type(file) is io.BufferedReader else file
        return _of_file(os.fstat(raw.fileno())) if type(raw) is io.FileIO and not raw.closed else None

    # OpenCV

    def _watch_opencv(self, module: Any) -> None:
        for name in ("imread", "imdecode"):
            ordinary = getattr(module, name, None)
            if ordinary is not None:
                setattr(module, name, self._of_opencv(name, ordinary))

    def _of_opencv(self, name: str, ordinary: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(ordinary)
        def decode(source: Any, *args: Any, **kwargs: Any) -> Any:
            told = (*args, *kwargs.values())
            # Anything else than a flag is an array to be filled.
            key = self._of_source(source) if all(isinstance(each, int) for each in told) else None
            if key is None:
                return ordinary(source, *args, **kwargs)

            def pack(array: Any) -> Packed | None:
                return None if array is None else Packed((array.dtype, array.shape), array.tobytes, array.nbytes)

            def unpack(form: Any, body: Any) -> Any:
                dtype, shape = form
                return body.view(dtype).reshape(shape).copy()

            known = name, key, told, tuple(kwargs)
            return self.decoded(known, lambda: ordinary(source, *args, **kwargs), pack, unpack)

        return decode

    def _of_source(self, source: Any) -> tuple[Any, ...] | None:
        try:
            if isinstance(source, (str, os.PathLike)):
                return _of_file(os.stat(source))
            return self.of_bytes(memoryview(source).cast("B"))
        except (OSError, TypeError, ValueError):
            return None  # OpenCV says what is wrong with it


def _of_file(found: os.stat_result) -> tuple[Any, ...] | None:
    known = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return known if stat.S_ISREG(found.st_mode) else None


def _animated(image: Any) -> bool:
    return bool(getattr(image, "is_animated", False)) or getattr(image, "n_frames", 1) != 1


def _loaded(image: Any) -> bool:
    """Whether its pixels are there; newer versions of PIL keep them under another name."""
    return image.__dict__.get("_im", image.__dict__.get("im")) is not None


def _bytes(image: Any) -> int:
    width, height = map(int, image.size)
    return width * height * {"1": 1, "L": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any] | None:
    """What loading has set beside the pixels; None where that is more than plain values."""
    others = ("_im", "im", "fp", "tile", "readonly", "info")
    new = {
        name: value for name, value in after.items() if name not in others and before.get(name, _NOTHING) is not value
    }
    plain = all(
        value is None or isinstance(value, (bool, int, float, str, bytes, tuple, dict)) for value in new.values()
    )
    return new if plain else None


#: Those of this process.
PICTURES = Pictures()
