"""The plots of images: their sizes, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestbench.analysis.summary import find_metric, find_summary
from guestbench.model import Header, Summary
from guestbench.page.numbers import BYTE_UNITS, show_bytes
from guestbench.page.plots import (
    Bar,
    Figure,
    Mark,
    Point,
    Row,
    Rows,
    Whisker,
    choose_axis,
    shares_of,
)

WHOLE, KERNEL, INITRD, ROOTFS = "image.file", "image.kernel", "image.initrd", "image.rootfs"
SIZES = (WHOLE, "image.zstd", ROOTFS, KERNEL, INITRD, "image.virtual")
PARTS = {"kernel": 0, "initial ramdisk": 1, "other files": 3}
"""What images are made of, each with its fill."""
UNITS = tuple((1000.0**power, unit) for power, unit in reversed(list(enumerate(BYTE_UNITS))))


def draw_sizes(header: Header, summaries: Sequence[Summary]) -> Figure:
    """The sizes of each system's image side by side, and what it is made of."""
    rows: dict[str, dict[str, float]] = {}
    for system in header.systems:
        found = {metric: find_summary(summaries, system.name, metric) for metric in SIZES}
        known = {metric: each.median for metric, each in found.items() if each and each.median}
        if WHOLE in known:
            rows[system.name] = known
    if not rows:
        return Figure(title="Image size")
    titles = {metric: find_metric(header, metric).title for metric in SIZES}
    plots = [_draw_points(rows, titles)]
    contents = {name: _find_contents(header, name, sizes) for name, sizes in rows.items()}
    contents = {name: parts for name, parts in contents.items() if parts}
    if contents:
        plots.append(_draw_contents(contents))
    note = (
        "Sizes are on a logarithmic scale. The bars show what is in the image, unpacked, as shares: kernel "
        "and initial ramdisk, and the other files of the root file system."
    )
    return Figure(title="Image size", note=note, plots=tuple(plots))


def _draw_points(rows: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> Rows:
    drawn = []
    for name, known in rows.items():
        sizes = known.values()
        marks: list[Mark] = [Whisker(min(sizes), max(sizes), dotted=True)]
        # The whole is drawn last, on top of a part that is as large.
        marks += (
            Point(SIZES.index(metric), known[metric], f"{titles[metric]}: {show_bytes(known[metric])}")
            for metric in reversed(SIZES)
            if metric in known
        )
        drawn.append(Row(name, show_bytes(known[WHOLE]), tuple(marks)))
    used = {metric for sizes in rows.values() for metric in sizes}
    told = "; ".join(
        f"{name}: {', '.join(f'{titles[metric]} {show_bytes(size)}' for metric, size in sizes.items())}"
        for name, sizes in rows.items()
    )
    return Rows(
        title="Image size",
        description=f"Sizes of each system's image. {told}.",
        axis=choose_axis(
            [size for row in rows.values() for size in row.values()],
            "Size (logarithmic)",
            log=True,
            units=UNITS,
        ),
        rows=tuple(drawn),
        legend=tuple((Point(kind, 0), titles[size]) for kind, size in enumerate(SIZES) if size in used),
    )


def _find_contents(header: Header, name: str, sizes: Mapping[str, float]) -> dict[str, float]:
    """Bytes of kernel, initial ramdisk and all other files of a system."""
    kernel, initrd, rootfs = (sizes.get(metric, 0.0) for metric in (KERNEL, INITRD, ROOTFS))
    guest = next(guest for guest in header.guests if guest.system.name == name)
    # With files of their own beside the disk, kernel and initial ramdisk come on top of what the disk holds.
    within = rootfs and len(guest.pristine) == 1
    rest = max(rootfs - kernel - initrd, 0.0) if within else rootfs
    return {part: size for part, size in zip(PARTS, (kernel, initrd, rest), strict=True) if size}


def _draw_contents(contents: Mapping[str, Mapping[str, float]]) -> Rows:
    rows, told = [], []
    for name, sizes in contents.items():
        before, total, marks = 0.0, sum(sizes.values()), []
        for part, size in sizes.items():
            marks.append(
                Bar(before / total, (before + size) / total, PARTS[part], f"{part}: {show_bytes(size)}")
            )
            before += size
        rows.append(Row(name, show_bytes(total), tuple(marks)))
        told.append(f"{name}: {', '.join(f'{part} {show_bytes(size)}' for part, size in sizes.items())}")
    held = {part for parts in contents.values() for part in parts}
    return Rows(
        title="What each image is made of",
        description=f"Bytes of each part. {'; '.join(told)}.",
        axis=shares_of("what is in the image"),
        rows=tuple(rows),
        legend=tuple((Bar(0, 1, kind), part) for part, kind in PARTS.items() if part in held),
    )
