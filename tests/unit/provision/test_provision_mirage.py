"""How opam and mirage are driven to build the MirageOS guest, with a stand-in for opam."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from guestbench import provision
from guestbench.definition.systems import SYSTEMS, load_catalogue
from guestbench.errors import HostError, ImageError, ToolFailed, ToolMissing
from guestbench.model import Role
from guestbench.provision.programs import build_program, program_sources, source_digest
from guestbench.provision.recipes import Site
from guestbench.provision.recipes.mirage import Mirage

NAME = "mirage-unikraft"
FOLDER = SYSTEMS / NAME
PINS = Mirage(ocaml="5.3.0", packages={"mirage": "4.11.1", "irmin": "3.11.0"})

# It notes each call, does the part of a step that later steps need, and fails where it is told to.
FAKE_OPAM = """\
#!{python}
import json, os, pathlib, sys
words = sys.argv[1:]
with open({calls!r}, "a") as calls:
    calls.write(json.dumps({{"argv": words, "env": dict(os.environ), "cwd": os.getcwd()}}) + "\\n")
failing = json.loads({failing!r})
if failing and failing["word"] in words:
    print("out: half done")
    print("err: " + failing["text"], file=sys.stderr)
    sys.exit(failing["status"])
root = pathlib.Path(os.environ["OPAMROOT"])
if words[0] == "init":
    root.mkdir()
    (root / "config").touch()
elif words[:2] == ["switch", "create"]:
    (root / words[2]).mkdir()
elif words[:2] == ["switch", "list"]:
    print("\\n".join(path.name for path in root.iterdir() if path.is_dir()))
elif words[-2:] == ["make", "build"]:
    pathlib.Path("dist").mkdir()
    pathlib.Path("dist/guestbench.qemu").write_bytes(b"a kernel")
elif "dune" in words:
    pathlib.Path("_build/default").mkdir(parents=True)
    pathlib.Path("_build/default/main.exe").write_bytes(b"a program")
"""


class Host:
    """A host with a stand-in for opam, an own cache and a workspace."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = tmp_path / "bin"
        self.bin.mkdir()
        self.calls_file = tmp_path / "calls"
        self.cache = tmp_path / "cache" / "guestbench"
        self.base = tmp_path
        self.said: list[str] = []
        for tool in ("make", "gcc", "git"):
            self.add_tool(tool, "#!/bin/sh\nexit 0\n")
        self.install()
        monkeypatch.setenv("PATH", f"{self.bin}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("OPAMROOT", "/users-own/opam")
        monkeypatch.setenv("OPAMSWITCH", "users-own")

    def add_tool(self, name: str, script: str) -> None:
        """Put a script on PATH."""
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def install(self, word: str = "", status: int = 0, text: str = "") -> None:
        """Install the stand-in; it fails in commands with this word among its arguments."""
        failing = json.dumps({"word": word, "status": status, "text": text} if word else None)
        self.add_tool(
            "opam",
            FAKE_OPAM.format(python=sys.executable, calls=str(self.calls_file), failing=failing),
        )

    def build(self) -> tuple[Path, list[tuple[str, str]]]:
        """Build in a new workspace; returns that, and the packages."""
        work = self.base / f"work-{len(list(self.base.glob('work-*')))}"
        work.mkdir()
        made = PINS.build(Site(system=NAME, folder=FOLDER, key=""), work, self.said.append)
        return work, [(each.name, each.version) for each in made.packages]

    def calls(self) -> list[dict[str, object]]:
        """What opam was called with."""
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def argvs(self) -> list[list[str]]:
        """The arguments of all calls."""
        return [call["argv"] for call in self.calls()]  # type: ignore[misc]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host that has everything but bubblewrap."""
    return Host(tmp_path, monkeypatch)


def test_steps_build_guest_and_program(site: Host) -> None:
    """A user with opam would get no image, or one of other versions than the pinned ones."""
    work, packages = site.build()
    assert (work / "kernel.qemu").read_bytes() == b"a kernel"
    assert (work / "irmin").read_bytes() == b"a program"
    assert packages == [("irmin", "3.11.0"), ("mirage", "4.11.1"), ("ocaml", "5.3.0")]
    assert site.argvs() == [
        ["init", "--bare", "--no-setup", "--disable-sandboxing"],
        ["switch", "list", "--short"],
        ["switch", "create", "guestbench-5.3.0", "ocaml-base-compiler.5.3.0", "--no-switch"],
        ["install", "irmin.3.11.0", "mirage.4.11.1"],
        ["exec", "--", "mirage", "configure", "-t", "unikraft-qemu", "--no-depext"],
        ["exec", "--", "make", "depends"],
        ["exec", "--", "make", "build"],
        ["exec", "--", "dune", "build", "--profile", "release", "--root", ".", "./main.exe"],
    ]
    assert [line for line in site.said if line.startswith("opam ")] == [
        " ".join(["opam", *argv]) for argv in site.argvs()
    ]


def test_users_own_opam_is_left_alone(site: Host) -> None:
    """A build would install compilers and packages into the user's own switch."""
    site.build()
    for call in site.calls():
        env = call["env"]
        assert isinstance(env, dict)
        assert env["OPAMROOT"] == str(site.cache / "opam")
        assert env["OPAMSWITCH"] == "guestbench-5.3.0"
        assert env["OPAMNODEPEXTS"] == "1"
        assert env["OCAMLPATH"] == ""


def test_second_build_uses_root_and_switch_again(site: Host) -> None:
    """Every build would compile OCaml anew, or stumble over what the first one left."""
    site.build()
    first = len(site.calls())
    site.build()
    assert [argv[:2] for argv in site.argvs()[first : first + 3]] == [
        ["update"],
        ["switch", "list"],
        ["install", "irmin.3.11.0"],
    ]


def test_sandbox_stays_on_where_it_works(site: Host) -> None:
    """Scripts of downloaded packages would reach the user's files although opam could keep them away."""
    site.add_tool("bwrap", "#!/bin/sh\nexit 0\n")
    site.build()
    assert site.argvs()[0] == ["init", "--bare", "--no-setup"]
    assert not any("sandbox" in line for line in site.said)


def test_broken_sandbox_is_told(site: Host) -> None:
    """In a container every package would fail to build, or nobody would know that the sandbox is off."""
    site.add_tool("bwrap", "#!/bin/sh\nexit 1\n")
    site.build()
    assert "--disable-sandboxing" in site.argvs()[0]
    assert any("without its sandbox" in line for line in site.said)


def test_sources_and_their_digests_reach_the_build(site: Host) -> None:
    """The image would not compile, or would report other sources than it was built from."""
    work, _ = site.build()
    for name in ("config.ml", "unikernel.ml", "bench.ml", "irmin_store.ml", "merkle_store.ml"):
        assert (work / "unikernel" / name).is_file(), name
    for name in ("dune", "dune-project", "main.ml", "bench.ml", "irmin_store.ml", "linux.ml", "stubs.c"):
        assert (work / "linux" / name).is_file(), name
    info = (work / "unikernel" / "build_info.ml").read_text()
    shared = program_sources("merkle")
    merkle = source_digest([shared["bench.ml"], shared["merkle_store.ml"]])
    irmin = source_digest([shared["bench.ml"], FOLDER / "irmin_store.ml"])
    assert f'let merkle_source = "{merkle}"\n' in info
    assert f'let irmin_source = "{irmin}"\n' in info
    assert 'let compiler = "ocaml-5.3.0"\n' in info
    assert f'let irmin_source = "{irmin}"\n' in (work / "linux" / "build_info.ml").read_text()


def test_every_source_counts_for_the_cache(site: Host) -> None:
    """A changed source would go on being measured as the old image."""
    del site
    listed = PINS.sources(FOLDER)
    assert all(path.is_file() for path in listed.values())
    assert {"config.ml", "unikernel.ml", "linux/main.ml", "merkle/merkle_store.ml", "merkle/stubs.c"} <= set(
        listed
    )


def test_built_guest_and_its_program_for_linux_are_found_afterwards(
    site: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half an hour of building, a run would still have neither the unikernel nor Irmin for Linux."""
    monkeypatch.setenv("PATH", f"{site.bin}:{os.environ['PATH']}:/usr/bin:/bin")
    monkeypatch.chdir(site.base)
    catalogue = load_catalogue()
    guest = provision.build(catalogue["mirage-unikraft"], catalogue, site.said.append)
    assert Path(guest.images[Role.KERNEL].path).read_bytes() == b"a kernel"
    assert "opam packages" in guest.origin.detail
    assert "irmin 3.11.0" in guest.origin.detail
    program = Path(build_program("irmin", site.said.append).path)
    assert program.read_bytes() == b"a program"
    assert os.access(program, os.X_OK)


def test_a_run_does_not_begin_to_build_the_guest(site: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison would install compilers for half an hour because opam happens to be there."""
    monkeypatch.chdir(site.base)
    catalogue = load_catalogue()
    with pytest.raises(ImageError, match="has no image") as refusal:
        provision.prepare(catalogue["mirage-unikraft"], {}, catalogue, say=site.said.append)
    assert "--system mirage-unikraft=" in refusal.value.hint
    assert not site.calls_file.exists()


def test_unreachable_repository_is_named(site: Host) -> None:
    """Behind a firewall a user would see a build error instead of being told to bring an image."""
    site.install("init", 40, "Could not resolve host")
    with pytest.raises(HostError, match="cannot be reached") as caught:
        site.build()
    assert not isinstance(caught.value, ToolFailed)
    assert "Could not resolve host" in caught.value.message
    assert caught.value.hint == "guestbench run --system mirage-unikraft=PATH"
    assert not (site.cache / "opam").exists()


def test_failing_step_shows_its_end(site: Host) -> None:
    """A user would learn that a build failed but not why."""
    site.install("depends", 31, "No solution for conf-pkg-config")
    with pytest.raises(ToolFailed) as caught:
        site.build()
    assert "opam exec -- make depends failed with status 31" in caught.value.message
    assert "out: half done" in caught.value.message
    assert "No solution for conf-pkg-config" in caught.value.message
    assert caught.value.status == 31
    site.install()
    site.build()


def test_missing_opam_is_named_with_the_way_out(site: Host) -> None:
    """A user without opam would not know what to install, or that an image may be brought."""
    (site.bin / "opam").unlink()
    with pytest.raises(ToolMissing, match="--system mirage-unikraft=PATH") as caught:
        site.build()
    assert caught.value.hint == "apt-get install opam"


def test_failing_update_keeps_what_is_there(site: Host) -> None:
    """One build without a network would cost the next one an hour of compiling everything anew."""
    site.build()
    site.install("update", 40, "Could not update repository")
    with pytest.raises(HostError, match="cannot be reached"):
        site.build()
    assert (site.cache / "opam" / "guestbench-5.3.0").is_dir()
