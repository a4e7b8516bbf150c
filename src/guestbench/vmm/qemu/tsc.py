"""Measures this host's time stamp counter, for guests whose machine gives them nothing to measure it by."""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from collections.abc import Callable

READ = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl $32, %rdx; or %rdx, %rax; ret"""
WAIT_S = 0.02
TRIES = 20
ROUND_KHZ = 100
"""Two measurements differ by less: a millionth of the frequency of any x86."""


def measure_tsc_khz() -> int | None:
    """The counter's frequency; None where this host has none, or lets no program make code."""
    if platform.machine() != "x86_64":
        return None
    try:
        with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
            page.write(READ)
            code = ctypes.c_char.from_buffer(page)
            read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))
            began_ns, began = _read_together(read)
            time.sleep(WAIT_S)
            ended_ns, ended = _read_together(read)
            del code
    except OSError:
        return None
    return round((ended - began) * 1e6 / (ended_ns - began_ns) / ROUND_KHZ) * ROUND_KHZ


def _read_together(read: Callable[[], int]) -> tuple[float, int]:
    """The monotonic clock and the counter at one moment: of some tries, that in which least time passed."""
    tries = []
    for _ in range(TRIES):
        before_ns, count, after_ns = time.monotonic_ns(), read(), time.monotonic_ns()
        tries.append((after_ns - before_ns, (before_ns + after_ns) / 2, count))
    _, at_ns, count = min(tries)
    return at_ns, count
