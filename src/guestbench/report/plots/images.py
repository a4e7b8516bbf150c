"""Draws the sizes of images, and what images are made of.

A plot is empty where the run has no data for it. Figures are looked up and never calculated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from guestbench.analysis.summary import find_metric, find_summary
from guestbench.model import Header, Summary
from guestbench.page.numbers import BYTE_UNITS, show_bytes
from guestbench.page.svg import (
    BELOW,
    Axis,
    bar,
    choose_axis,
    figure,
    frame,
    legend,
    line,
    marker,
    plot,
    row_name,
)
from guestbench.report.plots.common import (
    BAR,
    ROW,
    UNDER_NAME,
    part_look,
)
from guestbench.report.results import IMAGE_SIZE, list_systems
from guestbench.report.tags import EMPTY, Html, tag

SIZES = (IMAGE_SIZE, "image.zstd", "image.rootfs", "image.kernel", "image.initrd", "image.virtual")
REST = "other files"
UNITS = tuple((1000.0**power, unit) for power, unit in reversed(list(enumerate(BYTE_UNITS))))


def image_sizes(header: Header, summaries: Sequence[Summary]) -> Html:
    """The sizes of each system's image side by side, and what it is made of."""
    rows: dict[str, dict[str, float]] = {}
    for system in list_systems(header):
        found = {metric: find_summary(summaries, system.name, metric) for metric in SIZES}
        known = {
            metric: size
            for metric, each in found.items()
            if each and (size := each.median) is not None and size > 0
        }
        if IMAGE_SIZE in known:
            rows[system.name] = known
    if not rows:
        return EMPTY
    titles = {metric: find_metric(header, metric).title for metric in SIZES}
    words = "; ".join(
        f"{name}: {', '.join(f'{titles[metric]} {show_bytes(size)}' for metric, size in sizes.items())}"
        for name, sizes in rows.items()
    )
    plots = [_size_points(rows, titles, f"Sizes of each system's image. {words}.")]
    used = dict.fromkeys(metric for sizes in rows.values() for metric in sizes)
    entries = [(marker(SIZES.index(metric), "12", 7), titles[metric]) for metric in SIZES if metric in used]
    contents = {name: _contents(header, name, sizes) for name, sizes in rows.items()}
    contents = {name: parts for name, parts in contents.items() if parts}
    if contents:
        plots += _content_bars(contents)
    note = (
        "Sizes are on a logarithmic scale. The bars show what is in the image, unpacked, as shares: kernel "
        "and initial ramdisk, and the other files of the root file system."
    )
    return figure("Image size", note, legend(entries), *plots)


def _size_points(rows: Mapping[str, Mapping[str, float]], titles: Mapping[str, str], words: str) -> Html:
    sizes = [size for row in rows.values() for size in row.values()]
    axis = msgspec.structs.replace(choose_axis(sizes, "Size (logarithmic)", log=True), units=UNITS)
    parts = [frame(axis, 0, ROW * len(rows))]
    for number, (name, known) in enumerate(rows.items()):
        middle = ROW * number + UNDER_NAME + BAR / 2
        parts.append(row_name(name, show_bytes(known[IMAGE_SIZE]), ROW * number))
        parts.append(line(axis.x(min(known.values())), middle, axis.x(max(known.values())), middle, "link"))
        # The whole is drawn last, on top of a part that is as large.
        for metric in reversed(SIZES):
            if metric in known:
                title = f"{titles[metric]}: {show_bytes(known[metric])}"
                parts.append(marker(SIZES.index(metric), axis.x(known[metric]), middle, title))
    return plot("Image size", words, ROW * len(rows) + BELOW, *parts)


def _contents(header: Header, name: str, sizes: Mapping[str, float]) -> dict[str, float]:
    """Bytes of kernel, initial ramdisk and all other files of a system."""
    kernel, initrd = sizes.get("image.kernel", 0.0), sizes.get("image.initrd", 0.0)
    rootfs = sizes.get("image.rootfs", 0.0)
    guest = next(guest for guest in header.guests if guest.system.name == name)
    # With files of their own beside the disk, kernel and initial ramdisk come on top of what the disk holds.
    within = rootfs and len(guest.pristine) == 1
    rest = max(rootfs - kernel - initrd, 0.0) if within else rootfs
    parts = {"kernel": kernel, "initial ramdisk": initrd, REST: rest}
    return {part: size for part, size in parts.items() if size}


def _content_bars(contents: Mapping[str, Mapping[str, float]]) -> list[Html]:
    kinds = {"kernel": 0, "initial ramdisk": 1, REST: 3}
    axis = Axis(low=0, high=1, label="Share of what is in the image", factor=0.01, suffix=" %")
    parts = [frame(axis, 0, ROW * len(contents))]
    told = []
    for number, (name, sizes) in enumerate(contents.items()):
        y, before, total = ROW * number, 0.0, sum(sizes.values())
        parts.append(row_name(name, show_bytes(total), y))
        for part, size in sizes.items():
            shown = f"{part}: {show_bytes(size)}"
            box = axis.share(before / total), axis.share((before + size) / total), y + UNDER_NAME, BAR
            parts.append(bar(*box, part_look(kinds[part]), shown))
            before += size
        told.append(f"{name}: {', '.join(f'{part} {show_bytes(size)}' for part, size in sizes.items())}")
    entries = [
        (tag("rect", width="24", height="14", class_=part_look(kind)), part)
        for part, kind in kinds.items()
        if any(part in sizes for sizes in contents.values())
    ]
    words = f"Bytes of each part. {'; '.join(told)}."
    height = ROW * len(contents) + BELOW
    return [legend(entries), plot("What each image is made of", words, height, *parts)]
