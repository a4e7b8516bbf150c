"""The HTML report in a real browser: it asks for nothing, complains of nothing, sorts, and fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser, find_browser
from factories import make_run
from hostile_run import HOSTILE, make_hostile_run
from report_pages import compared_run, html_of, memory_run

PATH = find_browser()
pytestmark = [
    pytest.mark.skipif(PATH is None, reason="there is neither chromium nor google-chrome in PATH"),
    pytest.mark.timeout(300),
]
PHONE, DESK = 360, 1280
LAST_TABLE = "[...document.querySelectorAll('table')].at(-1)"
"""The table of every trial."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of reports: one of boots and comparisons, one of memory, and one of a hostile guest."""
    folder = tmp_path_factory.mktemp("pages")
    runs = {"boots": compared_run(), "memory": memory_run(), "hostile": make_hostile_run(HOSTILE)}
    for name, run in runs.items():
        (folder / f"{name}.html").write_text(html_of(*run), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in runs}


def complaints(browser: Browser) -> list[object]:
    """What the browser has to say of a page: messages, errors, and violations of its policy."""
    kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded")
    return [event["params"] for event in browser.events if event["method"] in kinds]


def requests(browser: Browser) -> list[str]:
    """What was asked for since the page was opened, the page included."""
    sent = [event for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


@pytest.mark.parametrize("name", ["boots", "memory", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_page_asks_for_nothing_and_fits(
    browser: Browser, pages: dict[str, str], tmp_path: Path, name: str, scheme: str, width: int
) -> None:
    """The report would need a network, break the policy it has set itself, or have to be pushed sideways."""
    browser.open(pages[name], width, 800, scheme)
    browser.take_picture(tmp_path / f"{name}-{scheme}-{width}.png")
    assert complaints(browser) == []
    assert requests(browser) == [pages[name]]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert browser.evaluate("document.querySelectorAll('main th button').length") > 0
    assert browser.evaluate("[...document.scripts].length") == 1


def test_policy_stops_what_gets_in_all_the_same(browser: Browser, pages: dict[str, str]) -> None:
    """If text of a guest did become an element one day, it would run."""
    browser.open(pages["boots"], DESK, 800)
    browser.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"https://guest.invalid/x.png\" "
        'onerror="document.title = 1"><p style="color: red" onclick="document.title = 1" id="evil">x</p>\');'
        "document.getElementById('evil').click()"
    )
    assert browser.evaluate("document.title") == make_run()[0].experiment.title
    assert browser.evaluate("getComputedStyle(document.getElementById('evil')).color") != "rgb(255, 0, 0)"
    failed = browser.wait_for("Network.loadingFailed")
    assert [event["params"]["blockedReason"] for event in failed] == ["csp"]


def read_column(browser: Browser, column: int) -> list[str]:
    """The cells of a column of the table of every trial."""
    found: list[str] = browser.evaluate(
        f"[...{LAST_TABLE}.tBodies[0].rows].map(row => row.cells[{column}].textContent)"
    )
    return found


def press_head(browser: Browser, column: int) -> str | None:
    """Press a column's name in the table of every trial; how the table is sorted then."""
    head = f"{LAST_TABLE}.tHead.rows[0].cells[{column}]"
    browser.evaluate(f"{head}.querySelector('button').click()")
    state: str | None = browser.evaluate(f"{head}.getAttribute('aria-sort')")
    return state


def to_seconds(cell: str) -> float:
    """A cell such as `45.80 s` or `93.10 ms`."""
    number, _, unit = cell.partition(" ")
    return float(number) / (1000 if unit == "ms" else 1)


def test_tables_are_sorted_by_what_their_cells_mean(browser: Browser, pages: dict[str, str]) -> None:
    """A press on "Boot time" would put 93 ms behind 2.6 s, or lose rows."""
    browser.open(pages["boots"], DESK, 800)
    heads = browser.evaluate(f"[...{LAST_TABLE}.tHead.rows[0].cells].map(head => head.textContent)")
    column = heads.index("Boot time")
    before = read_column(browser, column)
    for direction in ("ascending", "descending"):
        assert press_head(browser, column) == direction
        cells = read_column(browser, column)
        values = [to_seconds(cell) for cell in cells if cell != "–"]
        assert values == sorted(values, reverse=direction == "descending")
        assert sorted(cells) == sorted(before)
        assert cells[len(values) :] == ["–"] * (len(cells) - len(values))
    assert press_head(browser, column) is None
    assert read_column(browser, column) == before
    assert press_head(browser, heads.index("System")) == "ascending"
    names = read_column(browser, heads.index("System"))
    assert names == sorted(names)


def test_page_can_be_used_without_a_mouse(browser: Browser, pages: dict[str, str]) -> None:
    """Who has no mouse could not skip the contents or sort a table, or would not see where they are."""
    browser.open(pages["boots"], DESK, 800)
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Enter")
    assert browser.evaluate("location.hash") == "#main"
    for _ in range(40):
        browser.press("Tab")
        if browser.evaluate("document.activeElement.tagName") == "BUTTON":
            break
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"


def test_page_is_whole_without_its_script(browser: Browser, pages: dict[str, str]) -> None:
    """Where scripts are off, the report would be empty or full of buttons that do nothing."""
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages["boots"], DESK, 800)
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelectorAll('button').length") == 0
    assert browser.evaluate("document.querySelectorAll('svg.plot').length") > 3


@pytest.mark.parametrize("width", [400, 1000])
def test_the_first_table_fits_with_its_verdicts(browser: Browser, pages: dict[str, str], width: int) -> None:
    """Who is ahead would lie outside the window, or below what a first screen shows."""
    browser.open(pages["boots"], width, 900)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    box = "document.querySelector('main .scroll')"
    assert browser.evaluate(f"{box}.scrollWidth <= {box}.clientWidth")
    rows = f"[...{box}.querySelectorAll('tbody tr')]"
    assert browser.evaluate(f"{rows}.map(row => row.cells[1].dataset.head)") == ["Verdict"] * 4
    edges = browser.evaluate(f"{rows}.map(row => row.cells[1].getBoundingClientRect().right)")
    assert all(0 < edge <= width for edge in edges)
    if width == 1000:
        assert browser.evaluate(f"{box}.getBoundingClientRect().bottom") < 900


def test_rows_are_cards_on_a_phone(browser: Browser, pages: dict[str, str]) -> None:
    """Values would stand on a phone without the names of their columns."""
    browser.open(pages["boots"], 400, 900)
    cell = "document.querySelector('.stacks tbody tr').cells[1]"
    assert browser.evaluate(f"getComputedStyle({cell}).display") == "block"
    assert browser.evaluate(f"getComputedStyle({cell}, '::before').content") == '"Verdict"'


@pytest.mark.parametrize("name", ["boots", "memory", "hostile"])
def test_verdicts_stand_within_a_window_of_a_thousand(
    browser: Browser, pages: dict[str, str], name: str
) -> None:
    """The column that matters would have to be looked for."""
    browser.open(pages[name], 1000, 900)
    edges = browser.evaluate(
        "[...document.querySelectorAll('main th')].filter(head => head.textContent === 'Verdict')"
        ".map(head => head.getBoundingClientRect().left + 100)"
    )
    assert all(edge <= 1000 for edge in edges)
    assert name != "boots" or len(edges) >= 3


def test_what_is_folded_opens_in_print(browser: Browser, pages: dict[str, str]) -> None:
    """A printed report would lack what it folds away on a screen."""
    browser.open(pages["boots"], 1000, 900)
    folded = "[...document.querySelectorAll('details')].map(each => each.open)"
    before = browser.evaluate(folded)
    assert before and not any(before)
    browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert all(browser.evaluate(folded))
    browser.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert browser.evaluate(folded) == before
