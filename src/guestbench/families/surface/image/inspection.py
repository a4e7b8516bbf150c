"""The attack surface that a guest's image files tell without being booted; it starts no VM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from guestbench.families.surface.probe import Findings
from guestbench.images.inspection import (
    Elf,
    FileSystem,
    Gadgets,
    Inspection,
    Known,
    LinuxKernel,
)
from guestbench.images.inspector import inspect_image
from guestbench.model import Guest, GuestFamily, Ok, Provenance, Role, TrialResult

CODE_METRICS = ("surface.code_bytes", "surface.wx_segments", "surface.syscall_handlers")

PROGRAMS = {
    "shells": ("bash", "BusyBox", "dash or ash", "zsh"),
    "interpreters": ("Lua", "Node.js", "OCaml toplevel", "Perl", "Python", "Ruby"),
    "package_managers": ("apk", "apt", "dpkg", "rpm"),
}
"""Which of the programs that `images.code` knows by their texts are what."""

FILE_METRICS = (
    *("surface.packages", "surface.executables", "surface.executable_bytes", "surface.image_suid"),
    *("surface.image_capabilities", "surface.image_world_writable"),
    *("surface.image_sgid", "surface.image_users", "surface.image_modules", "surface.image_units"),
)


class _Program(NamedTuple):
    """An ELF file of an image, and where the evidence of it lies."""

    role: Role
    elf: Elf
    evidence: str


def measure_images(guest: Guest, scratch: Path) -> TrialResult:
    """Inspect each of a guest's pristine images. `scratch` has room for a disk's contents.

    Raises:
        ImageError: an image cannot be inspected.
        HostError: a program is missing or fails, or there is no room in `scratch`.
    """
    found = Findings()
    seen = False
    programs: list[_Program] = []
    for role in (Role.DISK, Role.INITRD, Role.KERNEL):
        if role not in guest.pristine:
            continue
        inspection = inspect_image(Path(guest.pristine[role].path), scratch)
        evidence = f"inspect-{role.value}"
        encoded = msgspec.json.format(msgspec.json.encode(inspection), indent=2)
        found.raw[f"{evidence}.json"] = encoded
        # The files in a disk and in its initial ramdisk are not one system: the first that has any counts.
        if inspection.files is not None and not seen:
            seen = True
            add_files(found, inspection.files, evidence)
        if inspection.elf is not None:
            programs.append(_Program(role, inspection.elf, evidence))
        add_code(found, inspection, evidence)
    add_programs(found, programs, alone=guest.system.family is not GuestFamily.LINUX)
    if not seen:
        found.miss(FILE_METRICS, "the image holds no files")
    if not any(sample.metric == CODE_METRICS[0] for sample in found.samples):
        found.miss(CODE_METRICS, "the kernel of this system was not taken apart")
    return found.to_result(Ok())


def add_files(found: Findings, known: Known[FileSystem], evidence: str) -> None:
    """What a root file system holds."""
    files = known.value
    if files is None:
        found.miss(FILE_METRICS, f"unknown: {known.unknown}")
        return
    for name, listed in (
        ("packages", files.packages),
        ("image_suid", files.suid),
        ("image_sgid", files.sgid),
        ("image_capabilities", files.capabilities),
        ("image_world_writable", files.world_writable),
        ("image_users", files.users),
        ("image_units", files.units),
    ):
        if listed.value is None:
            found.miss([f"surface.{name}"], f"unknown: {listed.unknown}")
        else:
            found.add(f"surface.{name}", len(listed.value), evidence)
    if files.executables.value is None:
        found.miss(FILE_METRICS[1:3], f"unknown: {files.executables.unknown}")
    else:
        found.add("surface.executables", files.executables.value.count, evidence)
        found.add("surface.executable_bytes", files.executables.value.bytes, evidence)
    if files.modules.value is None:
        found.miss(["surface.image_modules"], f"unknown: {files.modules.unknown}")
    else:
        found.add("surface.image_modules", files.modules.value, evidence)
    config = files.kernel_config.value
    if config is not None:
        found.add("surface.kernel_options", config.builtin, evidence, labels={"kind": "builtin"})
        found.add("surface.kernel_options", config.modules, evidence, labels={"kind": "module"})


def add_code(found: Findings, inspection: Inspection, evidence: str) -> None:
    """What the code of a Linux kernel or of the programs in a file system offers."""
    if inspection.kernel is not None:
        add_kernel(found, inspection.kernel, evidence)
    for file in (inspection.code.value or ()) if inspection.code is not None else ():
        add_gadgets(found, file.gadgets, evidence, {"file": file.name})


def add_kernel(found: Findings, kernel: LinuxKernel, evidence: str) -> None:
    """What the program in a bzImage tells."""
    labels = {"file": "kernel"}
    if kernel.program.value is None:
        found.miss(["surface.gadgets"], f"unknown: {kernel.program.unknown}", labels)
        return
    add_segments(found, kernel.program.value, evidence)
    add_gadgets(found, kernel.program.value.gadgets, evidence, labels)


def add_segments(found: Findings, elf: Elf, evidence: str) -> None:
    """What the segments of a kernel tell."""
    _add_sum(found, "code_bytes", {"kernel": elf.code_bytes}, evidence)
    _add_sum(found, "wx_segments", {"kernel": elf.wx_segments}, evidence)


def _add_sum(found: Findings, name: str, parts: Mapping[str, Known[int]], evidence: str) -> None:
    """A figure of all the files of an image together, with those of each where there are several."""
    missing = [f"{part}: {known.unknown}" for part, known in parts.items() if known.value is None]
    if missing:
        told = missing[0] if len(parts) > 1 else missing[0].partition(": ")[2]
        found.miss([f"surface.{name}"], f"unknown: {told}")
        return
    values = {part: known.value or 0 for part, known in parts.items()}
    detail = "; ".join(f"{part}: {value}" for part, value in values.items()) if len(values) > 1 else ""
    found.add(f"surface.{name}", sum(values.values()), evidence, detail=detail)


def add_gadgets(
    found: Findings, known: Known[Gadgets], evidence: str, labels: dict[str, str] | None = None
) -> None:
    """The gadgets of one file."""
    if known.value is None:
        found.miss(["surface.gadgets"], f"unknown: {known.unknown}", labels)
    else:
        found.add("surface.gadgets", known.value.places, evidence, labels=labels)


def add_programs(found: Findings, programs: Sequence[_Program], *, alone: bool) -> None:
    """What the ELF files of a unikernel tell: its kernel, and the program beside it where that is a file.

    `alone` if they are all the code that there is.
    """
    kernel = next((program for program in programs if program.role is Role.KERNEL), None)
    if kernel is None:
        return
    parts = {"program" if part.role is Role.INITRD else "kernel": part for part in reversed(programs)}
    _add_sum(found, "code_bytes", {n: part.elf.code_bytes for n, part in parts.items()}, kernel.evidence)
    _add_sum(found, "wx_segments", {n: part.elf.wx_segments for n, part in parts.items()}, kernel.evidence)
    for name, part in parts.items():
        add_gadgets(found, part.elf.gadgets, part.evidence, {"file": name} if len(parts) > 1 else None)
    handlers = kernel.elf.syscall_handlers
    if handlers.value is None:
        found.miss(["surface.syscall_handlers"], f"unknown: {handlers.unknown}")
    else:
        found.add("surface.syscall_handlers", handlers.value, kernel.evidence)
    if not alone:
        return
    add_entry(found, kernel.elf, kernel.evidence)
    for name, known_names in PROGRAMS.items():
        unknown = next(
            (part.elf.programs.unknown for part in programs if part.elf.programs.value is None), ""
        )
        if unknown:
            found.miss([f"surface.{name}"], f"unknown: {unknown}")
            continue
        texts = [text for part in programs for text in part.elf.programs.value or ()]
        hits = sorted({text for text in texts if text in known_names})
        detail = ", ".join(hits) or "no texts of such a program are in the image"
        found.add(f"surface.{name}", len(hits), kernel.evidence, detail=detail, provenance=Provenance.DERIVED)


def add_entry(found: Findings, elf: Elf, evidence: str) -> None:
    """Whether anything traps into a kernel: without code that sets LSTAR, `syscall` leads nowhere."""
    entries = elf.syscall_entry
    if entries.value is None:
        found.miss(["surface.syscalls"], f"unknown: {entries.unknown}")
        return
    seen = "; ".join(f"{count.name}: {count.count}" for count in entries.value)
    if any(count.count for count in entries.value if "LSTAR" in count.name):
        handlers = elf.syscall_handlers.value
        if handlers:
            detail = f"handlers by their symbols; {seen}"
            found.add("surface.syscalls", handlers, evidence, detail=detail, provenance=Provenance.DERIVED)
            return
        found.miss(
            ["surface.syscalls"], f"unknown: there is code for an entry, its calls do not show ({seen})"
        )
    else:
        found.add("surface.syscalls", 0, evidence, detail=seen, provenance=Provenance.DERIVED)
