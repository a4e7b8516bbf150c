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
    print("err:", failing["text"], sep="\\n", file=sys.stderr)
    sys.exit(failing["status"])
root = pathlib.Path(os.environ["OPAMROOT"])
switch = os.environ.get("OPAMSWITCH")
if words[0] not in ("init", "switch") and switch and not (root / switch).is_dir():
    print(f"[ERROR] The selected switch {{switch}} is not installed.", file=sys.stderr)
    sys.exit(50)
if words[0] == "init":
    root.mkdir()
    (root / "config").touch()
elif words[:2] == ["switch", "create"]:
    (root / words[2]).mkdir()
elif words[:2] == ["switch", "list"]:
    print("\\n".join(path.name for path in root.iterdir() if path.is_dir()))
elif words[-2:] == ["make", "depends"]:
    pathlib.Path("mirage").mkdir()
    pathlib.Path("mirage/guestbench-unikraft-qemu.opam.locked").write_text({lock!r})
elif words[-2:] == ["make", "build"]:
    pathlib.Path("dist").mkdir()
    pathlib.Path("dist/guestbench.qemu").write_bytes(b"a kernel")
elif "dune" in words:
    pathlib.Path("_build/default").mkdir(parents=True)
    pathlib.Path("_build/default/main.exe").write_bytes(b"a program")
"""

# As opam-monorepo writes it: packages of the switch, and those whose sources are vendored.
LOCK = """\
opam-version: "2.0"
synopsis: "opam-monorepo generated lockfile"
depends: [
  "base-bytes" {= "base" & ?vendor}
  "irmin" {= "3.11.0" & ?vendor}
  "mirage" {= "4.11.1"}
  "tcpip" {= "9.0.1" & vendor}
]
pin-depends: [
  ["irmin.3.11.0" "https://example.org/irmin-3.11.0.tbz"]
]
x-opam-monorepo-duniverse-dirs: [
  ["https://example.org/irmin-3.11.0.tbz" "irmin" ["sha256=00"]]
]
"""

EXEC = ("exec", "--")
OVERLAYS = "opam-overlays:https://github.com/dune-universe/opam-overlays.git"
TOOLS = ("make", "gcc", "git", "bison", "flex", "pkg-config", "python3")


class Host:
    """A host with a stand-in for opam, an own cache and a workspace."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = tmp_path / "bin"
        self.bin.mkdir()
        self.calls_file = tmp_path / "calls"
        self.cache = tmp_path / "cache" / "guestbench"
        self.base = tmp_path
        self.said: list[str] = []
        self.lock = LOCK
        for tool in TOOLS:
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
            FAKE_OPAM.format(
                python=sys.executable, calls=str(self.calls_file), failing=failing, lock=self.lock
            ),
        )

    def build(self, recipe: Mirage = PINS) -> tuple[Path, list[tuple[str, str]]]:
        """Build in a new workspace; returns that, and the packages."""
        work = self.base / f"work-{len(list(self.base.glob('work-*')))}"
        work.mkdir()
        made = recipe.build(Site(system=NAME, folder=FOLDER, key=""), work, self.said.append)
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
    assert dict(packages).keys() == {"base-bytes", "irmin", "mirage", "ocaml", "tcpip"}
    assert site.argvs() == [
        ["init", "--bare", "--no-setup", "--disable-sandboxing"],
        ["switch", "list", "--short"],
        ["switch", "create", "guestbench-5.3.0", "ocaml-base-compiler.5.3.0", "--no-switch"],
        ["install", "irmin.3.11.0", "mirage.4.11.1"],
        [*EXEC, "mirage", "configure", "-t", "unikraft-qemu", "--no-depext", "--extra-repos", OVERLAYS],
        [*EXEC, "make", "depends"],
        [*EXEC, "make", "build"],
        [*EXEC, "dune", "build", "--profile", "release", "--root", ".", "./main.exe"],
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
        assert env["OPAMSWITCH"] in ("", "guestbench-5.3.0")
        assert call["cwd"] != str(Path.cwd()), "where a local switch of the user may lie"
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
    beside = Path(guest.images[Role.KERNEL].path).with_name("guestbench.opam.locked")
    assert beside.read_text() == LOCK and beside.name in guest.origin.detail
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


def test_all_missing_tools_are_named_at_once(site: Host) -> None:
    """After minutes of building, Unikraft would stop for want of bison, and then for want of the next."""
    for tool in ("bison", "flex", "pkg-config", "python3"):
        (site.bin / tool).unlink()
    with pytest.raises(ToolMissing, match="bison, flex, pkg-config, python3") as caught:
        site.build()
    assert caught.value.hint == "apt-get install bison flex pkg-config python3-venv"
    assert not site.calls_file.exists()


def test_another_ocaml_builds_in_a_root_that_is_there(site: Host) -> None:
    """With a new version of OCaml every build would stop at the update, since its switch is not there yet."""
    site.build()
    site.build(Mirage(ocaml="5.4.0", packages=PINS.packages))
    assert (site.cache / "opam" / "guestbench-5.4.0").is_dir()


def test_a_switch_that_could_not_be_made_is_made_again(site: Host) -> None:
    """After a compiler that failed to build once, every build would stop until the cache is cleared."""
    site.install("create", 31, "ocaml-base-compiler failed")
    with pytest.raises(ToolFailed, match="status 31"):
        site.build()
    site.install()
    site.build()
    assert (site.cache / "opam" / "guestbench-5.3.0").is_dir()


# What opam 2.1.2, git and curl print where nothing answers, and opam 2.3 and ssh in other words.
UNREACHED = {
    "https://nowhere.invalid/o.git/": """\
[ERROR] Could not update repository "o": "git fetch -q" exited with code 128 "fatal: unable to access \
'https://nowhere.invalid/o.git/': Could not resolve host: nowhere.invalid"
[ERROR] Initial repository fetch failed
[ERROR] No repository o found
make[1]: *** [Makefile:2: repo-add] Error 5
make: *** [Makefile:4: lock] Error 2""",
    "https://nowhere.invalid/wrapped.git/": """\
[ERROR] Could not update repository "o": "git fetch -q" exited with code 128 "fatal: unable to
        access 'https://nowhere.invalid/wrapped.git/': Could not
        resolve host: nowhere.invalid"
make[1]: *** [Makefile:2: repo-add] Error 5
make: *** [Makefile:4: lock] Error 2""",
    "https://nowhere.invalid/far.tgz": """\
[ERROR] Failed to get sources of far.1: Curl failed
OpamSolution.Fetch_fail("https://nowhere.invalid/far.tgz (Curl failed: \\"curl\\" exited with code 6)")
make: *** [Makefile:6: pull] Error 40""",
    "git+https://nowhere.invalid/far.git": """\
[ERROR] Failed to get sources of far.1: git+https://nowhere.invalid/far.git
OpamSolution.Fetch_fail("git+https://nowhere.invalid/far.git")
make: *** [Makefile:8: pull] Error 40""",
    "https://nowhere.invalid/b.tbz": """\
[ERROR] Failed to get sources of b.1: curl error (curl: code 28 while downloading https://nowhere.invalid/b.tbz)
make: *** [Makefile:8: pull] Error 1""",
    "nowhere.invalid": """\
ssh: Could not resolve hostname nowhere.invalid: Name or service not known
make: *** [Makefile:8: pull] Error 128""",
    "opam's repository of packages": "make: *** [Makefile:8: pull] Error 40",
}


@pytest.mark.parametrize("where", UNREACHED)
def test_what_make_cannot_fetch_is_named(site: Host, where: str) -> None:
    """A user behind a firewall would search for a mistake in the build, whose status says nothing."""
    site.install("depends", 2, UNREACHED[where])
    with pytest.raises(HostError) as caught:
        site.build()
    assert not isinstance(caught.value, ToolFailed)
    assert caught.value.message.startswith(f"{where} cannot be reached from this machine (opam exec -- make")
    assert caught.value.hint == "guestbench run --system mirage-unikraft=PATH"


@pytest.mark.parametrize(
    "text",
    [
        "[WARNING] code 6 while downloading https://mirror.invalid/x\nmake: *** [Makefile:6: pull] Error 31",
        "lock: no solution\nmake: *** [Makefile:6: lock] Error 1",
        "unable to access 'x': a text of a program that is not make",
    ],
)
def test_what_fails_otherwise_is_not_called_unreachable(site: Host, text: str) -> None:
    """A user would look for a broken network where a package does not compile."""
    site.install("depends", 2, text)
    with pytest.raises(ToolFailed, match="make depends failed with status 2"):
        site.build()


def test_versions_are_those_that_were_locked(site: Host) -> None:
    """A report would tell versions that were asked for, and none of those that came with them."""
    site.lock = LOCK.replace("3.11.0", "3.11.1")
    site.install()
    work, packages = site.build()
    assert (work / "guestbench.opam.locked").read_text() == site.lock
    assert packages == [
        ("base-bytes", "base"),
        ("irmin", "3.11.0"),  # of the program for Linux
        ("irmin", "3.11.1"),
        ("mirage", "4.11.1"),
        ("ocaml", "5.3.0"),
        ("tcpip", "9.0.1"),
    ]


def test_a_build_without_a_lock_file_is_refused(site: Host) -> None:
    """Nobody would know what an image was built from."""
    site.add_tool("opam", (site.bin / "opam").read_text().replace(".opam.locked", ".opam"))
    with pytest.raises(HostError, match="0 lock files") as caught:
        site.build()
    assert caught.value.hint == "guestbench run --system mirage-unikraft=PATH"


def test_failing_update_keeps_what_is_there(site: Host) -> None:
    """One build without a network would cost the next one an hour of compiling everything anew."""
    site.build()
    site.install("update", 40, "Could not update repository")
    with pytest.raises(HostError, match="cannot be reached"):
        site.build()
    assert (site.cache / "opam" / "guestbench-5.3.0").is_dir()
