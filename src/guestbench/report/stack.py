"""Writes what each layer of each system costs into a document, between two markers; it touches nothing else.

The text around the markers is its author's. A file whose markers are missing, doubled or out of order is
refused as it is.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from guestbench.analysis.summary import READY, find_summary, summarise
from guestbench.errors import UsageError
from guestbench.families.boot.layers import LayerCost, find_layers
from guestbench.model import GuestFamily, Header, Record
from guestbench.page.escape import code, escape
from guestbench.page.numbers import NOTHING, show_bytes, show_mean
from guestbench.page.table import Table
from guestbench.report.results import list_systems, memory_cells

BEGIN = "<!-- guestbench: begin of measured figures; guestbench report writes them -->"
END = "<!-- guestbench: end of measured figures -->"


def update_stack(path: Path, header: Header, records: Sequence[Record]) -> None:
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
    block = render_stack(header, records)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(f"{text[: begin + len(BEGIN)]}\n\n{block}\n{text[end:]}", "utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"ls -ld {shown}") from None


def render_stack(header: Header, records: Sequence[Record]) -> str:
    """The block: what all systems share, then each system's layers from the application down."""
    host, platform = header.host, header.platform
    lines = [
        f"Measured on {escape(host.cpu_model)}, {host.cpus} logical CPUs, with guestbench "
        f"{escape(header.tool)}, run {code(header.run)}. "
        "Times are means ± SD of the boots that passed the layer.",
        "",
        "### Shared by all",
        "",
        _shared_table(header, records).render(),
        "",
        f"The machine is {code(platform.machine)} with {platform.memory_mib} MiB and {platform.cpus} CPU.",
    ]
    summaries = summarise(header, records)
    for system in list_systems(header):
        costs = find_layers(header, records).get(system.name)
        if not costs:
            continue
        least, touched = memory_cells(summaries, system.name)
        lines += ["", f"### {escape(system.title)} ({code(system.name)})", "", _table(costs).render(), ""]
        ready = find_summary(summaries, system.name, READY)
        whole = show_mean(ready.mean, ready.sd) if ready else NOTHING
        lines += [
            f"From the exec of QEMU to ready: {whole}. Least RAM: {least}; RAM touched when idle: {touched}."
        ]
    return "\n".join([*lines, ""])


def _shared_table(header: Header, records: Sequence[Record]) -> Table:
    floors = [guest.system.name for guest in header.guests if guest.system.family is GuestFamily.FLOOR]
    ready = find_summary(summarise(header, records), floors[0], READY) if floors else None
    floor = show_mean(ready.mean, ready.sd) if ready else NOTHING
    host = header.host
    rows = (
        (
            "Firmware (SeaBIOS)",
            "Finds the devices, and the kernel or the disk.",
            f"{floor}, with QEMU's start",
        ),
        (
            f"QEMU {escape(host.qemu_version)}",
            f"The machine and its devices; CPU by {header.accel.used.value}.",
            "in the above",
        ),
        (f"Linux {escape(host.kernel)}", "The host's kernel.", NOTHING),
        (escape(host.cpu_model), "The hardware.", NOTHING),
    )
    return Table(head=("Layer", "What it does", "Boot"), rows=rows, words=2)


def _table(costs: Sequence[LayerCost]) -> Table:
    rows = [
        (
            escape(cost.layer.name),
            escape(cost.layer.help),
            show_mean(cost.mean, cost.sd) if cost.mean is not None else NOTHING,
            show_bytes(cost.size_bytes),
        )
        for cost in reversed(costs)
    ]
    return Table(head=("Layer", "What it does", "Boot", "Size in the image"), rows=tuple(rows), words=2)
