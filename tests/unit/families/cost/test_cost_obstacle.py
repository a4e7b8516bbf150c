"""A VMM that does not count says why, in its own words where it ended over it."""

from __future__ import annotations

import pytest

from guestbench.families.cost.probe import _find_obstacle
from guestbench.vmm import Lacking
from guestbench.vmm.fake import FakeMachine


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (
            1,
            "warning: old option\nCould not load plugin x.so: this QEMU supports only a minimum version of 9",
            "the VMM said: Could not load plugin x.so: this QEMU supports only a minimum version of 9",
        ),
        (1, "", "it counts nothing"),
        (None, "warning: old option", "it counts nothing"),
    ],
)
def test_the_obstacle_is_what_the_vmm_said(
    status: int | None, said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that a newer QEMU refuses would be told as a VMM that could not be asked."""
    machine = FakeMachine((), None, ("fake",))
    machine.histogram = Lacking(reason="it counts nothing")
    monkeypatch.setattr(machine, "complaint", lambda: said)
    monkeypatch.setattr(machine, "exit_status", lambda: status)
    assert _find_obstacle(machine) == told
