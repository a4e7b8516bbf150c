"""Writes what an inspection found as text for a terminal; it never reads an image, and concludes nothing.

Every line has the fact and, in brackets, where it comes from; what is unknown has the reason in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from guestbench.images.inspection import (
    CodeFile,
    Elf,
    FileFound,
    FileSystem,
    Gadgets,
    Inspection,
    KernelConfig,
    Known,
    LinuxKernel,
    Partition,
    PasswordState,
    Program,
    User,
)
from guestbench.page.blocks import Bullets, Item, Page, Paragraph, Section
from guestbench.page.numbers import show_bytes_exactly, show_exact, show_share

T = TypeVar("T")
LISTED = 30
"""So many of a list are printed; JSON has all."""
LABEL_WIDTH = 24


def describe_inspection(inspection: Inspection) -> Page:
    """The whole inspection."""
    sections = {
        "Partitions": map(_describe_partition, inspection.partitions or ()),
        "Root file system": _describe_root(inspection.files),
        "Program": _describe_elf(inspection.elf) if inspection.elf else (),
        "Kernel": _describe_kernel(inspection.kernel) if inspection.kernel else (),
        "ROP gadgets": _describe_code(inspection.code),
        "Notes": (_row("note", note, "") for note in inspection.notes),
    }
    found = {title: tuple(facts) for title, facts in sections.items()}
    size = _row("size", show_bytes_exactly(inspection.size_bytes), "length of the file")
    return Page(
        title=f"{inspection.file}: {inspection.kind}, {inspection.detail}",
        blocks=(Bullets((size,)),),
        sections=tuple(
            Section(id=title.lower().replace(" ", "-"), title=title, blocks=(Bullets(facts),))
            for title, facts in found.items()
            if facts
        ),
    )


def _row(label: str, text: str, source: str) -> str:
    return f"{label:<{LABEL_WIDTH}} {text}" + (f"  [{source}]" if source else "")


def _fact(label: str, fact: Known[T], show: Callable[[T], str]) -> str:
    if fact.value is None:
        return _row(label, f"unknown: {fact.unknown}", fact.source)
    return _row(label, show(fact.value), fact.source)


def _list(label: str, fact: Known[tuple[T, ...]], show: Callable[[T], str]) -> Paragraph:
    """A line with the number, then one for each item."""
    items = fact.value or ()
    lines = [_fact(label, fact, lambda items: show_exact(len(items))), *map(show, items[:LISTED])]
    if len(items) > LISTED:
        lines.append(f"… and {show_exact(len(items) - LISTED)} more: --json has all")
    return Paragraph(tuple(lines))


def _describe_partition(partition: Partition) -> str:
    root = ", root file system" if partition.is_root else ""
    content = partition.content or "unknown content"
    purpose = f", {partition.purpose} partition" if partition.purpose else ""
    place = f"{show_bytes_exactly(partition.size_bytes)} from byte {partition.start_bytes}"
    return _row(
        f"volume {partition.volume} in partition {partition.number}"
        if partition.volume
        else f"partition {partition.number}",
        f"{content}, {place}{purpose}{root}",
        f"type {partition.type}" if partition.type else "",
    )


def _describe_root(found: Known[FileSystem] | None) -> Iterator[Item]:
    if found is None:
        return
    if found.value is None:
        yield _row("contents", f"unknown: {found.unknown}", "")
        return
    files = found.value
    yield _fact("distribution", files.distribution, lambda d: d.title)
    yield _fact("packages", files.packages, lambda found: show_exact(len(found)))
    yield _fact(
        "executables",
        files.executables,
        lambda e: f"{show_exact(e.count)} ({e.elf} ELF, {e.scripts} scripts), {show_bytes_exactly(e.bytes)}",
    )
    yield _list("SUID files", files.suid, _describe_file)
    yield _list("SGID files", files.sgid, _describe_file)
    yield _list("files with capabilities", files.capabilities, _describe_file)
    yield _list("world-writable", files.world_writable, _describe_file)
    yield _fact("users", files.users, _describe_users)
    yield _fact("shells", files.shells, _describe_programs)
    yield _fact("interpreters", files.interpreters, _describe_programs)
    yield _fact("package managers", files.package_managers, _describe_programs)
    yield _list("enabled units", files.units, lambda unit: f"{unit.name} (by {unit.wanted_by})")
    yield _fact("kernel modules on disk", files.modules, show_exact)
    yield _fact("kernel", files.kernel, str)
    yield _fact("kernel command line", files.kernel_cmdline, str)
    yield _describe_config(files.kernel_config)


def _describe_file(file: FileFound) -> str:
    owner = f"{file.uid}:{file.gid}"
    return f"{file.mode} {owner:<9} {file.path}" + (f" {file.detail}" if file.detail else "")


def _describe_users(users: tuple[User, ...]) -> str:
    states = [f"{sum(user.password is state for user in users)} {state}" for state in PasswordState]
    empty = [user.name for user in users if user.password is PasswordState.EMPTY]
    return f"{len(users)}; passwords: {', '.join(states)}" + (f"; empty: {', '.join(empty)}" if empty else "")


def _describe_programs(programs: tuple[Program, ...]) -> str:
    """The number of different files, and each with the other names that lead to it."""
    names: dict[str, list[str]] = {}
    for program in programs:
        others = names.setdefault(program.target, [])
        name = program.path.rpartition("/")[2]
        if name != program.target.rpartition("/")[2] and name not in others:
            others.append(name)
    shown = [target + (f" (as {', '.join(others)})" if others else "") for target, others in names.items()]
    return f"{len(shown)}" + (f": {', '.join(shown)}" if shown else "")


def _describe_config(config: Known[KernelConfig]) -> Paragraph:
    first = _fact("kernel configuration", config, lambda c: f"{c.builtin} =y, {c.modules} =m")
    states: dict[str, list[str]] = {}
    for option in config.value.hardening if config.value else ():
        states.setdefault(option.state, []).append(option.name)
    words = {"y": "=y", "m": "=m", "n": "not set", "absent": "not in this kernel"}
    options = (f"{words.get(state, state)}: {' '.join(names)}" for state, names in sorted(states.items()))
    return Paragraph((first, *options))


def _describe_elf(elf: Elf) -> Iterator[Item]:
    yield _row("entry", f"{elf.entry:#x}", "ELF header")
    words = {True: "stripped", False: "not stripped", None: "unknown: the table of sections is cut"}
    yield _row("symbols", words[elf.stripped], "section headers")
    for segment in elf.segments:
        sizes = f"{show_exact(segment.file_bytes)} bytes, {show_exact(segment.memory_bytes)} in memory"
        yield _row(f"segment {segment.flags}", f"{segment.vaddr:#x}: {sizes}", "program header")
    yield _fact("writable and executable", elf.wx_segments, show_exact)
    yield _fact("code", elf.code_bytes, show_bytes_exactly)
    for row in elf.mitigations:
        yield _row(row.name, row.state, row.evidence)
    if elf.syscall_entry.value is None:
        yield _fact("ways in by a trap", elf.syscall_entry, str)
    for count in elf.syscall_entry.value or ():
        yield _row(count.name, show_exact(count.count), elf.syscall_entry.source)
    yield _fact("system call handlers", elf.syscall_handlers, show_exact)
    yield _fact("shells and the like", elf.programs, lambda names: ", ".join(names) or "none found")
    yield _list("symbols by family", elf.symbols, lambda each: f"{each.name}: {show_exact(each.count)}")
    yield _list("libraries", elf.libraries, lambda each: f"{each.name} ({show_exact(each.count)})")
    yield _fact("ROP gadgets", elf.gadgets, _describe_gadgets)


def _describe_kernel(kernel: LinuxKernel) -> Iterator[Item]:
    yield _fact("version", kernel.version, str)
    if kernel.cmdline is not None:
        yield _fact("command line", kernel.cmdline, str)
    yield _describe_config(kernel.config)
    if kernel.program.value is None:
        yield _fact("compressed kernel", kernel.program, str)
    else:
        yield _row("compressed kernel", kernel.program.value.machine, kernel.program.source)
        yield from _describe_elf(kernel.program.value)


def _describe_code(code: Known[tuple[CodeFile, ...]] | None) -> Iterator[Item]:
    if code is not None and code.value is None:
        yield _row("programs", f"unknown: {code.unknown}", code.source)
    elif code is not None:
        yield from (_fact(row.name, row.gadgets, _describe_gadgets) for row in code.value or ())


def _describe_gadgets(gadgets: Gadgets) -> str:
    about = "" if gadgets.share == 1 else "about "
    distinct = "" if gadgets.distinct is None else f", {show_exact(gadgets.distinct)} of them distinct"
    looked = "" if gadgets.share == 1 else f" ({show_share(gadgets.share)} looked at)"
    return f"{about}{show_exact(gadgets.places)}{distinct}; {show_exact(gadgets.returns)} returns{looked}"
