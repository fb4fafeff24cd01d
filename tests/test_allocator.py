"""Freed memory is kept by the process, or it is said why not."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from hotlap import allocator
from hotlap.allocator import keep_freed_memory

_FAULTS = """
import ctypes, resource, sys
from hotlap.allocator import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of 4 KiB, whatever this machine prefers
if sys.argv[1] == "kept":
    assert keep_freed_memory() is None
block = bytearray(2**25)
del block
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    block = bytearray(2**25)
    block[:] = b"x" * 2**25
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_are_fetched_once() -> None:
    """Blocks of 32 MiB, which are 8192 pages each, are otherwise mapped anew every time."""
    faults = {
        way: int(subprocess.run([sys.executable, "-c", _FAULTS, way], capture_output=True, check=True).stdout)
        for way in ("usual", "kept")
    }
    assert faults["usual"] > 20 * 8192
    assert faults["kept"] < 4 * 8192


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is a clause that fits into a sentence."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() == "the C library of this system has no mallopt (it is not glibc)"


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert keep_freed_memory() == "the C library refused it"


def test_another_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    """What glibc is told does not reach it."""
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    assert keep_freed_memory() == "another allocator is preloaded, which glibc's settings do not reach"
    assert allocator.allocator() == "replaced"


@pytest.mark.parametrize("told", [{"MALLOC_MMAP_MAX_": "0"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0"}])
def test_told_by_the_environment(monkeypatch: pytest.MonkeyPatch, told: dict[str, str]) -> None:
    """It keeps already."""
    assert allocator.allocator() == "default"
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert allocator.allocator() == "kept"
