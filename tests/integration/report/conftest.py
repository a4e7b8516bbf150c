"""A browser for the tests of pages, which are skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browser, find_browser, start_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless browser with one empty page."""
    path = find_browser()
    assert path is not None
    with start_browser(path, tmp_path_factory.mktemp("browser")) as started:
        yield started
