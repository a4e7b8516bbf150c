"""Chooses the accelerator by booting the very guests that are to be measured; it measures nothing.

`/dev/kvm` proves nothing: nested and software KVM exist that run a few instructions and then hang.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from guestbench.errors import HostError
from guestbench.model import Accel, AccelChoice, Guest, GuestFamily, Ok, Outcome, Platform, Say

KVM_DEVICE = Path("/dev/kvm")
KVM_SPEEDUP = 5
"""Timeouts in `system.toml` allow for TCG; a KVM that is not this much faster than that is of no use."""
QUICK_BOOTS = 3
"""How often the quickest guest must boot: a broken KVM boots tiny guests now and then."""

TryBoot = Callable[[Guest, Platform], Outcome]


def choose_accel(platform: Platform, guests: Sequence[Guest], try_boot: TryBoot, say: Say) -> AccelChoice:
    """The accelerator for all guests, and why. `auto` is KVM where every guest gets ready with it.

    Raises:
        HostError: KVM was asked for and does not work.
    """
    if platform.accel is Accel.TCG:
        return AccelChoice(requested=platform.accel, used=Accel.TCG, reason="asked for")
    obstacle = find_kvm_obstacle(platform, guests, try_boot, say)
    if platform.accel is Accel.KVM:
        if obstacle:
            raise HostError(f"KVM does not work here: {obstacle}", "guestbench run --accel tcg")
        return AccelChoice(requested=Accel.KVM, used=Accel.KVM, reason="asked for")
    if obstacle:
        say(f"using TCG (software emulation): {obstacle}")
        return AccelChoice(requested=Accel.AUTO, used=Accel.TCG, reason=obstacle)
    return AccelChoice(
        requested=Accel.AUTO, used=Accel.KVM, reason="every guest of the experiment got ready under KVM"
    )


def find_kvm_obstacle(platform: Platform, guests: Sequence[Guest], try_boot: TryBoot, say: Say) -> str:
    """Why KVM cannot be used for these guests on this host; empty if it can."""
    if not KVM_DEVICE.exists():
        return f"{KVM_DEVICE} does not exist"
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return f"no permission to open {KVM_DEVICE}"
    with_kvm = msgspec.structs.replace(platform, accel=Accel.KVM)
    # A Linux guest shows soonest that it does not work: tiny ones get ready on many that are broken.
    quickest_first = sorted(guests, key=lambda guest: guest.system.timeout_s)
    linux = [guest for guest in quickest_first if guest.system.family is GuestFamily.LINUX]
    telling_first = sorted(quickest_first, key=lambda guest: guest not in linux[:1])
    for guest in (*telling_first, *quickest_first[:1] * (QUICK_BOOTS - 1)):
        hurried = msgspec.structs.replace(guest.system, timeout_s=guest.system.timeout_s / KVM_SPEEDUP)
        say(f"trying KVM with {guest.system.name}")
        outcome = try_boot(msgspec.structs.replace(guest, system=hurried), with_kvm)
        if not isinstance(outcome, Ok):
            return f"{guest.system.name} did not get ready under KVM: {outcome.reason}"
    return ""
