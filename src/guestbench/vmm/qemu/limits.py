"""What a QEMU may take of its host, which is more than any trial needs, and as whom it runs."""

from __future__ import annotations

import math
import os
from pathlib import Path

from guestbench.host.facts import QEMU
from guestbench.host.limits import Held, Limits, Stays, choose_user
from guestbench.host.process import find_tool
from guestbench.model import GIB, MIB, Accel, Role
from guestbench.vmm import LaunchSpec, Need
from guestbench.vmm.qemu.command import counts

OWN_MEMORY = 4 * GIB
"""Beside the guest's RAM. Measured under TCG: 0.6 to 1.1 GiB, most of it room for translated code."""
CPU_MEMORY = 64 * MIB
OWN_FILE = GIB
"""Of a state: devices; of a disk's layer: its tables; of what QEMU says on standard error: all."""
TRACED_BYTE = 256
"""What QEMU's trace of the serial port takes for each byte on it, at most."""
MOST_SAID = 64 * MIB
"""A guest that says more has flooded its console."""
HELPERS = 2
"""Threads of QEMU that may be busy beside those of the guest's CPUs."""
THREADS = 256
"""QEMU has up to 64 for each of its files, and some of its own."""
KVM = Path("/dev/kvm")
QCOW2, SIZE_AT = b"QFI\xfb", 24
"""Where a qcow2 file has the size of the disk that it is (QEMU's docs/interop/qcow2.txt)."""


def hold(spec: LaunchSpec) -> Held:
    """How the QEMU that `spec` is started with is held."""
    user = find_user(spec)
    stays = user.reason if isinstance(user, Stays) else ""
    own = None if isinstance(user, Stays) else user
    return Held(limits=find_limits(spec, own_user=own is not None), user=own, stays=stays)


def find_limits(spec: LaunchSpec, *, own_user: bool) -> Limits:
    """What this QEMU may take; processes are counted by user, so that they need one of its own."""
    platform = spec.platform
    memory = platform.memory_mib * MIB
    said = MOST_SAID * (TRACED_BYTE if Need.STAMPS in spec.needs else 1)
    disk = spec.images.get(Role.DISK)
    file = max(memory, _find_disk_bytes(Path(disk.path)) if disk else 0, said) + OWN_FILE
    own = OWN_MEMORY + platform.cpus * CPU_MEMORY
    return Limits(
        cpu_s=math.ceil(spec.longest_s * (platform.cpus + HELPERS)),
        # A further option may ask for more.
        memory_bytes=None if platform.extra else memory + own,
        file_bytes=None if platform.extra else file,
        processes=THREADS + platform.cpus if own_user else None,
    )


def _find_disk_bytes(image: Path) -> int:
    """How large a disk is; 0 where nobody can tell, which is for QEMU to say."""
    try:
        with image.open("rb") as file:
            header = file.read(SIZE_AT + 8)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return 0
    virtual = int.from_bytes(header[SIZE_AT:], "big") if header.startswith(QCOW2) else 0
    return min(max(size, virtual), 1 << 62)


def find_user(spec: LaunchSpec) -> int | Stays:
    """As whom it runs: as root only what could not do its work otherwise."""
    reads = [Path(image.path) for image in spec.images.values()]
    reads += [path for path in (spec.tools, spec.plugin, find_tool(QEMU)) if path is not None]
    writes = [spec.folder] if counts(spec) or Need.STAMPS in spec.needs else []
    if spec.writable:
        writes += [Path(spec.images[Role.DISK].path)] if Role.DISK in spec.images else []
    if spec.platform.accel is Accel.KVM:
        reads.append(KVM)
        writes.append(KVM)
    # With snapshot=on QEMU keeps there what the guest writes.
    if Role.DISK in spec.images:
        writes.append(Path(os.environ.get("TMPDIR") or "/var/tmp"))
    return choose_user(reads, writes, "a further option may need root" if spec.platform.extra else "")
