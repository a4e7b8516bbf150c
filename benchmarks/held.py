"""Tells what holding QEMU costs: boots of `floor` with and without each thing that does, in blocks.

    python benchmarks/held.py [BLOCKS]

It prints the median time from exec to ready as it is, and for each thing by how much boots without it are
faster, block by block, with a 95% interval (bootstrap, seed 1). For a host that does nothing else.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from unittest import mock

import msgspec

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.host.limits import Held, Limits
from guestbench.model import READY, Accel, Guest, Ok, Platform
from guestbench.vmm import LaunchSpec
from guestbench.vmm.qemu import limits, machine

AS_IT_IS, SANDBOX, LIMITS, USER, ALL = "as it is", "the sandbox", "limits", "a user of its own", "all of them"
NO_LIMITS = Limits(cpu_s=1 << 30)


def make_spec(guest: Guest, folder: Path, without: str = AS_IT_IS) -> LaunchSpec:
    """How the guest is started without that."""
    platform = Platform(accel=Accel.TCG, sandbox=without not in (SANDBOX, ALL))
    return LaunchSpec(boot=guest.system.boot, images=guest.images, platform=platform, folder=folder)


def boot(guest: Guest, without: str, folder: Path) -> float:
    """Milliseconds from exec to ready."""

    def hold(spec: LaunchSpec) -> Held:
        held = limits.hold(spec)
        if without in (LIMITS, ALL):
            held = msgspec.structs.replace(held, limits=NO_LIMITS)
        return msgspec.structs.replace(held, user=None) if without in (USER, ALL) else held

    with (
        mock.patch.object(machine, "hold", hold),
        machine.start(make_spec(guest, folder, without)) as started,
    ):
        found = watch_boot(started, guest.system, SerialLog())
    assert isinstance(found.outcome, Ok), found.outcome
    return next(mark.t_ns for mark in found.marks if mark.name == READY) / 1e6


def main() -> None:
    """Print the figures."""
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    catalogue, chance = load_catalogue(), random.Random(1)
    floor = provision.prepare(catalogue["floor"], {}, catalogue, say=print)
    with tempfile.TemporaryDirectory(prefix="guestbench-") as folder:
        held = limits.hold(make_spec(floor, Path(folder)))
        compared = [SANDBOX, LIMITS, *([USER] if held.user is not None else []), ALL]
        print(f"QEMU runs as user {held.user}" if held.user is not None else f"no user: {held.stays}")
        times: dict[str, list[float]] = {what: [] for what in (AS_IT_IS, *compared)}
        for _ in range(blocks):
            for what in chance.sample(list(times), len(times)):
                times[what].append(boot(floor, what, Path(folder)))
    print(f"{AS_IT_IS}: {median(times[AS_IT_IS]):.2f} ms, the median of {blocks} boots")
    for what in compared:
        gains = [slow - fast for slow, fast in zip(times[AS_IT_IS], times[what], strict=True)]
        drawn = sorted(median(chance.choices(gains, k=blocks)) for _ in range(2000))
        print(f"without {what}: {median(gains):+.2f} ms faster ({drawn[50]:+.2f} to {drawn[-51]:+.2f})")


if __name__ == "__main__":
    main()
