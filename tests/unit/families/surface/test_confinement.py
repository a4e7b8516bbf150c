"""How the VMM's process is held, out of /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guestbench.families.surface.host.confinement import judge_sandbox, read_confinement
from guestbench.model import Unknown
from guestbench.vmm.qemu.command import find_sandbox


@pytest.mark.parametrize(
    ("option", "mode", "filters", "own", "sandbox"),
    [
        ("on", 2, 3, 1, True),
        ("on", 2, 1, 1, False),
        ("", 2, 1, 1, False),
        ("off", 2, 2, 1, False),
        ("on", 0, 0, 0, False),
    ],
)
def test_sandbox_of_a_container_is_not_qemus(
    option: str, mode: int, filters: int, own: int, sandbox: bool
) -> None:
    """QEMU in a container would look confined by itself, since it inherits the container's filter."""
    assert judge_sandbox(option, mode, filters, own) is sandbox


def test_sandbox_is_unknown_where_the_kernel_does_not_count_filters() -> None:
    """An old kernel would make a sandbox look off, or on."""
    missing = Unknown(reason="no such field")
    assert judge_sandbox("on,obsolete=deny", 2, missing, 1) == missing
    assert find_sandbox(["qemu", "-m", "1", "-sandbox", "on,spawn=deny"]) == "on,spawn=deny"
    assert find_sandbox(["qemu"]) == ""


def test_process_is_read_from_proc() -> None:
    """What the VMM may do to the host would be unknown on every host."""
    found = read_confinement(os.getpid(), "")
    assert found.uid == os.getuid()
    assert isinstance(found.capabilities, int)
    assert found.sandbox is False


def test_only_limits_of_its_own_count(tmp_path: Path) -> None:
    """What the shell of the user limits would be shown as what holds a guest."""
    row = "Max {name:<22}{soft:<21}{hard:<21}{unit:<10}\n"
    limits = {"cpu time": ("60", "seconds"), "file size": ("9", "bytes"), "processes": ("96365", "processes")}
    for pid, cpu in (("1", "60"), ("self", "unlimited")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "status").write_text("Uid:\t0\n")
        rows = ((name, cpu if name == "cpu time" else each, unit) for name, (each, unit) in limits.items())
        lines = (row.format(name=name, soft=soft, hard=soft, unit=unit) for name, soft, unit in rows)
        (tmp_path / pid / "limits").write_text("Limit  Soft Limit  Hard Limit  Units\n" + "".join(lines))
    assert read_confinement(1, "", tmp_path).limits == ("CPU time 60 seconds",)


def test_process_that_has_gone_is_unknown(tmp_path: Path) -> None:
    """A VMM that has ended would have no capabilities: the safest of all."""
    found = read_confinement(1, "", tmp_path)
    for value in (found.capabilities, found.uid, found.sandbox, found.limits):
        assert isinstance(value, Unknown)
    assert isinstance(read_confinement(None, "").uid, Unknown)
