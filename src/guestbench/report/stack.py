"""Writes what each layer of each system costs into a document, between two markers; it touches nothing else.

The text around the markers is its author's. A file whose markers are missing, doubled or out of order is
refused as it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from guestbench.analysis.findings import Findings
from guestbench.errors import UsageError
from guestbench.families.boot import READY
from guestbench.families.boot.findings import find_layers
from guestbench.families.memory import IDLE, LEAST, TOUCHED
from guestbench.model import GuestFamily
from guestbench.page.blocks import Code, Paragraph, Section, Table
from guestbench.page.figures import show_amount, tabulate
from guestbench.page.numbers import NOTHING, show_bytes, show_kib, show_mean
from guestbench.report import replace_file
from guestbench.report.markdown import render_blocks, render_section

BEGIN = "<!-- guestbench: begin of measured figures; guestbench report writes them -->"
END = "<!-- guestbench: end of measured figures -->"


def update_stack(path: Path, found: Findings) -> None:
    """Replace what stands between the markers of `path` by the figures of a run.

    Raises:
        UsageError: the file cannot be read or written, or its markers are damaged; it is left as it was.
    """
    shown = shlex.quote(str(path))
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}", f"ls -l {shown}") from None
    begin, end = text.find(BEGIN), text.find(END)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or end < begin:
        raise UsageError(
            f"{path} does not have one line {BEGIN!r} and one line {END!r} after it",
            f"grep -n 'guestbench:' {shown}",
        )
    block = render_stack(found)
    try:
        replace_file(path, f"{text[: begin + len(BEGIN)]}\n\n{block}\n{text[end:]}".encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"ls -ld {shown}") from None


def render_stack(found: Findings) -> str:
    """The block: what all systems share, then each system's layers from the application down."""
    header, host = found.header, found.header.host
    about = (
        f"Measured on {host.cpu_model}, {host.cpus} logical CPUs, with guestbench {header.tool}, run ",
        Code(header.run),
        ". Times are means ± SD of the boots that passed the layer.",
    )
    sections = (_describe_shared(found), *_describe_systems(found))
    parts = (render_blocks((Paragraph((about,)),)), *(render_section(each, 3) for each in sections))
    return "\n\n".join(parts) + "\n"


def _describe_shared(found: Findings) -> Section:
    header, host, platform = found.header, found.header.host, found.header.platform
    floors = [system.name for system in header.systems if system.family is GuestFamily.FLOOR]
    floor = _show_ready(found, floors[0]) if floors else NOTHING
    machine = f"The machine and its devices; CPU by {header.accel.used.value}."
    rows = (
        (
            "Firmware (SeaBIOS)",
            "Finds the devices, and the kernel or the disk.",
            f"{floor}, with {header.vmm}'s start",
        ),
        (f"{header.vmm} {host.vmm_version}", machine, "in the above"),
        (f"Linux {host.kernel}", "The host's kernel.", NOTHING),
        (host.cpu_model, "The hardware.", NOTHING),
    )
    size = f" with {platform.memory_mib} MiB and {platform.cpus} CPU."
    about = Paragraph((("The machine is ", Code(platform.machine), size),))
    return Section("shared", "Shared by all", (Table(("Layer", "What it does", "Boot"), rows, 2), about))


def _describe_systems(found: Findings) -> Iterator[Section]:
    layers = find_layers(found.header, found.records)
    for system in found.header.systems:
        if system.name not in layers:
            continue
        least, touched = found.find(system.name, LEAST), found.find(system.name, TOUCHED, IDLE)
        whole = (
            f"From the exec of {found.header.vmm} to ready: {_show_ready(found, system.name)}. "
            f"Least RAM: {show_amount(least.median if least else None, 'MiB')}; "
            f"RAM touched when idle: {show_kib(touched.median if touched else None)}."
        )
        table = tabulate(
            reversed(layers[system.name]),
            {
                "Layer": lambda cost: cost.layer.name,
                "What it does": lambda cost: cost.layer.help,
                "Boot": lambda cost: show_mean(cost.mean, cost.sd),
                "Size in the image": lambda cost: show_bytes(cost.size_bytes),
            },
            words=2,
        )
        title = f"{system.title} (", Code(system.name), ")"
        yield Section(system.name, title, (table, Paragraph((whole,))))


def _show_ready(found: Findings, system: str) -> str:
    ready = found.find(system, READY)
    return show_mean(ready.mean, ready.sd) if ready else NOTHING
