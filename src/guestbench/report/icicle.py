"""Draws an icicle: a whole, and below it the parts that it consists of, each as wide as its share.

It stands without a script, which only adds looking closer, moving with the arrow keys, and finding by name.
Widths are shares of the whole, so that it fits any screen; what each part is stands in its title.
"""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.page.numbers import show_exact
from guestbench.page.plots import Frame, Icicle
from guestbench.report.tags import Html, tag

HIGH = 20
"""Pixels of the height of a row."""
KINDS = 8
"""Colours that the style sheet has."""
NARROWEST, NARROWEST_PART = 1 / 4000, 1 / 300
"""What is a smaller share of the whole, and of what it is part of, is drawn as one with its neighbours.

No screen shows it in the whole, nor when the reader looks closer.
"""


def draw_icicle(plot: Icicle) -> Html:
    """The icicle with what it takes to look around in it."""
    whole = plot.root.value or 1
    frames = list(_lay_out(plot.root, 0, 0, whole))
    depth = 1 + max(level for _, level, _ in frames)
    # One part can be reached by the tabulator; the arrow keys lead on from it.
    drawn = (_draw_frame(*each, whole, plot.unit, first=not number) for number, each in enumerate(frames))
    svg = tag(
        "svg", tag("desc", plot.description), *drawn, role="tree", aria_label=plot.title, width="100%",
        height=str(depth * HIGH), class_="icicle", data_whole=str(whole),
    )  # fmt: skip
    field = tag("input", type="search", name_="find", placeholder="find a name", aria_label="Find a name")
    back = tag("button", "the whole", type="button")
    told = tag("output", f"{show_exact(whole)} {plot.unit}")
    return tag("div", tag("p", field, " ", back, " ", told, class_="look"), svg, class_="drawn icicles")


def _lay_out(frame: Frame, level: int, start: int, whole: int) -> Iterator[tuple[Frame, int, int]]:
    """Each part with its level and where it begins; small neighbours as one."""
    yield frame, level, start
    small: list[Frame] = []
    least = min(whole * NARROWEST, frame.value * NARROWEST_PART)
    for part in (*frame.parts, None):
        if part is not None and part.value < least:
            small.append(part)
            continue
        if small:
            value = sum(each.value for each in small)
            name = small[0].name if len(small) == 1 else f"{len(small)} others"
            yield Frame(name, value, small[0].kind), level + 1, start
            start, small = start + value, []
        if part is not None:
            yield from _lay_out(part, level + 1, start, whole)
            start += part.value


def _draw_frame(frame: Frame, level: int, start: int, whole: int, unit: str, *, first: bool) -> Html:
    told = f"{frame.name}: {show_exact(frame.value)} {unit}, {frame.value / whole:.2%}"
    return tag(
        "svg",
        tag("title", told),
        tag("rect", width="100%", height=str(HIGH - 1), class_=f"f{frame.kind % KINDS}"),
        tag("text", frame.name, x="4", y=str(HIGH - 6)),
        x=f"{100 * start / whole:.4f}%", y=str(level * HIGH), width=f"{100 * frame.value / whole:.4f}%",
        height=str(HIGH), role="treeitem", aria_label=told, aria_level=str(level + 1),
        tabindex="0" if first else "-1", data_start=str(start), data_value=str(frame.value),
        data_level=str(level),
    )  # fmt: skip
