"""What QEMU printed on its standard error, as the reason that a user reads."""

from __future__ import annotations

import pytest

from guestbench.vmm.qemu.machine import leave_out_warnings

MON = (
    "qemu-system-x86_64: -mon chardev=qmp0,mode=control: warning: '-mon' is deprecated, use '-object' with "
    "'monitor-hmp' or 'monitor-qmp' types instead\n"
)
"""What QEMU 11.1 prints at every start."""
RAM = "qemu-system-x86_64: cannot set up guest memory 'ram': Cannot allocate memory"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", ""),
        (MON, ""),
        (f"{MON}{RAM}\n", RAM),
        (f"{RAM}\n{MON}", RAM),
        ("warning: fd: migration to a file is deprecated. Use file: instead.\n", ""),
        (f"2026-11-26T16:00:00.000000Z {MON}", ""),
        ("**\nERROR:../x.c:1:f: assertion failed: (a)\n", "**\nERROR:../x.c:1:f: assertion failed: (a)"),
    ],
)
def test_a_warning_is_not_why_qemu_ended(said: str, reason: str) -> None:
    """QEMU 11 would be told to have ended for an option's name, in place of the guest's own last words."""
    assert leave_out_warnings(said) == reason
