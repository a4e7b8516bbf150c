"""Makes what a run needs to give work to its guests: the programs, and their disk; it boots nothing.

Programs are compiled once on the host and are static, so that every guest runs the very same file. The host
runs each of them once itself: what they report then is what they must report in every guest.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from guestbench.definition.workloads import load_workload
from guestbench.errors import HostError, ToolFailed, ToolMissing
from guestbench.guest.contract import find_reports
from guestbench.host import process
from guestbench.model import SERVER, Image, Kit, KitWork, Needs, Say, Workload, WorkReport
from guestbench.provision import cache, ext4
from guestbench.provision.initramfs import DRIVERS_NAME
from guestbench.provision.inspector import build_inspector
from guestbench.provision.plugins import build_histogram
from guestbench.provision.programs import build_program

NATIVE_S = 120.0
DISK_NAME = "kit.ext4"
INITRD_NAME = "initrd.gz"


def prepare_kit(needs: Needs, say: Say) -> Kit:
    """The kit that has all that is needed, from the cache where it is there.

    A program that cannot be built here is told as missing, with the reason; only the C program must be there.

    Raises:
        HostError: gcc or mke2fs is missing or fails; or the cache cannot be written.
    """
    kit = _make_kit(needs, say) if needs.programs else Kit(works=())
    if needs.plugin:
        try:
            kit = msgspec.structs.replace(kit, plugin=cache.read_image(build_histogram(say)))
        except HostError as error:
            kit = msgspec.structs.replace(kit, no_plugin=f"{error.message} (mended by: {error.hint})")
    if needs.inspector:
        try:
            kit = msgspec.structs.replace(kit, inspector=build_inspector(say))
        except HostError as error:
            kit = msgspec.structs.replace(kit, no_inspector=f"{error.message}\n{error.hint}")
    return kit


def _make_kit(needs: Needs, say: Say) -> Kit:
    workloads = [load_workload(name) for name in needs.workloads]
    programs: dict[str, Image] = {}
    missing: dict[str, str] = {}
    for name in dict.fromkeys((SERVER, *(workload.program for workload in workloads))):
        try:
            programs[name] = build_program(name, say)
        except (ToolMissing, HostError) as error:
            if name == SERVER:
                raise
            missing[name] = f"there is no program for it: {error.message} (mended by: {error.hint})"
    works = tuple(
        KitWork(workload=workload, program=program, expected=run_on_host(program, workload))
        if (program := programs.get(workload.program))
        else KitWork(workload=workload, missing=missing[workload.program])
        for workload in workloads
    )
    kit = Kit(works=works, disk=_make_disk(programs, say), server=programs[SERVER])
    return _add_tools(kit, needs.checks, say) if needs.tools else kit


def run_on_host(program: Image, workload: Workload) -> tuple[WorkReport, ...]:
    """What the program reports when this host itself runs it.

    Raises:
        HostError: it fails, reports nothing, or reports work of another name, which would be taken for that.
    """
    done = process.run([program.path, *workload.arguments], timeout_s=NATIVE_S)
    reports = find_reports(done.stdout, lambda _: 0)
    wrong = ""
    if not reports or any(report.end_ns is None for report in reports):
        wrong = "its program reports no work on this host"
    elif other := next((each.workload for each in reports if each.workload != workload.name), ""):
        wrong = f"its program reports work of another, {other!r}"
    if wrong:
        command = shlex.join([program.path, *workload.arguments])
        raise HostError(f"workload {workload.name}: {wrong}", command)
    return reports


# --- disks ------------------------------------------------------------------------------------------------


def _make_disk(programs: Mapping[str, Image], say: Say) -> Image:
    def build(work: Path, say: Say) -> cache.Made:
        tree = work / "tree"
        tree.mkdir()
        for name, image in programs.items():
            shutil.copyfile(image.path, tree / name)
            (tree / name).chmod(0o755)
        ext4.write_image(work / DISK_NAME, tree)
        return cache.Made(files=(DISK_NAME,))

    facts = [{name: image.sha256 for name, image in programs.items()}, ext4.describe_writer()]
    plan = cache.Plan("kit", "writing the disk with the workload programs", build, facts)
    return cache.read_image(cache.make(plan, say).folder / DISK_NAME)


def _add_tools(kit: Kit, checks: tuple[str, ...], say: Say) -> Kit:
    from guestbench.provision.tools_tree import prepare_tools

    try:
        tools = prepare_tools(say)
    except (HostError, ToolFailed) as error:
        return msgspec.structs.replace(kit, no_tools=f"{error.message} (mended by: {error.hint})")
    return msgspec.structs.replace(
        kit,
        tools_disk=cache.read_image(tools.image),
        host_tools={name: tools.host_argv(name) for name in ("iperf3", "wrk")},
        checks=checks,
    )


def add_drivers(initrd: Image, say: Say) -> Image | None:
    """An initial ramdisk with the drivers of a disk appended, which lie beside it; None if none do.

    The kernel unpacks archives one after the other, so that the first is in it unchanged.
    """
    drivers = Path(initrd.path).with_name(DRIVERS_NAME)
    if not drivers.is_file():
        return None

    def build(work: Path, say: Say) -> cache.Made:
        (work / INITRD_NAME).write_bytes(Path(initrd.path).read_bytes() + drivers.read_bytes())
        return cache.Made(files=(INITRD_NAME,))

    doing = "adding drivers for the tools disk to an initial ramdisk"
    plan = cache.Plan("initrd", doing, build, initrd.sha256, {"drivers": drivers})
    return cache.read_image(cache.make(plan, say).folder / INITRD_NAME)
