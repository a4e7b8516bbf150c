"""What the host's CPU counts of a boot: apart where the kernel hides its part, or with a reason."""

from __future__ import annotations

import pytest
from factories import make_boot_run
from report_pages import markdown_of

from guestbench.families.boot.probe import count_host
from guestbench.model import Gap, Sample, Unknown
from guestbench.vmm import Lacking
from guestbench.vmm.fake import FakeMachine


class Counted:
    """Counters that say what a test wants."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def read(self) -> dict[str, float | Unknown]:
        """Cycles and energy, and no cache misses."""
        return {"cycles": 5e9, "cache_misses": Unknown(reason="no such counter"), "energy": 2.5}


@pytest.mark.parametrize(("scope", "labels"), [("", {}), ("user space", {"of": "user space"})])
def test_counts_of_user_space_alone_are_another_figure(scope: str, labels: dict[str, str]) -> None:
    """A host that hides the kernel's part would seem to need fewer cycles."""
    machine = FakeMachine((), None, ("fake",))
    machine.counters = Counted(scope)
    samples, gaps = count_host(machine)
    assert samples == [
        Sample(metric="boot.cycles", value=5e9, labels=labels),
        Sample(metric="boot.energy", value=2.5),
    ]
    assert gaps == [Gap(metric="boot.cache_misses", reason="no such counter")]
    machine.counters = Lacking(reason="it replays")
    assert count_host(machine) == ([], [])


def test_a_report_without_counters_says_nothing_of_them() -> None:
    """Every report would carry a line on what it has no reason for."""
    assert "CPU cycles to ready" not in markdown_of(*make_boot_run({"a": [1.0, 1.1]}))
