"""What a VMM takes of the host's memory, read out of a /proc/PID/smaps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guestbench.vmm import Footprint
from guestbench.vmm.qemu.memory import count_footprint, read_footprint

SMAPS = """\
55d0c0000000-55d0c0a00000 r-xp 00300000 08:01 1313 /usr/bin/qemu-system-x86_64
Size:              10240 kB
KernelPageSize:        4 kB
Rss:                8000 kB
Pss:                4000 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0020000000 rw-s 00000000 00:01 2056 /memfd:memory-backend-memfd (deleted)
Size:             524288 kB
Rss:                1100 kB
Pss:                 550 kB
Swap:                 16 kB
7f0020000000-7f0020001000 rw-s 20000000 00:01 2056 /memfd:memory-backend-memfd (deleted)
Rss:                   4 kB
Pss:                   4 kB
7f0030000000-7f0030100000 rw-p 00000000 00:00 0
Rss:                 512 kB
Pss:                 512 kB
Swap:                100 kB
7f0040000000-7f0040001000 rw-s 00000000 00:01 7 /memfd:other (deleted)
Rss:                   4 kB
Pss:                   2 kB
"""


def test_guest_ram_is_told_from_the_vmm() -> None:
    """Half a gigabyte of the translator's would be reported as the guest's, or the guest's as QEMU's."""
    found = count_footprint(SMAPS, "memory-backend-memfd")
    assert found == Footprint(guest_kib=1100 + 16 + 4, vmm_kib=8000 + 512 + 4)


def test_pages_of_a_real_memfd_are_counted_as_they_are_touched() -> None:
    """The count would miss what a kernel writes today, while a recorded smaps still passed."""
    import mmap

    size = 64 << 20
    memory = os.memfd_create("guestbench-test")
    try:
        os.ftruncate(memory, size)
        with mmap.mmap(memory, size, mmap.MAP_SHARED) as mapped:
            before = read_footprint(os.getpid(), "guestbench-test")
            mapped[: 8 << 20] = bytes(8 << 20)
            after = read_footprint(os.getpid(), "guestbench-test")
    finally:
        os.close(memory)
    assert before is not None and after is not None
    assert before.guest_kib == 0
    assert after.guest_kib == 8 << 10
    assert after.vmm_kib > 1000


@pytest.mark.parametrize("content", [None, ""])
def test_a_process_that_has_gone_has_no_footprint(tmp_path: Path, content: str | None) -> None:
    """A guest that dies while it is counted would end the run with a traceback."""
    if content is not None:
        (tmp_path / "77").mkdir()
        (tmp_path / "77" / "smaps").write_text(content)
    assert read_footprint(77, "x", tmp_path) is None
