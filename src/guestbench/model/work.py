"""Work that guests are given, and what a guest says it has done; no type here measures or judges."""

from __future__ import annotations

from guestbench.model.base import Frozen
from guestbench.model.kinds import Argument, FileName, Line, Seconds
from guestbench.model.system import Image

SERVER = "guestwork"
"""The C workload program, which also serves TCP connections."""
TOOL_DRIVERS = "etc/tool-drivers"
"""In an archive of drivers for a disk of tools: the paths of its modules in load order, a line each."""


class Workload(Frozen):
    """A piece of work, the same on every guest: a row of the workload table.

    `program` is a file of the kit, started with `arguments`. `metric` is a rate: what is done, in `unit`, a
    second; `labels` are those parameters of the work that tell several samples apart.
    """

    name: FileName
    title: Line
    program: FileName
    metric: FileName
    unit: Line
    arguments: tuple[Argument, ...] = ()
    labels: tuple[str, ...] = ()
    timeout_s: Seconds = 120.0
    help: str = ""


class WorkReport(Frozen):
    """What a guest said of one piece of work, and when: nanoseconds since the exec of the VMM.

    `parameters` are all those of the work. `source`, `compiler`, `flags` and `digest` are empty where the
    guest did not say. `guest_ns` is the time by its own clock. Without `end_ns` it was not finished. `unread`
    is what stood in the place of `done` and is no number.
    """

    workload: str
    begin_ns: int
    end_ns: int | None = None
    parameters: dict[str, str] = {}
    source: str = ""
    compiler: str = ""
    flags: str = ""
    done: int | None = None
    digest: str = ""
    guest_ns: int | None = None
    unread: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it took by the host's clock."""
        return None if self.end_ns is None else (self.end_ns - self.begin_ns) / 1e9

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What the work was: its name and its parameters."""
        return self.workload, tuple(sorted(self.parameters.items()))


class KitWork(Frozen):
    """A workload as this run has it.

    `program` is the file that Linux guests run, None if there is none, and `missing` why. `expected` is what
    the very same file reported when the host itself ran it: what every guest must say it has done.
    """

    workload: Workload
    program: Image | None = None
    expected: tuple[WorkReport, ...] = ()
    missing: str = ""


class Inspector(Frozen):
    """What looks into disks: the kernel and initial ramdisk of a guest, and the folder for what it found."""

    kernel: Image
    initrd: Image
    kept: str


class Kit(Frozen):
    """What a run has to give work to guests: a disk with the programs, and the workloads.

    `disk` is None if no program could be built. `tools_disk` has a tree of known tools for the cross-checks
    named in `checks`, and `host_tools` the beginnings of the command lines that run them on the host;
    `no_tools` says why there are none. `plugin` is what a VMM loads to count instructions, and `no_plugin`
    says why there is none. `inspector` looks into disks, and `no_inspector` says why it is not there, with
    the line that mends it behind a newline.
    """

    works: tuple[KitWork, ...]
    disk: Image | None = None
    server: Image | None = None
    tools_disk: Image | None = None
    host_tools: dict[str, tuple[str, ...]] = {}
    checks: tuple[str, ...] = ()
    no_tools: str = ""
    plugin: Image | None = None
    no_plugin: str = ""
    inspector: Inspector | None = None
    no_inspector: str = ""

    @property
    def files(self) -> tuple[Image, ...]:
        """All files of it that trials use."""
        programs = (work.program for work in self.works)
        return tuple(filter(None, (self.disk, self.server, self.tools_disk, self.plugin, *programs)))

    def find(self, name: str) -> KitWork | None:
        """The workload of that name, or None."""
        return next((work for work in self.works if work.workload.name == name), None)
