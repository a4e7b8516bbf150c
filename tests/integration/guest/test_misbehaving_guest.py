"""The guest that misbehaves on purpose does so: else a probe that finds nothing would pass its tests."""

from __future__ import annotations

import re
from pathlib import Path

import misbehaving_guest
import pytest

from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.model import Accel, Ok, Platform
from guestbench.model.machine import Registers
from guestbench.vmm import Lacking, LaunchSpec, Need
from guestbench.vmm.qemu.machine import start

pytestmark = pytest.mark.qemu

PAGE = 4096
MAPPING = re.compile(r"(?m)^([0-9a-f]{16}): [0-9a-f]{16} ([X-])\S{7}([W-])$")
"""A line of QEMU's `info tlb`: X says that the page is not to be executed, W that it may be written."""


def test_its_pages_are_what_it_says(tmp_path: Path) -> None:
    """The probe of page permissions would be checked against a guest that is not what the test believes."""
    spec = LaunchSpec(
        boot=misbehaving_guest.SYSTEM.boot,
        images=misbehaving_guest.build(tmp_path),
        platform=Platform(accel=Accel.TCG),
        folder=tmp_path,
        needs=frozenset({Need.INTROSPECTION}),
    )
    log = SerialLog()
    with start(spec) as machine:
        assert isinstance(watch_boot(machine, misbehaving_guest.SYSTEM, log).outcome, Ok)
        guest = machine.introspection
        assert not isinstance(guest, Lacking)
        registers = guest.read_registers()
        assert isinstance(registers, Registers)
        guest.list_mappings(registers.mode)
        listing = guest.evidence["tlb"].decode()
    found = re.search(misbehaving_guest.PLACES, log.data)
    assert found is not None
    text, text_end, wx, data, stack, stack_end = (int(number, 16) for number in found.groups())
    pages = {int(at, 16): (no_execute == "-", w == "W") for at, no_execute, w in MAPPING.findall(listing)}
    assert set(pages) == set(range(text, stack_end, PAGE))
    executable = {at for at, (x, _) in pages.items() if x}
    writable = {at for at, (_, w) in pages.items() if w}
    assert executable & writable == {wx}
    assert executable == {*range(text, text_end, PAGE), wx}
    assert writable == {wx, *range(data, stack_end, PAGE)}
    # Nothing guards the stack: what lies below it may be written.
    assert stack - PAGE in writable
    assert registers.efer & 1 << 11
