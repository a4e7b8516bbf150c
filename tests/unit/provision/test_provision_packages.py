"""Where Debian packages come from, and what is read out of their control files."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from guestbench.errors import HostError, ToolFailed, ToolMissing
from guestbench.host import process
from guestbench.provision import packages
from guestbench.provision.packages import Unpacked, fetch_library, fetch_source

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
    found = [(each.name, each.version) for each in packages.installed_packages(STATUS.encode())]
    assert found == [("apt", "2.6.1"), ("zstd", "1.5")]


# --- libraries --------------------------------------------------------------------------------------------

CHANGES = """\
tiny (2:1.0+dfsg1-3) unstable; urgency=low

  * A package.

 -- Nobody <nobody@example.org>  Sat, 01 Jan 2000 00:00:00 +0000
"""
CONTROL = """\
Source: tiny
Section: misc
Priority: optional
Maintainer: Nobody <nobody@example.org>

Package: tiny-dev
Architecture: all
Description: tiny
"""


def install_mirror(folder: Path, monkeypatch: pytest.MonkeyPatch, *, listed: bool = True) -> Path:
    """An apt that has one package, `tiny`, as source and as library; returns the file of calls of it."""
    tree = folder / "tiny-1.0+dfsg1"
    (tree / "debian" / "source").mkdir(parents=True)
    (tree / "tiny.c").write_text("int tiny;\n")
    orig = folder / "tiny_1.0+dfsg1.orig.tar.gz"
    subprocess.run(["tar", "-czf", orig, "--exclude=debian", tree.name], cwd=folder, check=True)
    for name, text in (("changelog", CHANGES), ("control", CONTROL), ("source/format", "3.0 (quilt)\n")):
        (tree / "debian" / name).write_text(text)
    patches = tree / "debian" / "patches"
    patches.mkdir()
    (patches / "series").write_text("mend\n")
    (patches / "mend").write_text("--- a/tiny.c\n+++ b/tiny.c\n@@ -1 +1 @@\n-int tiny;\n+int mended;\n")
    built = folder / "mirror"
    built.mkdir()
    made = subprocess.run(["dpkg-source", "-b", tree], cwd=folder, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    for path in [*folder.glob("tiny_*")]:
        path.rename(built / path.name)

    binary = folder / "binary"
    (binary / "DEBIAN").mkdir(parents=True)
    version = "2:1.0+dfsg1-3"
    control = f"Package: tiny-dev\nVersion: {version}\nArchitecture: all\nMaintainer: N <n@example.org>\n"
    (binary / "DEBIAN" / "control").write_text(control + "Description: tiny\n")
    (binary / "usr" / "lib").mkdir(parents=True)
    (binary / "usr" / "lib" / "libtiny.a").write_text("archive")
    archive = built / "tiny-dev_2%3a1.0+dfsg1-3_all.deb"
    subprocess.run(["dpkg-deb", "--build", binary, archive], check=True, capture_output=True)

    calls = folder / "calls"
    tools = folder / "tools"
    tools.mkdir()
    (folder / "shown").write_text(control if listed else "")
    scripts = {
        "apt-get": f"""echo "$*" >>'{calls}'
case " $* " in
*' source '*) cp '{built}'/*.dsc '{built}'/*.tar.* . ;;
*' download '*) cp '{built}'/*.deb . ;;
esac""",
        "apt-cache": f"cat '{folder / 'shown'}'",
        "apt-config": "",
    }
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv(packages.MIRROR_VARIABLE, "http://mirror.invalid/debian")
    return calls


def needs(*tools: str) -> None:
    """Skip where this host lacks one of these programs."""
    for name in tools:
        try:
            process.find_tool(name)
        except ToolMissing as missing:
            pytest.skip(missing.message)


def test_a_source_is_unpacked_once_with_its_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users would compile what Debian has mended since, or need a mirror for every build."""
    needs("dpkg-source", "dpkg-deb", "patch")
    calls = install_mirror(tmp_path, monkeypatch)
    said: list[str] = []
    fetched = fetch_source("tiny", "bookworm", said.append)
    assert (fetched.package, fetched.version, fetched.upstream) == ("tiny", "2:1.0+dfsg1-3", "1.0")
    assert (fetched.folder / "tiny.c").read_text() == "int mended;\n"
    assert said and all(line.startswith("fetching tiny of Debian bookworm: ") for line in said)
    assert fetched.folder.is_relative_to(tmp_path / "cache" / "guestbench")
    asked, told = calls.read_text(), len(said)
    assert "--download-only --only-source source tiny" in asked
    assert fetch_source("tiny", "bookworm", said.append) == fetched
    assert len(said) == told and calls.read_text() == asked
    assert not [*(tmp_path / "cache" / "guestbench" / "work").iterdir()]


def test_a_library_is_unpacked_and_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without root could not link with it."""
    needs("dpkg-source", "dpkg-deb")
    calls = install_mirror(tmp_path, monkeypatch)
    fetched = fetch_library("tiny-dev", "bookworm", lambda _: None)
    assert (fetched.version, fetched.upstream) == ("2:1.0+dfsg1-3", "1.0")
    assert (fetched.folder / "usr" / "lib" / "libtiny.a").read_text() == "archive"
    assert "install" not in calls.read_text()
    assert fetch_library("tiny-dev", "bookworm", lambda _: None) == fetched


def test_builds_at_the_same_time_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two runs would find half of a library, or fail because the other has just put it there."""
    needs("dpkg-source", "dpkg-deb")
    calls = install_mirror(tmp_path, monkeypatch)
    found: list[Unpacked] = []

    def fetch() -> None:
        found.append(fetch_library("tiny-dev", "bookworm", lambda _: None))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len({each.folder for each in found}) == 1
    assert calls.read_text().count(" download ") == 1


def test_what_fails_leaves_nothing_to_be_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next build would compile half of a source."""
    needs("dpkg-source", "dpkg-deb")
    install_mirror(tmp_path, monkeypatch)
    tarball = tmp_path / "mirror" / "tiny_1.0+dfsg1.orig.tar.gz"
    whole = tarball.read_bytes()
    tarball.write_bytes(whole[:-20])
    with pytest.raises(ToolFailed, match="dpkg-source"):
        fetch_source("tiny", "bookworm", lambda _: None)
    tarball.write_bytes(whole)
    assert (fetch_source("tiny", "bookworm", lambda _: None).folder / "tiny.c").is_file()


@pytest.mark.parametrize("fetch", [fetch_source, fetch_library])
def test_a_package_that_does_not_exist_is_named(
    fetch: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that lacks a package would end a build with a traceback."""
    needs("dpkg-source", "dpkg-deb")
    install_mirror(tmp_path, monkeypatch, listed=False)
    assert callable(fetch)
    with pytest.raises(HostError, match=r"Debian bookworm has no (source )?package tiny"):
        fetch("tiny", "bookworm", lambda _: None)


def test_a_host_without_dpkg_source_is_told_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint would name a package that does not exist."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "shutil.which", lambda name, path=None: None if name == "dpkg-source" else "/bin/true"
    )
    with pytest.raises(ToolMissing, match="dpkg-source is not installed") as caught:
        fetch_source("tiny", "bookworm", lambda _: None)
    assert caught.value.hint == "apt-get install dpkg-dev"


def test_source_lists_are_fetched_only_where_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every build of an image would download the lists of all sources as well."""
    install_fake_apt(tmp_path, monkeypatch, "Debian http://m.invalid/debian")
    for kind in ("deb", "deb-src"):
        packages.PrivateApt(tmp_path / kind, "bookworm", kind=kind)
        lines = (tmp_path / kind / "sources.list").read_text().splitlines()
        assert lines and all(line.split()[0] == kind for line in lines)
        assert all(" http://m.invalid/debian bookworm" in line for line in lines)
