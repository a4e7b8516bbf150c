"""Where Debian packages come from, and what is read out of their control files."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestbench.errors import HostError, ToolFailed
from guestbench.provision import packages

STATUS = """\
Package: zstd
Status: install ok installed
Version: 1.5
Description: short
 long
 Package: not-a-field

Package: gone
Status: deinstall ok config-files
Version: 1

Package: apt
Status: install ok installed
Version: 2.6.1
"""


def install_fake_apt(folder: Path, monkeypatch: pytest.MonkeyPatch, targets: str, settings: str = "") -> None:
    """Put shell scripts in the places of apt-get and apt-config."""
    for name, output in (("apt-get", targets), ("apt-config", settings)):
        tool = folder / name
        tool.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv(packages.MIRROR_VARIABLE, raising=False)


def test_mirror_of_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user could not build from a mirror of their own."""
    install_fake_apt(tmp_path, monkeypatch, "Debian http://host.invalid/debian")
    monkeypatch.setenv(packages.MIRROR_VARIABLE, "http://mirror.invalid/debian")
    assert packages.find_sources("bookworm").lines == (
        "deb http://mirror.invalid/debian bookworm main",
        "deb http://mirror.invalid/debian bookworm-updates main",
    )


def test_mirror_of_the_host_s_apt_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that reaches only its own mirror, or one of another release, could not build."""
    targets = (
        "Debian http://m.invalid/debian\nDebian http://m.invalid/debian\n"
        "Debian-Security http://m.invalid/security\nOther http://x.invalid/"
    )
    install_fake_apt(tmp_path, monkeypatch, targets)
    assert packages.find_sources("bookworm").lines == (
        "deb http://m.invalid/debian bookworm main",
        "deb http://m.invalid/debian bookworm-updates main",
        "deb http://m.invalid/security bookworm-security main",
    )


def test_host_s_proxy_is_used_and_its_hooks_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy nothing could be downloaded; the host's hooks would run inside the build."""
    settings = (
        'Acquire "";\nAcquire::http::Proxy "http://proxy.invalid:3128";\nAcquire::http "";\n'
        'Acquire::Languages "de";\nAPT::Update::Post-Invoke:: "rm -rf /";'
    )
    install_fake_apt(tmp_path, monkeypatch, "", settings)
    assert packages.find_sources("bookworm").options == ('Acquire::http::Proxy "http://proxy.invalid:3128";',)


def test_host_without_mirror_is_told_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is not Debian would get a failure of apt without a way out."""
    install_fake_apt(tmp_path, monkeypatch, "Ubuntu http://u.invalid/ubuntu")
    with pytest.raises(HostError) as caught:
        packages.PrivateApt(tmp_path / "apt", "bookworm")
    assert packages.MIRROR_VARIABLE in caught.value.hint


def test_unreachable_mirror_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without network would read apt's last line, which says nothing."""
    monkeypatch.setenv(packages.MIRROR_VARIABLE, "http://127.0.0.1:9/debian")
    with pytest.raises(ToolFailed, match=r"127\.0\.0\.1"):
        packages.PrivateApt(tmp_path / "apt", "bookworm")


def test_installed_packages_are_listed_by_name() -> None:
    """The manifest of an image would name packages that are not in it."""
    assert packages.installed_packages(STATUS) == (("apt", "2.6.1"), ("zstd", "1.5"))
