"""The figures that a guest's image files tell without being booted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from guestbench.errors import HostError
from guestbench.families.surface.seen import Seen
from guestbench.guest.pristine import inspect_pristine
from guestbench.images.contents.known import TEXTS, Kind
from guestbench.images.inspection import Elf, FileSystem, Gadgets, Inspection, Known
from guestbench.model import Guest, GuestFamily, Kit, Provenance, Role

T = TypeVar("T")

CODE_METRICS = ("surface.code_bytes", "surface.wx_segments", "surface.syscall_handlers")
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


def inspect_files(guest: Guest, scratch: Path, kit: Kit | None) -> Seen:
    """Inspect each of a guest's pristine images. `scratch` has room for a disk's contents.

    Raises:
        ImageError: an image cannot be inspected.
        HostError: a program is missing or fails, or there is no room in `scratch`.
    """
    seen = Seen()
    with_files = False
    programs: list[_Program] = []
    for role in (Role.DISK, Role.INITRD, Role.KERNEL):
        if role not in guest.pristine:
            continue
        try:
            inspection = inspect_pristine(guest, role, kit, scratch)
        except HostError as error:
            # What is on the other images can be told all the same.
            seen.miss(FILE_METRICS, f"unknown: {error.message}")
            with_files = True
            continue
        evidence = f"inspect-{role.value}"
        seen.raw[f"{evidence}.json"] = msgspec.json.format(msgspec.json.encode(inspection), indent=2)
        # The files in a disk and in its initial ramdisk are not one system: the first that has any counts.
        if inspection.files is not None and not with_files:
            with_files = True
            seen.take(describe_files(inspection.files, evidence))
        if inspection.elf is not None:
            programs.append(_Program(role, inspection.elf, evidence))
        seen.take(describe_code(inspection, evidence))
    seen.take(describe_programs(programs, alone=guest.system.family is not GuestFamily.LINUX))
    if not with_files:
        seen.miss(FILE_METRICS, "the image holds no files")
    if not any(sample.metric == CODE_METRICS[0] for sample in seen.samples):
        seen.miss(CODE_METRICS, "the kernel of this system was not taken apart")
    return seen


def add_known(
    seen: Seen,
    metric: str,
    fact: Known[T],
    evidence: str,
    count: Callable[[T], int],
    labels: Mapping[str, str] | None = None,
) -> None:
    """Take a fact of an image as a number, or the reason why it is not known."""
    if fact.value is None:
        seen.miss([metric], f"unknown: {fact.unknown}", labels)
    else:
        seen.add(metric, count(fact.value), evidence, labels=labels)


def describe_files(known: Known[FileSystem], evidence: str) -> Seen:
    """What a root file system holds."""
    seen = Seen()
    files = known.value
    if files is None:
        seen.miss(FILE_METRICS, f"unknown: {known.unknown}")
        return seen
    add_known(seen, "surface.packages", files.packages, evidence, len)
    add_known(seen, "surface.image_suid", files.suid, evidence, len)
    add_known(seen, "surface.image_sgid", files.sgid, evidence, len)
    add_known(seen, "surface.image_capabilities", files.capabilities, evidence, len)
    add_known(seen, "surface.image_world_writable", files.world_writable, evidence, len)
    add_known(seen, "surface.image_users", files.users, evidence, len)
    add_known(seen, "surface.image_units", files.units, evidence, len)
    add_known(seen, "surface.executables", files.executables, evidence, lambda found: found.count)
    add_known(seen, "surface.executable_bytes", files.executables, evidence, lambda found: found.bytes)
    add_known(seen, "surface.image_modules", files.modules, evidence, int)
    config = files.kernel_config.value
    if config is not None:
        seen.add("surface.kernel_options", config.builtin, evidence, labels={"kind": "builtin"})
        seen.add("surface.kernel_options", config.modules, evidence, labels={"kind": "module"})
    return seen


def describe_code(inspection: Inspection, evidence: str) -> Seen:
    """What the code of a Linux kernel or of the programs in a file system offers."""
    seen = Seen()
    if inspection.kernel is not None:
        program, labels = inspection.kernel.program, {"file": "kernel"}
        if program.value is None:
            seen.miss(["surface.gadgets"], f"unknown: {program.unknown}", labels)
        else:
            add_known(seen, "surface.code_bytes", program.value.code_bytes, evidence, int)
            add_known(seen, "surface.wx_segments", program.value.wx_segments, evidence, int)
            add_gadgets(seen, program.value.gadgets, evidence, labels)
    for file in (inspection.code.value or ()) if inspection.code is not None else ():
        add_gadgets(seen, file.gadgets, evidence, {"file": file.name})
    return seen


def add_gadgets(
    seen: Seen, gadgets: Known[Gadgets], evidence: str, labels: Mapping[str, str] | None = None
) -> None:
    """The gadgets of one file."""
    add_known(seen, "surface.gadgets", gadgets, evidence, lambda found: found.places, labels)


def describe_programs(programs: Sequence[_Program], *, alone: bool) -> Seen:
    """What the ELF files of a unikernel tell: its kernel, and the program beside it where that is a file.

    `alone` if they are all the code that there is.
    """
    seen = Seen()
    kernel = next((program for program in programs if program.role is Role.KERNEL), None)
    if kernel is None:
        return seen
    parts = {"program" if part.role is Role.INITRD else "kernel": part for part in reversed(programs)}
    _add_sum(seen, "surface.code_bytes", {n: p.elf.code_bytes for n, p in parts.items()}, kernel.evidence)
    _add_sum(seen, "surface.wx_segments", {n: p.elf.wx_segments for n, p in parts.items()}, kernel.evidence)
    for name, part in parts.items():
        add_gadgets(seen, part.elf.gadgets, part.evidence, {"file": name} if len(parts) > 1 else None)
    add_known(seen, "surface.syscall_handlers", kernel.elf.syscall_handlers, kernel.evidence, int)
    if alone:
        seen.take(_describe_entry(kernel), _describe_known_programs(programs, kernel.evidence))
    return seen


def _add_sum(seen: Seen, metric: str, parts: Mapping[str, Known[int]], evidence: str) -> None:
    """A figure of all the files of an image together, with those of each where there are several."""
    missing = [f"{part}: {known.unknown}" for part, known in parts.items() if known.value is None]
    if missing:
        told = missing[0] if len(parts) > 1 else missing[0].partition(": ")[2]
        seen.miss([metric], f"unknown: {told}")
        return
    values = {part: known.value or 0 for part, known in parts.items()}
    detail = "; ".join(f"{part}: {value}" for part, value in values.items()) if len(values) > 1 else ""
    seen.add(metric, sum(values.values()), evidence, detail=detail)


def _describe_known_programs(programs: Sequence[_Program], evidence: str) -> Seen:
    """Shells and the like in a unikernel, by their texts."""
    seen = Seen()
    unknown = next((part.elf.programs.unknown for part in programs if part.elf.programs.value is None), "")
    texts = {text for part in programs for text in part.elf.programs.value or ()}
    for kind in Kind:
        metric = f"surface.{kind.value}"
        if unknown:
            seen.miss([metric], f"unknown: {unknown}")
            continue
        hits = sorted(name for of_kind, name, _ in TEXTS if of_kind is kind and name in texts)
        detail = ", ".join(hits) or "no texts of such a program are in the image"
        seen.add(metric, len(hits), evidence, detail=detail, provenance=Provenance.DERIVED)
    return seen


def _describe_entry(kernel: _Program) -> Seen:
    """Whether anything traps into a kernel: without code that sets LSTAR, `syscall` leads nowhere."""
    seen = Seen()
    metric, entries = "surface.syscalls", kernel.elf.syscall_entry
    handlers = kernel.elf.syscall_handlers.value
    if entries.value is None:
        seen.miss([metric], f"unknown: {entries.unknown}")
        return seen
    told = "; ".join(f"{count.name}: {count.count}" for count in entries.value)
    if not any(count.count for count in entries.value if "LSTAR" in count.name):
        seen.add(metric, 0, kernel.evidence, detail=told, provenance=Provenance.DERIVED)
    elif handlers:
        detail = f"handlers by their symbols; {told}"
        seen.add(metric, handlers, kernel.evidence, detail=detail, provenance=Provenance.DERIVED)
    else:
        seen.miss([metric], f"unknown: there is code for an entry, its calls do not show ({told})")
    return seen
