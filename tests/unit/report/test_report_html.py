"""The report as a page: its text is the Markdown's, it neither acts nor loads, its plots follow the data."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest
from factories import make_header, make_run
from hostile_run import HOSTILE, make_hostile_run
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from memory_factories import make_memory_run
from report_pages import compared_run, contents_of, html_of, markdown_of, memory_run

from golden import check_golden
from guestbench.model import Header, Record, Sample, TimedOut
from guestbench.page.blocks import Details, Figure, Page, Section, Table
from guestbench.page.plots import MOST_TICKS, choose_axis
from guestbench.page.sorting import sort_key
from guestbench.report.html import render_html
from guestbench.report.svg import draw
from guestbench.report.tags import tag

PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")
VOID = frozenset({"meta", "circle", "line", "path", "rect"})
ELEMENTS = frozenset(
    {
        *(
            "header",
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "script",
            "a",
            "nav",
            "main",
            "div",
            "h1",
            "h2",
            "h3",
        ),
        *(
            "p",
            "ul",
            "ol",
            "li",
            "pre",
            "code",
            "strong",
            "table",
            "caption",
            "details",
            "summary",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "figure",
        ),
        *(
            "figcaption",
            "svg",
            "desc",
            "defs",
            "pattern",
            "g",
            "rect",
            "line",
            "path",
            "circle",
            "text",
            "tspan",
        ),
    }
)
ADDRESSES = frozenset(
    {
        *("href", "src", "srcset", "action", "formaction", "data", "poster", "background", "cite"),
        *("xlink:href", "style"),
    }
)
replace = msgspec.structs.replace
Run = tuple[Header, tuple[Record, ...]]


class Reader(HTMLParser):
    """What a page consists of: elements with attributes, and the text of its report apart from its plots."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.headings: list[int] = []
        self.raw: dict[str, str] = {}
        self.policy_at = 0
        self._open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, {key: value or "" for key, value in attributes}))
        if name not in VOID:
            self._open.append(name)
        self._break(name)
        if re.fullmatch(r"h\d", name) and "nav" not in self._open:
            self.headings.append(int(name[1]))

    def handle_endtag(self, name: str) -> None:
        self._break(name)
        if name not in VOID:
            assert self._open.pop() == name

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script", "title"):
            self.raw[self._open[-1]] = data
        elif {"main", "header"} & {*self._open} and not {"figure", "caption"} & {*self._open}:
            self.text += data

    @property
    def words(self) -> list[str]:
        """The words of the report, apart from those of its plots."""
        return self.text.split()

    def _break(self, name: str) -> None:
        if name not in ("code", "strong"):
            self.text += "\t" if name in ("td", "th") else "\n"

    def values(self, attribute: str) -> list[str]:
        """The values of an attribute, of all elements that have it."""
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def words_of_markdown(markdown: str) -> list[str]:
    """The words that another reader of Markdown shows of it."""
    words: list[str] = []
    for token in PARSER.parse(markdown):
        if token.type == "fence":
            words += token.content.split()
        text = "".join("\n" if child.type == "softbreak" else child.content for child in token.children or ())
        words += text.split()
    return words


def check_inert(page: str) -> Reader:
    """Fail on anything that loads, runs, or is no element of the report."""
    reader = Reader(page)
    assert {name for name, _ in reader.elements} <= ELEMENTS
    names = [name for name, _ in reader.elements]
    assert names.count("script") == names.count("style") == 1
    for _, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert ADDRESSES & attributes.keys() <= {"href"}
    assert all(address.startswith("#") for address in reader.values("href"))
    assert all(c.isprintable() or c == "\n" for c in page)
    assert not re.search(r"url\((?!#p_\d)|@import", reader.raw["style"])
    return reader


def test_text_of_the_page_is_the_one_people_have_read() -> None:
    """The page's text or descriptions would change without anybody having looked at them."""
    page = html_of(*compared_run())
    lines = [line.strip() for line in Reader(page).text.splitlines()]
    plots = re.findall(r'aria-label="([^"]*)"[^>]*><desc>(.*?)</desc>', page)
    told = [f"[{title}] {description}" for title, description in plots]
    check_golden("report.txt", "\n".join((*filter(None, lines), *told, "")).encode())


@pytest.mark.parametrize("run", [compared_run, make_run, memory_run], ids=["compared", "boots", "memory"])
def test_page_says_what_the_markdown_says(run: object) -> None:
    """A reader of the page would read something else than a reader of the Markdown."""
    assert callable(run)
    header, records = run()
    markdown = markdown_of(header, records)
    assert Reader(html_of(header, records)).words == words_of_markdown(markdown)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)), min_size=1, max_size=5))
def test_no_text_of_a_run_acts_or_loads(texts: list[str]) -> None:
    """A title, path, reason or label of a hostile guest could run a script, or load or hide something."""
    header, records = make_hostile_run(texts)
    reader = check_inert(html_of(header, records))
    assert reader.words == words_of_markdown(markdown_of(header, records))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", ["\x1b[31m<b>|", "`` a", "9,", "\u202e&#124;"])
def test_lines_of_a_megabyte_are_harmless(piece: str) -> None:
    """A guest that prints a line of a megabyte would hang the report, or break out of it."""
    text = piece * (1_000_000 // len(piece))
    header, records = make_run()
    longest = replace(records[-1], outcome=TimedOut(reason=text), samples=())
    named = replace(records[-2], samples=(Sample(metric="boot.mark", value=1, labels={"mark": text}),))
    header = replace(header, experiment=replace(header.experiment, title=text))
    check_inert(html_of(header, (*records[:-2], named, longest)))


@given(st.text(), st.text())
def test_no_text_leaves_its_element_or_attribute(content: str, value: str) -> None:
    """A name or a description in a plot could become an element."""
    reader = Reader(f"<main>{tag('p', content, aria_label=value)}</main>")
    assert [name for name, _ in reader.elements] == ["main", "p"]
    assert set(reader.elements[1][1]) == {"aria-label"}


def test_policy_forbids_everything_but_the_pages_own_style_and_script() -> None:
    """A browser would let something else in, or refuse the page's own looks and sorting."""
    page = html_of(*compared_run())
    reader = check_inert(page)
    policies = [each["content"] for name, each in reader.elements if "http-equiv" in each and name == "meta"]
    assert len(policies) == 1
    directives = dict(each.strip().split(" ", 1) for each in policies[0].split(";"))
    assert directives["default-src"] == "'none'" and "unsafe" not in policies[0]
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[name].encode()).digest()).decode()
        assert directives[f"{name}-src"] == f"'sha256-{digest}'"
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<script>")


def test_page_is_the_same_each_time() -> None:
    """Two reports of one run would differ, and a difference would mean nothing."""
    header, records = compared_run()
    assert html_of(header, records) == html_of(header, records)


def test_page_can_be_found_ones_way_in() -> None:
    """A screen reader's list of headings would have gaps, or links of the contents would lead nowhere."""
    reader = Reader(html_of(*compared_run()))
    assert reader.headings[0] == 1 and reader.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(reader.headings))
    names = reader.values("id")
    assert len(names) == len(set(names))
    assert {address.removeprefix("#") for address in reader.values("href")} <= set(names)
    assert len(reader.values("href")) == len(reader.headings)  # all but the title, and the link that skips


def find_figures(header: Header, records: Sequence[Record]) -> dict[str, str]:
    """The sections that have plots, by their id, each with what is drawn."""
    sections = contents_of(header, records).page.sections
    return {
        section.id: draw(block)
        for section in (*sections, *(part for section in sections for part in section.parts))
        for each in section.blocks
        for block in (each.blocks if isinstance(each, Details) else (each,))
        if isinstance(block, Figure) and block.plots
    }


def drawn(header: Header, records: Sequence[Record]) -> set[str]:
    """The sections that have plots."""
    return {*find_figures(header, records)}


def test_plots_are_there_where_there_are_data() -> None:
    """A plot would be missing, or an empty one shown."""
    boots = {"image-size", "boot-time", "boots-in-order", "milestones"}
    memory = {"least-ram-to-boot", "ram-that-the-host-sees-in-use"}
    header, records = make_run()
    assert drawn(*compared_run()) == {*boots, "block-by-block", "comparison"}
    assert drawn(header, records) == boots
    assert drawn(*memory_run()) == memory
    assert drawn(*make_memory_run()) == {"least-ram-to-boot"}
    assert drawn(header, ()) == drawn(make_header(), ()) == set()
    images = [record for record in records if record.trial.purpose == "image"]
    assert drawn(header, images) == {"image-size"}


def test_every_plot_is_on_the_page_and_can_be_read_without_seeing_it() -> None:
    """A plot would be drawn and then lost, or would be silent to those who do not see it."""
    for header, records in (compared_run(), memory_run()):
        page = html_of(header, records)
        plots = find_figures(header, records)
        assert all(plot in page for plot in plots.values())
        images = [each for name, each in Reader(page).elements if name == "svg" and each.get("role") == "img"]
        assert len(images) >= sum(bool(plot) for plot in plots.values())
        assert all(each["aria-label"] for each in images)
        descriptions = re.findall("<desc>(.*?)</desc>", page)
        assert len(descriptions) == len(images) and all(len(each) > 40 for each in descriptions)


def test_claims_are_marked_where_they_are_about_the_same_pair() -> None:
    """What was expected could not be seen beside what was found."""
    header, records = compared_run()
    plot = find_figures(header, records)["comparison"]
    ranges = re.findall(r"<title>(claimed: [^<]*)", plot)
    assert ranges == ["claimed: 0.0100 to 0.0200", "claimed: 0.0200 to 0.100"]
    without = replace(header, experiment=replace(header.experiment, claims=()))
    assert "claimed:" not in find_figures(without, records)["comparison"]
    for least, most, words in ((10, None, "at most 0.100"), (None, 50, "at least 0.0200")):
        claim = replace(header.experiment.claims[1], least=least, most=most)
        opened = replace(header, experiment=replace(header.experiment, claims=(claim,)))
        plot = find_figures(opened, records)["comparison"]
        assert f"<title>claimed: {words}</title>" in plot


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("1,054,117,888", "1054117888"),
        ("12.3 ± 0.4 ms", "0.0123"),
        ("89.3 kB", "89300"),
        ("1.5 MiB", "1572864"),
        ("47%", "0.47"),
        ("-3.2 s", "-3.2"),
        ("83.9 to 143 ms", "0.0839"),
        ("319 ± 12 MB/s", "319000000"),
        ("512 ± 14 events/s", "512"),
        ("110 times (83.9 to 143)", "110"),
        ("at most 7 calls", "7"),
        ("< 0.001", "0.001"),
        ("3 of 10", "3"),
        ("9.31 s / 9.30 s", "9.31"),
        ("2024-01-17T10:15:00", None),
        ("001-boot-floor-1", None),
        ("n/a: 3 reasons", None),
        ("–", None),
        ("yes", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_cells_are_sorted_by_the_number_they_show(text: str, key: str | None) -> None:
    """A table sorted by a column would put 89 kB above 1 MB, or a date among numbers."""
    assert sort_key(text) == key


def test_columns_of_words_are_not_set_like_numbers() -> None:
    """Verdicts would be torn to the right edge, or numbers would not stand below one another."""
    table = Table(("a", "b", "c"), (("x", "1", "yes"), ("y", "–", "no")))
    page = render_html(Page(title="", sections=(Section(id="x", title="x", blocks=(table,)),)))
    assert page.count('class="n"') == 3
    assert '<th scope="col" class="n">b</th>' in page


@given(
    st.lists(st.floats(min_value=1e-9, max_value=1e12), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_axes_hold_their_values_and_few_ticks(values: list[float], log: bool, zero: bool) -> None:
    """Points would lie outside of a plot, or its ticks would cover one another."""
    axis = choose_axis(values, "", log=log, zero=zero)
    assert all(0 <= axis.share(value) <= 1 for value in values)
    assert [axis.share(value) for value in sorted(values)] == sorted(axis.share(value) for value in values)
    ticks = axis.ticks()
    assert len(ticks) <= MOST_TICKS + 1
    assert all(axis.low - 1e-9 <= tick <= axis.high * (1 + 1e-9) for tick in ticks)
