"""Drives a headless Chromium over its debugging pipe, as far as the tests of the HTML report need it."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which needs user namespaces, or must not be root's; the page is our own
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--force-color-profile=srgb",
)
TO_BROWSER, FROM_BROWSER = 3, 4
"""The descriptors on which Chromium reads commands and writes answers and events."""


def find_browser() -> str | None:
    """The path of a Chromium or Chrome, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser: commands to it, and all events that it has sent so far."""

    def __init__(self, writing: int, reading: int) -> None:
        self._writing, self._reading = writing, reading
        self._pending = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, address: str, width: int, height: int, scheme: str = "light") -> None:
        """Load a page in a window of that size, and wait until it is there."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.events.clear()
        self.send("Page.navigate", url=address)
        self.wait_for("Page.loadEventFired")

    def wait_for(self, method: str) -> list[dict[str, Any]]:
        """All events of a kind since the page was opened, at least one."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._receive())
        return [event for event in self.events if event.get("method") == method]

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key such as Tab or Enter."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def take_picture(self, path: Path, selector: str = "body") -> None:
        """Write a picture of an element as PNG."""
        box = self.evaluate(
            f"(b => ({{x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height}}))"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip={**box, "scale": 1})
        path.write_bytes(base64.b64decode(answer["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            data = os.read(self._reading, 1 << 16)
            assert data, "the browser ended"
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def start_browser(path: str, folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in `folder`, ended with the block."""
    theirs, writing = os.pipe()
    reading, answers = os.pipe()
    # Numbers that are free and above the two that Chromium wants, so that neither overwrites anything.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FROM_BROWSER + 1) for end in (theirs, answers)]

    def hand_over() -> None:
        os.dup2(high[0], TO_BROWSER)
        os.dup2(high[1], FROM_BROWSER)

    argv = [path, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    with (folder / "browser.log").open("wb") as log:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=hand_over, close_fds=False
        )
    for descriptor in (theirs, answers, *high):
        os.close(descriptor)
    try:
        yield Browser(writing, reading)
    finally:
        child.terminate()
        child.wait(30)
        os.close(writing)
        os.close(reading)
