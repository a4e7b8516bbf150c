"""The documentation as a site: it builds without warning or network, and asks for nothing when read."""

from __future__ import annotations

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import find_browser, start_browser
from documents import ROOT

from guestbench import families
from guestbench.cli import cli
from guestbench.definition.experiments import list_experiments
from guestbench.definition.settings import find_tables, list_settings
from guestbench.definition.systems import load_catalogue
from guestbench.definition.workloads import list_workloads
from guestbench.host import process

pytest.importorskip("sphinx", reason="sh tools/setup.sh docs")

CALL = """
import sys
from pathlib import Path

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"the build asks the network: {event} {arguments}")

sys.addaudithook(refuse)
import build_docs
sys.exit(getattr(build_docs, sys.argv[1])(*map(Path, sys.argv[2:])))
"""
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""Elements for which a browser asks by itself, and where each says for what."""
NO_LOADING = {"canonical", "search", "index", "next", "prev", "genindex"}
"""Relations of a link for which it does not."""


class Reader(HTMLParser):
    """What a page has: its ids, what its links lead to, and what is loaded with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element says."""
        told = {name: value or "" for name, value in attrs}
        if "id" in told:
            self.ids.add(told["id"])
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        if tag in LOADING and LOADING[tag] in told and told.get("rel", "") not in NO_LOADING:
            self.loads.append(told[LOADING[tag]])


def call(function: str, *paths: Path) -> process.Completed:
    """Call a function of `tools/build_docs.py` in a process that must not open a connection."""
    environment = {"PYTHONPATH": str(ROOT / "tools"), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = (sys.executable, "-c", CALL, function, *map(str, paths))
    return process.run(argv, env=environment, timeout_s=600, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; a warning fails it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = call("build", folder)
    assert (done.status, done.stderr.decode()) == (0, "")
    return folder


@cache
def read(page: Path) -> Reader:
    """A page of the site."""
    return Reader(page.read_text())


def pages(site: Path) -> list[Path]:
    """All pages."""
    return [*site.rglob("*.html")]


def test_every_document_is_a_page(site: Path) -> None:
    """A page would be written and never found."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    expected = {file.relative_to(ROOT).with_suffix(".html") for file in documents} - {Path("README.html")}
    assert expected | {Path("index.html")} <= {page.relative_to(site) for page in pages(site)}


def test_every_link_leads_to_a_page_and_a_place_in_it(site: Path) -> None:
    """A reader would follow a link to nothing, or to the wrong place of a long page."""
    count = 0
    for page in pages(site):
        for link in read(page).links:
            if re.match(r"(https?|mailto):", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), f"{page.relative_to(site)}: {link}"
            count += 1
            if anchor and target.suffix == ".html":
                assert anchor in read(target).ids, f"{page.relative_to(site)}: {link}"
    assert count > 500


def test_a_link_to_nothing_fails_the_build(tmp_path: Path) -> None:
    """A page could be renamed, and those that lead to it would be published all the same."""
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    for name in ("conf.py", "style.css"):
        (source / "docs" / name).write_bytes((ROOT / "docs" / name).read_bytes())
    wrong = "[it](nothing.md)\n\n[it](#nowhere)\n\n![it](nothing.png)\n"
    (source / "index.md").write_text(f"# Front\n\n[a place](#front)\n\n{wrong}")
    done = call("run_strictly", source, tmp_path / "site")
    assert done.status == 1
    assert set(re.findall(r"index\.md:(\d+): WARNING", done.stderr.decode())) == {"5", "7", "9"}


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """The site would tell others who reads it, and be broken without a network."""
    for page in pages(site):
        assert read(page).loads
        for address in read(page).loads:
            path = unquote(address).split("?")[0].split("#")[0]
            assert (page.parent / path).is_file() or address.startswith("data:"), f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        for address in re.findall(r"(?:@import\s+|url\()['\"]?([^'\")\s]+)", sheet.read_text()):
            local = sheet.parent / address.split("?")[0].split("#")[0]
            assert address.startswith(("data:", "#")) or local.is_file(), f"{sheet.name}: {address}"


@pytest.mark.skipif(find_browser() is None, reason="apt-get install chromium")
def test_a_browser_finds_a_metric_in_files_alone(site: Path, tmp_path: Path) -> None:
    """The search would find nothing in a site that was unpacked, or ask a server."""
    path = find_browser()
    assert path
    with start_browser(path, tmp_path) as browser:
        browser.open(f"{(site / 'search.html').as_uri()}?q=gadgets", 1200, 900)
        script = (
            "new Promise(done => { const look = () => /matching|found/.test("
            "document.querySelector('.search-summary')?.textContent) ? done([...document.querySelectorAll("
            "'#search-results li a')].map(a => a.href).join(' ')) : setTimeout(look, 50); look(); })"
        )
        answer = browser.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "docs/reference/metrics.html" in answer["result"]["value"]
        asked = [event["params"]["request"]["url"] for event in browser.wait_for("Network.requestWillBeSent")]
        assert len(asked) > 5
        assert not [url for url in asked if not url.startswith(("file:", "data:"))]


def test_reference_has_all_that_there_is(site: Path) -> None:
    """Something could be measured, set or typed, and looked up nowhere."""

    def words_of(name: str) -> str:
        text = (site / "docs" / "reference" / f"{name}.html").read_text()
        return " ".join(re.sub(r"<[^>]+>", "", text).split())

    metrics, tables = words_of("metrics"), words_of("families")
    for family in families.list_families():
        assert family.name in tables
        assert all(row.name in metrics for row in families.find_metrics([family.name]))
    assert all(each.name in tables for each in list_settings(find_tables()))
    assert all(name in words_of("systems") for name in load_catalogue())
    assert all(name in words_of("workloads") for name in list_workloads())
    assert all(name in words_of("experiments") for name in list_experiments())
    commands = words_of("commands")
    assert all(f"guestbench {name}" in commands for name in cli.commands)
    assert "--fail-on-inconclusive" in commands and "guestbench systems build" in commands
    assert re.search(r"130 The user pressed Ctrl-C", words_of("exit-statuses"))
    assert "known_ratios" in words_of("results") and "parquet" in words_of("additions")
