"""Texts about the catalogue for `guestbench systems`, and guests booted on the terminal; measures nothing."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from guestbench import provision
from guestbench.definition.load import (
    LIST_SYSTEMS,
    Catalogue,
    find_system,
    list_workloads,
    load_catalogue,
    load_workload,
    system_folder,
)
from guestbench.errors import GuestbenchError, UsageError
from guestbench.guest.shell import Answer, open_shell
from guestbench.host import facts as host
from guestbench.host import process
from guestbench.model import (
    Accel,
    Frozen,
    Platform,
    Say,
    System,
)
from guestbench.vmm import LaunchSpec, find_vmm
from guestbench.vmm.qemu.machine import build_interactive_argv
from guestbench.vmm.serial import SerialLog

COMMAND_S = 3600.0


class Entry(Frozen):
    """A system of the catalogue and the state of its images: `images` is empty where there are none."""

    name: str
    family: str
    title: str
    images: str
    missing: str


def list_entries(catalogue: Catalogue) -> tuple[Entry, ...]:
    """Every system with the state of its images; one whose file is broken says so in `missing`."""
    return tuple(_describe(name, catalogue) for name in catalogue)


def _describe(name: str, catalogue: Catalogue) -> Entry:
    try:
        system = catalogue[name]
    except GuestbenchError as error:
        return Entry(name=name, family="?", title="?", images="", missing=error.messages[0])
    try:
        guest = provision.locate(system, {}, catalogue)
    except GuestbenchError as error:
        images, missing = "", f"{error.message}; {error.hint}"
    else:
        images, missing = f"{guest.origin.kind}: {guest.origin.detail}", ""
    return Entry(name=name, family=system.family, title=system.title, images=images, missing=missing)


def render_list(as_json: bool) -> str:
    """The catalogue as a table, or as JSON with the fields of `Entry`."""
    entries = list_entries(load_catalogue())
    if as_json:
        return msgspec.json.format(msgspec.json.encode(entries), indent=2).decode()
    rows = [(e.name, e.family, e.images or f"no image: {e.missing}") for e in entries]
    return "\n".join(align(rows))


class WorkEntry(Frozen):
    """A workload and the systems of the catalogue that can do it."""

    name: str
    title: str
    metric: str
    unit: str
    program: str
    arguments: tuple[str, ...]
    systems: tuple[str, ...]


def render_workloads(as_json: bool) -> str:
    """The workloads as a table, or as JSON with the fields of `WorkEntry`."""
    catalogue = load_catalogue()
    able: dict[str, list[str]] = {}
    for name in catalogue:
        with contextlib.suppress(GuestbenchError):
            for workload in catalogue[name].workloads:
                able.setdefault(workload, []).append(name)
    entries = []
    for name in list_workloads():
        found = load_workload(name)
        entries.append(
            WorkEntry(
                name=name,
                title=found.title,
                metric=found.metric,
                unit=f"{found.unit}/s",
                program=found.program,
                arguments=found.arguments,
                systems=tuple(able.get(name, ())),
            )
        )
    if as_json:
        return msgspec.json.format(msgspec.json.encode(entries), indent=2).decode()
    rows = [(e.name, e.title, " ".join((e.program, *e.arguments)), ", ".join(e.systems)) for e in entries]
    return "\n".join(align(rows))


def align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=False)), row[-1]]) for row in rows
    ]


def render_system(name: str) -> str:
    """A system's definition as JSON, and where its images come from."""
    catalogue = load_catalogue()
    system = find_system(name, catalogue, Path.cwd())
    state: dict[str, object] = {"system": system}
    try:
        guest = provision.locate(system, {}, catalogue, folder=system_folder(name))
    except GuestbenchError as error:
        state["images"] = None
        state["missing"] = {"error": error.message, "hint": error.hint}
    else:
        state["images"] = guest.pristine
        state["origin"] = guest.origin
    return msgspec.json.format(msgspec.json.encode(state), indent=2).decode()


def boot_interactively(name: str, image: Path | None, accel: Accel, say: Say) -> int:
    """Boot a guest with its serial console on this terminal; changes to its disk are thrown away.

    Returns QEMU's exit status.

    Raises:
        UsageError: there is no such system, or its image cannot boot.
        ToolMissing: QEMU is not installed.
    """
    catalogue = load_catalogue()
    system = find_system(name, catalogue, Path.cwd())
    given = {system.name: image} if image else {}
    guest = provision.prepare(system, given, catalogue, say=say, build=False, folder=system_folder(name))
    provision.check(guest)
    with tempfile.TemporaryDirectory(prefix="guestbench-") as folder:
        spec = LaunchSpec(
            boot=guest.system.boot, images=guest.images, platform=Platform(accel=accel), folder=Path(folder)
        )
        say(f"booting {system.name}; Ctrl-A X leaves")
        return process.run_in_foreground(build_interactive_argv(spec))


def execute(name: str, image: Path | None, accel: Accel, command: str, say: Say) -> Answer:
    """Run a shell command in a guest that has just got ready, and throw away what it changes.

    The first time the guest is booted and a snapshot kept, from which later calls go on.

    Raises:
        UsageError: there is no such system, it has no login, or its image cannot boot.
        TrialError: it does not get ready, or no shell answers.
        HostError: this host cannot run it.
    """
    catalogue = load_catalogue()
    system = find_system(name, catalogue, Path.cwd())
    if system.login is None:
        raise UsageError(
            f"system {system.name} has no [login]: nothing says how to get a shell", LIST_SYSTEMS
        )
    given = {system.name: image} if image else {}
    guest = provision.prepare(system, given, catalogue, say=say, build=False, folder=system_folder(name))
    provision.check(guest)
    platform = Platform(accel=accel)
    guest = provision.settle(guest, platform, say)
    snapshot = provision.take_snapshot(guest, platform, host.find_qemu_version(), say)
    with (
        tempfile.TemporaryDirectory(prefix="guestbench-") as folder,
        find_vmm(platform.vmm)(snapshot.launch_spec(Path(folder))) as machine,
    ):
        return open_shell(machine, system.login, SerialLog()).run(command, timeout_s=COMMAND_S)


def provide(name: str, way: str, say: Say) -> tuple[str, ...]:
    """Build or fetch the images of a system; the paths of its image files.

    Raises:
        UsageError: there is no such system, or no such way for it.
        HostError: this host cannot do it.
    """
    catalogue = load_catalogue()
    system: System = find_system(name, catalogue, Path.cwd())
    if way == "build":
        guest = provision.build(system, catalogue, say, folder=system_folder(name))
    else:
        guest = provision.fetch(system, say)
    return tuple(image.path for image in guest.pristine.values())
