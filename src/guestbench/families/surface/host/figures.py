"""The figures of what lies between a guest and its host: devices, their regions, how the VMM is held."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.families.surface.host.confinement import read_confinement
from guestbench.families.surface.seen import Seen, name_some
from guestbench.model import Unknown
from guestbench.model.machine import MEMORY, PORTS, RegionKind, View
from guestbench.vmm import Introspection, Lacking, Machine

EVIDENCE = ("devices", "regions")
IO_METRICS = {"surface.pio_bytes": PORTS, "surface.mmio_bytes": MEMORY}


def find_host_side(machine: Machine) -> Seen:
    """What the guest can reach of its host through the VMM, and what the VMM's process may do."""
    seen = Seen()
    if isinstance(machine.introspection, Lacking):
        metrics = ["surface.devices", *IO_METRICS, "surface.virtio_driven"]
        seen.miss(metrics, machine.introspection.reason)
    else:
        seen.take(_find_devices(machine.introspection))
    held = read_confinement(machine.pid, machine.sandbox)
    seen.add("surface.sandbox", held.sandbox, detail=machine.sandbox)
    seen.add(
        "surface.vmm_root",
        held.uid if isinstance(held.uid, Unknown) else held.uid == 0,
        detail=machine.stays if held.uid == 0 else "",
    )
    limits = held.limits
    seen.add(
        "surface.vmm_limits",
        limits if isinstance(limits, Unknown) else len(limits),
        detail="" if isinstance(limits, Unknown) else ", ".join(limits),
    )
    rights = held.capabilities
    seen.add("surface.vmm_capabilities", rights if isinstance(rights, Unknown) else rights.bit_count())
    return seen


def _find_devices(guest: Introspection) -> Seen:
    seen = Seen()
    devices = guest.list_devices()
    seen.add("surface.devices", devices if isinstance(devices, Unknown) else len(devices), "devices")
    views = guest.list_views()
    for metric, space in IO_METRICS.items():
        seen.add(metric, views if isinstance(views, Unknown) else _count_io(views, space), "regions")
    seen.keep({name: said for name, said in guest.evidence.items() if name in EVIDENCE})
    virtio = guest.list_virtio()
    if isinstance(virtio, Unknown):
        seen.miss(["surface.virtio_driven"], virtio.reason)
    else:
        driven = [device.name for device in virtio if device.driven is True]
        seen.add("surface.virtio_driven", len(driven), detail=name_some(driven))
    return seen


def _count_io(views: Sequence[View], space: str) -> int | Unknown:
    for view in views:
        if space in view.spaces:
            return view.size_bytes.get(RegionKind.DEVICE, 0)
    return Unknown(reason=f"the VMM lists no address space {space!r}")
