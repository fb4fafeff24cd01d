"""Two layers of files seen as one: the user's below, which never change, and a trial's own above.

    upper     RUN_DIR/files/<absolute path>            what the trial has written; wins over everything
    deleted   RUN_DIR/files.deleted/<absolute path>    a plain file hides the user's path, and all below it
    lower     <absolute path>                          the user's files, read only

A path is *virtual* as the script sees it: absolute, symbolic links resolved in the merged view. It is
*physical* where the bytes are. A file is copied up before it is changed. A mark in ``deleted`` is never
taken away: what is made anew lives in the upper layer, and the lower one stays hidden under it.

All state is in these directories, so that every process of a trial sees the same files. Only ``posix``
is called here, whose functions stay what they are when those of ``os`` are replaced.
"""

from __future__ import annotations

import errno
import itertools
import os
import posix
import stat
import threading
from collections.abc import Iterable
from contextlib import suppress

#: Resolving links stops here: what is below is the kernel's, and its links are no paths.
_KERNEL = ("/dev", "/proc", "/sys")
_MOST_LINKS = 40
_CHUNK = 1 << 24


def lstat_or_none(path: str) -> os.stat_result | None:
    try:
        return posix.lstat(path)
    except OSError:
        return None


def failure(number: int, path: str) -> OSError:
    """The error that the system would have given."""
    return OSError(number, os.strerror(number), path)


class Overlay:
    """The merged view. ``writable``: directories in which the script writes for real; ``kept``: those in which never.

    Where one lies inside the other, the inner one decides.
    """

    def __init__(self, upper: str, writable: Iterable[str], kept: Iterable[str] = ("/",)) -> None:
        self.upper = upper
        self.deleted = upper + ".deleted"
        self.staging = upper + ".staging"
        roots = {**dict.fromkeys(kept, True), **dict.fromkeys((*writable, *_KERNEL), False)}
        self._roots = sorted(((root.rstrip("/") + "/", keep) for root, keep in roots.items()), key=lambda r: -len(r[0]))
        self._directories: set[str] = set()
        self._touched = False
        self._numbers = itertools.count()

    # paths

    def keeps(self, path: str) -> bool:
        """Whether the user's file at this path must stay as it is."""
        whole = path + "/"
        for root, keep in self._roots:
            if whole.startswith(root):
                return keep
        return True

    def touched(self) -> bool:
        """Whether anything at all has been written; until then both views are the same."""
        if not self._touched:
            self._touched = lstat_or_none(self.upper) is not None or lstat_or_none(self.deleted) is not None
        return self._touched

    def seen_as(self, physical: str) -> str:
        """The virtual path of a physical one."""
        if physical == self.upper or physical.startswith(self.upper + "/"):
            return physical[len(self.upper) :] or "/"
        return physical

    def resolve(self, path: str, follow: bool = True, base: str | None = None) -> str:
        """The virtual path of what a script calls ``path``, relative to the directory ``base``."""
        given = path
        if not path:
            raise failure(errno.ENOENT, given)
        if not path.startswith("/"):
            path = (base or self.seen_as(posix.getcwd())) + "/" + path
        pending = path.split("/")[::-1]
        current = ""
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                current = current.rpartition("/")[0]
                continue
            current += "/" + name
            if current in _KERNEL:
                return "/".join([current, *pending[::-1]])
            if current in self._directories or not (pending or follow):
                continue
            physical = self.where(current)
            status = lstat_or_none(physical)
            if status is not None and stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise failure(errno.ELOOP, given)
                target = posix.readlink(physical)
                current = "" if target.startswith("/") else current.rpartition("/")[0]
                pending.extend(target.split("/")[::-1])
            elif status is not None and stat.S_ISDIR(status.st_mode):
                self._directories.add(current)
            elif any(pending):
                raise failure(errno.ENOENT if status is None else errno.ENOTDIR, given)
        return current or "/"

    # reading

    def hidden(self, path: str) -> bool:
        """Whether the lower layer's file was deleted in this trial."""
        place = self.deleted
        status = lstat_or_none(place)
        for name in path.split("/")[1:]:
            if status is None:
                return False
            place += "/" + name
            status = lstat_or_none(place)
            if status is not None and stat.S_ISREG(status.st_mode):
                return True
        return False

    def where(self, path: str) -> str:
        """The physical path to read from. It does not exist when the virtual one does not."""
        if not self.keeps(path):
            return path
        above = self.upper + path
        if lstat_or_none(above) is not None or self.hidden(path):
            return above
        return path

    def status(self, path: str) -> os.stat_result | None:
        return lstat_or_none(self.where(path))

    def below(self, path: str) -> os.stat_result | None:
        """Status of the user's own file, None where there is none or the trial deleted it."""
        status = lstat_or_none(path)
        return None if status is None or self.hidden(path) else status

    def layers(self, path: str) -> list[tuple[str, set[str]]]:
        """Physical directories that make up a directory, each with the names that it contributes."""
        first = self.where(path)
        found = [(first, set(posix.listdir(first)))]
        lower = self.below(path) if first != path and self.keeps(path) else None
        if lower is not None and stat.S_ISDIR(lower.st_mode):
            found.append((path, set(posix.listdir(path)) - found[0][1]))
        prefix = path.rstrip("/") + "/"
        if found[-1][0] == path and lstat_or_none(self.deleted) is not None and self.keeps(path):
            found[-1] = (path, {name for name in found[-1][1] if not self.hidden(prefix + name)})
        return found

    def names(self, path: str) -> list[str]:
        return [name for _, names in self.layers(path) for name in names]

    # writing

    def place(self, path: str) -> str:
        """The physical path at which to make something new; its directory is there if the script sees one."""
        if not self.keeps(path):
            return path
        parent = path.rpartition("/")[0] or "/"
        status = self.status(parent)
        if status is not None and stat.S_ISDIR(status.st_mode):
            self._make_directories(parent)
        return self.upper + path

    def _make_directories(self, path: str) -> None:
        if lstat_or_none(self.upper + path) is not None:
            return
        if path != "/":
            self._make_directories(path.rpartition("/")[0] or "/")
        lower = lstat_or_none(path)
        mode = stat.S_IMODE(lower.st_mode) | stat.S_IRWXU if lower is not None else 0o777
        with suppress(FileExistsError):  # another process of the trial was first
            posix.mkdir(self.upper + path, mode)

    def changeable(self, path: str, keep: bool = True, force: bool = False) -> str:
        """The physical path at which to change a file, copied up if need be (its content only with ``keep``).

        A file that the script may not write is left to the system to refuse, unless with ``force``.
        """
        above = self.place(path)
        if above == path or lstat_or_none(above) is not None:
            return above
        lower = self.below(path)
        if lower is None:
            return above
        if stat.S_ISDIR(lower.st_mode):
            self._make_directories(path)
            return above
        regular = stat.S_ISREG(lower.st_mode)
        if not regular and not stat.S_ISLNK(lower.st_mode):
            return path  # a pipe, a socket, a device: nothing is kept there
        if regular and not force and not posix.access(path, os.W_OK):
            return path
        self._copy_up(path, lower, keep)
        return above

    def _copy_up(self, path: str, lower: os.stat_result, keep: bool) -> None:
        """Copy into the upper layer, whole or not at all, whoever else is doing the same."""
        if stat.S_ISLNK(lower.st_mode):
            posix.symlink(posix.readlink(path), self.upper + path)
            return
        with suppress(FileExistsError):
            posix.mkdir(self.staging, 0o777)
        staged = f"{self.staging}/{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        copy(path if keep else "/dev/null", staged, stat.S_IMODE(lower.st_mode))
        try:
            posix.utime(staged, ns=(lower.st_atime_ns, lower.st_mtime_ns))
            posix.link(staged, self.upper + path)
        except FileExistsError:
            pass
        finally:
            posix.unlink(staged)

    def hide(self, path: str) -> None:
        """From now on the user's own file, or directory with all in it, is not seen."""
        if not self.keeps(path) or self.below(path) is None:
            return
        self._directories.clear()
        place = self.deleted
        for name in path.split("/")[1:]:
            with suppress(FileExistsError):
                posix.mkdir(place, 0o777)
            place += "/" + name
        remove_tree(place)
        posix.close(posix.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))

    def remove(self, path: str) -> None:
        status = self.status(path)
        if status is None:
            raise failure(errno.ENOENT, path)
        if stat.S_ISDIR(status.st_mode):
            raise failure(errno.EISDIR, path)
        physical = self.where(path)
        if physical != path or not self.keeps(path):
            posix.unlink(physical)
        self.hide(path)

    def remove_directory(self, path: str) -> None:
        status = self.status(path)
        if status is None:
            raise failure(errno.ENOENT, path)
        if not stat.S_ISDIR(status.st_mode):
            raise failure(errno.ENOTDIR, path)
        if self.names(path):
            raise failure(errno.ENOTEMPTY, path)
        physical = self.where(path)
        if physical != path or not self.keeps(path):
            posix.rmdir(physical)
        self._directories.clear()
        self.hide(path)

    def move(self, source: str, target: str) -> None:
        """Rename, within the merged view and across its edge."""
        moved, present = self.status(source), self.status(target)
        if moved is None:
            raise failure(errno.ENOENT, source)
        if source == target:
            return
        whole = stat.S_ISDIR(moved.st_mode)
        if whole and (target + "/").startswith(source + "/"):
            raise failure(errno.EINVAL, target)
        if source.startswith(target.rstrip("/") + "/"):
            raise failure(errno.ENOTEMPTY, target)
        if present is not None:
            if whole and not stat.S_ISDIR(present.st_mode):
                raise failure(errno.ENOTDIR, target)
            if stat.S_ISDIR(present.st_mode) and not whole:
                raise failure(errno.EISDIR, target)
            if whole and self.names(target):
                raise failure(errno.ENOTEMPTY, target)
        self._directories.clear()
        self.copy_up_all(source)
        start = self.upper + source if self.keeps(source) else source
        end = self.place(target)
        try:
            posix.rename(start, end)
        except OSError as error:
            if error.errno != errno.EXDEV or not stat.S_ISREG(moved.st_mode):
                raise
            copy(start, end, stat.S_IMODE(moved.st_mode))
            posix.unlink(start)
        self.hide(source)
        if whole:
            self.hide(target)

    def copy_up_all(self, path: str) -> None:
        """Bring a file, or a directory with all in it, into the upper layer."""
        if not self.keeps(path):
            return
        physical = self.changeable(path, force=True)
        status = lstat_or_none(physical)
        if status is not None and stat.S_ISDIR(status.st_mode):
            for name in self.names(path):
                self.copy_up_all(f"{path.rstrip('/')}/{name}")


def copy(source: str, target: str, mode: int) -> None:
    reading = posix.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = posix.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while block := posix.read(reading, _CHUNK):
                rest = memoryview(block)
                while rest:
                    rest = rest[posix.write(writing, rest) :]
            posix.fchmod(writing, mode)
        finally:
            posix.close(writing)
    finally:
        posix.close(reading)


def remove_tree(path: str) -> None:
    status = lstat_or_none(path)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        posix.unlink(path)
        return
    for name in posix.listdir(path):
        remove_tree(f"{path}/{name}")
    posix.rmdir(path)
