"""glibc's ``malloc``, told to keep what is freed instead of handing it back to the kernel.

Blocks of some megabytes, which is what activations and gradients are, go back to the kernel when they are freed. The
next step asks for them again, and the kernel hands them out page by page, each page cleared and each with a fault.
Environment variables of the same effect, for a process that is yet to start: ``MALLOC_MMAP_MAX_=0`` and
``MALLOC_TRIM_THRESHOLD_=-1``. See ``mallopt(3)``.
"""

from __future__ import annotations

#: From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> str | None:
    """Keep it from now on, in this process and those forked from it. Return why that cannot be done, or None."""
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "the C library of this system has no mallopt (it is not glibc)"
    if not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1)):
        return "the C library refused it"
    return None
