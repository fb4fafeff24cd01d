"""glibc's ``malloc``, told to keep what is freed instead of handing it back to the kernel.

Blocks of some megabytes, which is what activations and gradients are, go back to the kernel when they are freed. The
next step asks for them again, and the kernel hands them out page by page, each page cleared and each with a fault.
Environment variables of the same effect, for a process that is yet to start: ``MALLOC_MMAP_MAX_=0`` and
``MALLOC_TRIM_THRESHOLD_=-1``. See ``mallopt(3)``. Threads other than the first one allocate from heaps of 64 MiB; what
they ask for beyond that still goes back.
"""

from __future__ import annotations

import os

#: From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

#: Parts of the names of libraries that replace malloc when they are preloaded.
_OTHERS = ("jemalloc", "tcmalloc", "mimalloc", "hoard", "snmalloc")

_kept = False


def keep_freed_memory() -> str | None:
    """Keep it from now on, in this process and those forked from it. Return why that cannot be done, or None."""
    global _kept
    import ctypes

    if _replaced():
        return "another allocator is preloaded, which glibc's settings do not reach"
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "the C library of this system has no mallopt (it is not glibc)"
    if not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1)):
        return "the C library refused it"
    _kept = True
    return None


def allocator() -> str:
    """What allocates in this process: "kept" (freed memory stays), "replaced" (not glibc's malloc), or "default"."""
    if _replaced():
        return "replaced"
    told = "MALLOC_MMAP_MAX_" in os.environ or "glibc.malloc.mmap_max" in os.environ.get("GLIBC_TUNABLES", "")
    return "kept" if _kept or told else "default"


def _replaced() -> bool:
    return any(name in os.environ.get("LD_PRELOAD", "") for name in _OTHERS)
