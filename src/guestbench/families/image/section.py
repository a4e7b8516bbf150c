"""Image sizes in the report: rounded and exact, and what images are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from guestbench.analysis.findings import Findings
from guestbench.families.image import FILE
from guestbench.model import Header, LabelSet, Metric, Ok, Provenance
from guestbench.page.blocks import Block, Bullets, Figure, Section, read_words
from guestbench.page.figures import by_system, show_amount, tell_metrics
from guestbench.page.numbers import BYTE_UNITS, NOTHING, UNKNOWN, show_bytes, show_exact
from guestbench.page.plots import Bar, Look, Mark, Point, Row, Rows, choose_axis, shares_of

tell = read_words(__file__)

IMAGE = "image"
Key = tuple[Metric, LabelSet]


def sections(found: Findings) -> Iterator[Section]:
    """The sizes, if any image was measured."""
    names = {summary.metric for summary in found.summaries if summary.n}
    metrics = [each for each in found.header.metrics if each.family == IMAGE and each.name in names]
    if metrics:
        shown = tuple(metric.name for metric in metrics)
        yield Section("image-size", "Image size", tuple(_describe(found, metrics)), metrics=shown)


def _describe(found: Findings, metrics: Sequence[Metric]) -> Iterator[Block]:
    keys: dict[Key, None] = {
        (metric, tuple(summary.labels.items())): None
        for metric in metrics
        for summary in found.summaries
        if summary.metric == metric.name
    }
    trials = found.find_trials((IMAGE,))
    measured = {record.trial.system for record in trials if isinstance(record.outcome, Ok)}
    kinds = {
        (sample.metric, tuple(sorted(sample.labels.items())), record.trial.system): sample.provenance
        for record in trials
        for sample in record.samples
        if sample.provenance is not Provenance.MEASURED
    }

    def name(key: Key) -> str:
        return ", ".join((key[0].title, *(value for _, value in key[1])))

    def show_exactly(key: Key, system: str) -> str:
        summary = found.find(system, key[0].name, key[1])
        return show_exact(summary.median) if summary else NOTHING if system in measured else UNKNOWN

    def show(key: Key, system: str) -> str:
        metric, labels = key
        summary = found.find(system, metric.name, labels)
        kind = kinds.get((metric.name, labels, system))
        note = f" ({kind.value})" if kind else ""
        return f"{show_amount(summary.median, metric.unit)}{note}" if summary else show_exactly(key, system)

    yield draw_sizes(found)
    yield by_system(("Size",), found.names, keys, lambda key: (name(key),), show)
    yield tell("cells")
    yield by_system(("Size", "Unit"), found.names, keys, lambda key: (name(key), key[0].unit), show_exactly)
    yield Bullets(tell_metrics(metrics))


# --- plots -------------------------------------------------------------------------------------------------

KERNEL, INITRD, ROOTFS = "image.kernel", "image.initrd", "image.rootfs"
SIZES = (FILE, "image.zstd", ROOTFS, KERNEL, INITRD, "image.virtual")
PARTS = {"kernel": 0, "initial ramdisk": 1, "other files": 3}
"""What images are made of, each with its fill."""
UNITS = tuple((1000.0**power, unit) for power, unit in reversed(list(enumerate(BYTE_UNITS))))


def draw_sizes(found: Findings) -> Figure:
    """The sizes of each system's image side by side, and what it is made of."""
    title = "Image size"
    rows: dict[str, dict[str, float]] = {}
    for name in found.names:
        sizes = {metric: found.find(name, metric) for metric in SIZES}
        known = {metric: each.median for metric, each in sizes.items() if each and each.median}
        if FILE in known:
            rows[name] = known
    if not rows:
        return Figure(title)
    plots = [_draw_points(title, rows, {metric: found.metric(metric).title for metric in SIZES})]
    contents = {name: _find_contents(found.header, name, sizes) for name, sizes in rows.items()}
    contents = {name: parts for name, parts in contents.items() if parts}
    if contents:
        plots.append(_draw_contents(contents))
    return Figure(title, tell("plots"), tuple(plots))


def _draw_points(title: str, rows: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> Rows:
    drawn = []
    for name, known in rows.items():
        marks: list[Mark] = [Bar(min(known.values()), max(known.values()), look=Look.LINK)]
        # The whole is drawn last, on top of a part that is as large.
        marks += (
            Point(SIZES.index(metric), known[metric], f"{titles[metric]}: {show_bytes(known[metric])}")
            for metric in reversed(SIZES)
            if metric in known
        )
        told = ", ".join(f"{titles[metric]} {show_bytes(size)}" for metric, size in known.items())
        drawn.append(Row(name, show_bytes(known[FILE]), tuple(marks), told=told))
    values = [size for row in rows.values() for size in row.values()]
    axis = choose_axis(values, "Size (logarithmic)", log=True, units=UNITS)
    used = {metric for sizes in rows.values() for metric in sizes}
    legend = tuple((Point(kind, 0), titles[size]) for kind, size in enumerate(SIZES) if size in used)
    return Rows(title, "Sizes of each system's image.", axis, tuple(drawn), legend)


def _find_contents(header: Header, name: str, sizes: Mapping[str, float]) -> dict[str, float]:
    """Bytes of kernel, initial ramdisk and all other files of a system."""
    kernel, initrd, rootfs = (sizes.get(metric, 0.0) for metric in (KERNEL, INITRD, ROOTFS))
    guest = next(guest for guest in header.guests if guest.system.name == name)
    # With files of their own beside the disk, kernel and initial ramdisk come on top of what the disk holds.
    within = rootfs and len(guest.pristine) == 1
    rest = max(rootfs - kernel - initrd, 0.0) if within else rootfs
    return {part: size for part, size in zip(PARTS, (kernel, initrd, rest), strict=True) if size}


def _draw_contents(contents: Mapping[str, Mapping[str, float]]) -> Rows:
    rows = []
    for name, sizes in contents.items():
        before, total, marks = 0.0, sum(sizes.values()), []
        for part, size in sizes.items():
            ends = before / total, (before + size) / total
            marks.append(Bar(*ends, PARTS[part], f"{part}: {show_bytes(size)}"))
            before += size
        told = ", ".join(f"{part} {show_bytes(size)}" for part, size in sizes.items())
        rows.append(Row(name, show_bytes(total), tuple(marks), told=told))
    held = {part for parts in contents.values() for part in parts}
    legend = tuple((Bar(0, 1, kind), part) for part, kind in PARTS.items() if part in held)
    axis = shares_of("what is in the image")
    return Rows("What each image is made of", "Bytes of each part.", axis, tuple(rows), legend)
