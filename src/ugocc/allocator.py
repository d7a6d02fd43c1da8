"""Memory of the C library: keep freed buffers instead of giving them back to the system after every operator."""

from __future__ import annotations

import ctypes
import platform

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Stop glibc from returning large buffers to the system, which costs a third of a training step on the CPU.

    Returns:
        Whether the C library took the settings; false on systems without glibc, where nothing changes.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
