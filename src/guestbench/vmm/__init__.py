"""What a virtual machine monitor is to guestbench; names no particular one and starts nothing itself.

A VMM is a module of this package with a function `start` of the shape `Start`, named in `model.Vmm`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from guestbench.model import (
    Boot,
    Frozen,
    Image,
    Platform,
    Role,
    Vmm,
)

if TYPE_CHECKING:
    from guestbench.vmm.link import Link


class Chunk(Frozen):
    """Bytes that arrived together on the serial console, `t_ns` after the exec of the VMM.

    No bytes means that the VMM closed the console: nothing more will come.
    """

    t_ns: int
    data: bytes


Meanwhile = Callable[[], float]
"""What to do while a guest is waited for. Returns in how many seconds it wants to be called again."""


TOOLS_SERIAL = "guestbench"
"""The serial number by which a guest finds the tools disk among its disks."""


class LaunchSpec(Frozen):
    """What to start: a guest's boot method and image files on a platform.

    `folder` receives what the VMM itself prints. `writable` lets the guest change its disk for good:
    only for overlays of our own. `qmp` opens a QMP connection. `observed` makes the guest's memory
    countable (see `Machine.footprint`) and lets the memory of a guest that powers off be counted still.
    `stays` keeps the VMM when the guest powers off, so that it can be looked at still.
    `resume` goes on from a state that `Machine.save_state` wrote, with the same options and the same disk.
    `link` puts us at the other end of the guest's network link (see `Machine.link`), in the place of the
    platform's network: the guest has the same device. It may differ between a state and what goes on from it.
    `tools` is a raw disk that the guest may only read, with the serial number `TOOLS_SERIAL`. `forwards` are
    TCP ports of the guest that can be reached from this host (see `Machine.forwarded`); they too may differ.
    """

    boot: Boot
    images: dict[Role, Image]
    platform: Platform
    folder: Path
    writable: bool = False
    qmp: bool = False
    observed: bool = False
    stays: bool = False
    resume: Path | None = None
    link: bool = False
    tools: Path | None = None
    forwards: tuple[int, ...] = ()


class Footprint(Frozen):
    """What a machine takes of the host's memory now, in KiB.

    `guest_kib` is the guest RAM that was ever touched, by the guest, its firmware or its devices; `vmm_kib`
    the VMM's own memory, pages shared with other processes counted by their share (PSS).
    """

    guest_kib: int
    vmm_kib: int


class Qmp(Protocol):
    """A QMP connection to a running VMM."""

    def command(self, name: str, **arguments: object) -> object:
        """Send one command and return its `return` value."""


class Machine(Protocol):
    """A running virtual machine. Times are nanoseconds since the exec of its VMM."""

    @property
    def argv(self) -> tuple[str, ...]:
        """The exact command line."""

    @property
    def pid(self) -> int | None:
        """The VMM's process id, if it has one."""

    @property
    def qmp(self) -> Qmp:
        """The QMP connection. Raises RuntimeError if the launch did not ask for one."""

    @property
    def link(self) -> Link | None:
        """The other end of the guest's network link; None if it has none, or the launch asked for none."""

    @property
    def forwarded(self) -> Mapping[int, int]:
        """Ports on 127.0.0.1 by the guest's ports that they lead to; those that the launch asked for."""

    def now_ns(self) -> int:
        """The time now, on the clock that stamps the serial console."""

    def read_serial(self, timeout_s: float) -> Chunk | None:
        """The next bytes of the serial console, stamped on arrival; None if none came in time."""

    def write_serial(self, data: bytes) -> None:
        """Type on the serial console."""

    def cpu_ns(self) -> int | None:
        """CPU time the VMM has used so far, or None where there is no such thing."""

    def footprint(self) -> Footprint | None:
        """What it takes of the host's memory; None if the launch did not ask for it to be observed."""

    def balloon(self) -> dict[str, int]:
        """What the guest's balloon driver says of its memory, in KiB by the statistic's name; maybe empty."""

    def save_state(self, file: Path) -> None:
        """Stop the machine for good and write its state, from which another can be resumed.

        Raises:
            HostError: the state cannot be written, or this VMM writes none.
        """

    def exit_status(self) -> int | None:
        """The VMM's exit status (negative: the signal), or None while it runs."""

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the VMM to exit; its exit status, or None if it still runs after `timeout_s`."""

    def complaint(self) -> str:
        """What the VMM printed about itself, as printable text; empty if nothing."""


class Start(Protocol):
    """A VMM's one function: start a machine, and end it on leaving the context."""

    def __call__(self, spec: LaunchSpec) -> AbstractContextManager[Machine]:
        """Start `spec`."""


def find_vmm(vmm: Vmm) -> Start:
    """The `start` function of a VMM's module."""
    return cast(Start, import_module(f"guestbench.vmm.{vmm.value}").start)
