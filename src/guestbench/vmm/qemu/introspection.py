"""Looks at a running QEMU's guest through its monitor. See `guestbench.vmm.Introspection`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from guestbench.errors import HostError
from guestbench.model import Unknown
from guestbench.model.machine import Listing, Mode, Registers, View, VirtioDevice
from guestbench.vmm import Lacking
from guestbench.vmm.qemu.migration import read_version
from guestbench.vmm.qemu.monitor import (
    is_driven,
    parse_devices,
    parse_dump,
    parse_forwards,
    parse_listing,
    parse_registers,
    parse_views,
)
from guestbench.vmm.qemu.qmp import Qmp

NOTHING = "QEMU's answer has not the form that is read"
NO_SUMS = (
    "QEMU's `info mem` takes present for absent in 5-level tables, and searches what is not there for 20 s"
)

T = TypeVar("T")


ENDS_AT_VIRTIO = (11, 0)
"""From here on `x-query-virtio-status` ends QEMU, and the guest with it; seen with 11.1.3."""


class Monitor:
    """A guest as QEMU's monitor shows it; an answer takes about 10 ms."""

    def __init__(self, qmp: Qmp) -> None:
        self._qmp = qmp
        self.evidence: dict[str, bytes] = {}

    def _ask(self, line: str, name: str = "") -> str:
        """What QEMU's monitor prints for a command line, with plain newlines; evidence if it has a name."""
        answer = self._qmp.command("human-monitor-command", **{"command-line": line})
        if not isinstance(answer, str):
            raise HostError(f"QEMU's monitor did not answer {line!r} with text", "guestbench doctor")
        text = answer.replace("\r\n", "\n")
        if name:
            self.evidence[name] = text.encode()
        return text

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Keep the guest stopped; on leaving it goes on, unless it was not running before."""
        status = self._qmp.command("query-status")
        runs = isinstance(status, dict) and status.get("running") is True
        if runs:
            self._qmp.command("stop")
        try:
            yield
        finally:
            if runs:
                self._qmp.command("cont")

    def read_registers(self) -> Registers | Unknown:
        """The first CPU's registers."""
        return parse_registers(self._ask("info registers", "registers"))

    def read_memory(self, address: int, items: int, item_bytes: int) -> dict[int, int] | None:
        """Numbers in physical memory that are not 0, by their address; None where there is none."""
        unit = "w" if item_bytes == 4 else "g"
        return parse_dump(self._ask(f"xp /{items}{unit}x {address:#x}"), item_bytes)

    def list_mappings(self, mode: Mode) -> Listing:
        """What `info tlb` and `info mem` list. The client takes no answer above 10 MiB, 48 bytes a line."""
        tlb = self._ask("info tlb", "tlb")
        if mode is Mode.LEVELS_5:
            return parse_listing(tlb, Unknown(reason=NO_SUMS))
        return parse_listing(tlb, self._ask("info mem", "mem"))

    def read_ram_bytes(self) -> int | Unknown:
        """How much RAM the guest was started with."""
        answer = self._qmp.command("query-memory-size-summary")
        ram_bytes = answer.get("base-memory") if isinstance(answer, dict) else None
        return ram_bytes if isinstance(ram_bytes, int) else Unknown(reason="QEMU does not say how much RAM")

    def list_devices(self) -> tuple[str, ...] | Unknown:
        """The types of the devices of `info qtree`."""
        return _try(lambda: parse_devices(self._ask("info qtree", "devices")))

    def list_views(self) -> tuple[View, ...] | Unknown:
        """The address spaces of `info mtree -f`."""
        return _try(lambda: parse_views(self._ask("info mtree -f", "regions")))

    def list_virtio(self) -> tuple[VirtioDevice, ...] | Unknown:
        """The virtio devices; QEMU tells of them since 7.2."""
        try:
            if read_version(self._qmp) >= ENDS_AT_VIRTIO:
                return Unknown(reason="QEMU 11 ends by an assertion of its own when it is asked")
            listing = self._qmp.command("x-query-virtio")
            return tuple(
                VirtioDevice(
                    name=str(each.get("name", "")),
                    driven=is_driven(
                        self._qmp.command("x-query-virtio-status", path=str(each.get("path", "")))
                    ),
                )
                for each in (listing if isinstance(listing, list) else ())
                if isinstance(each, dict)
            )
        except HostError as error:
            return Unknown(reason=error.message)


def _try(question: Callable[[], tuple[T, ...]]) -> tuple[T, ...] | Unknown:
    try:
        return question() or Unknown(reason=NOTHING)
    except HostError as error:
        return Unknown(reason=error.message)


def find_forwards(qmp: Qmp, wanted: Sequence[int]) -> dict[int, int] | Lacking:
    """Ports of this host that lead to the guest, by the guest's. Raises HostError as `Qmp.command` does."""
    answer = qmp.command("human-monitor-command", **{"command-line": "info usernet"})
    found = parse_forwards(str(answer))
    return found if set(wanted) <= set(found) else Lacking(reason="QEMU does not say which ports it forwards")
