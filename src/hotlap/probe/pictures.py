"""Pictures that are decoded, seen where that happens: how long it takes, how often the same one, and kept if wanted.

    Image.open(file).convert(), np.asarray(Image.open(file)), imageio, skimage.io   PIL.ImageFile.ImageFile.load
    cv2.imread(path), cv2.imdecode(bytes)                                          themselves

A picture in a file is known by the file's device, inode, size and time of modification, so that one that is written
anew is decoded anew; one in memory by its bytes. What is kept is copied for each that asks, who may change it.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from hotlap.probe import after_import

#: Pictures that are remembered, to tell those that are decoded again.
_REMEMBERED = 100_000
#: Bytes of a picture in memory that tell it from others where no more than that is at stake.
_GLANCE = 4096
#: What keeping a picture costs beside its pixels.
_BESIDES = 1000

#: Formats of PIL that are loaded in its common way. To ask others how many frames they have may read all of the file.
_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TGA")
#: What no attribute is.
_NOTHING = object()

Key = Hashable


class Kept:
    """Decoded pictures of one process, up to so many bytes: those that came first stay."""

    def __init__(self, most: Callable[[], int], hit: Callable[[], None]) -> None:
        """``hit`` is called when one has been of use."""
        self.most, self.hit = most, hit
        self.bytes = 0
        self.pictures: dict[Key, Any] = {}

    def put(self, key: Key, pack: Callable[[], Any], size: int) -> None:
        if key not in self.pictures and self.bytes + size + _BESIDES <= self.most():
            self.bytes += size + _BESIDES
            self.pictures[key] = pack()


class Pictures:
    """What this process decodes."""

    def __init__(self) -> None:
        #: Seconds, reset by whoever asks for those of one fetch.
        self.spent = 0.0
        #: How many, how many of them were decoded before, and the bytes of all others.
        self.count = self.again = self.bytes = 0
        self.seen: set[Key] = set()
        #: None where they are not kept.
        self.kept: Kept | None = None
        self._watched = False

    def watch(self) -> None:
        """See whatever is decoded from now on, once its library is here."""
        if not self._watched:
            self._watched = True
            after_import("PIL.ImageFile", self._watch_pillow)
            after_import("cv2", self._watch_opencv)

    def forget_counts(self) -> None:
        """They were written down, or are those of the parent of this process."""
        self.count = self.again = self.bytes = 0

    def decoded(
        self,
        key: Key,
        decode: Callable[[], Any],
        pack: Callable[[Any], tuple[Callable[[], Any], int] | None],
        unpack: Callable[[Any], Any],
    ) -> Any:
        """What ``decode`` returns, or what it once returned.

        ``pack`` says how that is kept and its bytes, None for what cannot be; ``unpack`` makes of it what is returned.
        """
        start, kept = time.perf_counter(), self.kept
        packed = kept.pictures.get(key) if kept is not None else None
        if kept is not None and packed is not None:
            found = unpack(packed)
            kept.hit()
        else:
            found = decode()
            packing = None
            with suppress(Exception):  # it stays as it was decoded
                packing = pack(found)
            if packing is not None:
                self.count += 1
                if key in self.seen:
                    self.again += 1
                elif len(self.seen) < _REMEMBERED:
                    self.seen.add(key)
                    self.bytes += packing[1]
                if kept is not None:
                    kept.put(key, *packing)
        self.spent += time.perf_counter() - start
        return found

    def of_bytes(self, held: memoryview) -> Key:
        """What tells these from others."""
        looked_at = held if self.kept is not None else held[:_GLANCE]
        return len(held), hashlib.blake2b(looked_at, digest_size=16).digest()

    # PIL

    def _watch_pillow(self, module: Any) -> None:
        ordinary, base = module.ImageFile.load, module.Image.Image

        @functools.wraps(ordinary)
        def load(image: Any) -> Any:
            key = None
            with suppress(Exception):  # what is wrong with it PIL says
                # Palettes and films keep more than their pixels.
                plain = image.format in _FORMATS and image.mode not in ("P", "PA") and not _animated(image)
                if plain and type(image).load is load and image.tile and _pixels(image) is None:
                    key = self._of_image(image)
            if key is None:
                return ordinary(image)
            file, before = image.fp, dict(image.__dict__)
            infos, chunks = set(image.info), len(getattr(image, "private_chunks", ()))

            def pack(_: Any) -> tuple[Callable[[], Any], int] | None:
                after = _changed(before, image.__dict__)
                if after is None or len(getattr(image, "private_chunks", ())) != chunks:
                    return None
                place = None if file.closed else file.tell()
                info = {name: value for name, value in image.info.items() if name not in infos}
                return lambda: (_pixels(image).copy(), after, info, place), _bytes(image)

            def unpack(packed: Any) -> Any:
                pixels, after, info, place = packed
                image.im = pixels.copy()
                image.__dict__.update(_own(after))
                image.info.update(_own(info))
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

    def _of_image(self, image: Any) -> Key | None:
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

            def pack(array: Any) -> tuple[Callable[[], Any], int] | None:
                return None if array is None else (array.copy, array.nbytes)

            known = name, key, told, tuple(kwargs)
            return self.decoded(known, lambda: ordinary(source, *args, **kwargs), pack, lambda array: array.copy())

        return decode

    def _of_source(self, source: Any) -> Key | None:
        try:
            if isinstance(source, (str, os.PathLike)):
                return _of_file(os.stat(source))
            return self.of_bytes(memoryview(source).cast("B"))
        except (OSError, TypeError, ValueError):
            return None  # OpenCV says what is wrong with it


def _of_file(found: os.stat_result) -> Key | None:
    known = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return known if stat.S_ISREG(found.st_mode) else None


def _animated(image: Any) -> bool:
    return bool(getattr(image, "is_animated", False)) or getattr(image, "n_frames", 1) != 1


def _pixels(image: Any) -> Any:
    """An image's own core, where it is there already; newer versions of PIL keep it under another name."""
    return image.__dict__.get("_im", image.__dict__.get("im"))


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
    return _own(new) if plain else None


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """Containers that are changed later are not everybody's."""
    return {name: dict(value) if type(value) is dict else value for name, value in values.items()}


#: Those of this process.
PICTURES = Pictures()
