"""The MirageOS guest built by a real opam, from small packages of the test, with a stand-in for mirage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from guestbench.definition.systems import SYSTEMS, load_catalogue
from guestbench.errors import HostError, ToolFailed
from guestbench.host import process
from guestbench.provision import cache
from guestbench.provision.recipes import Site
from guestbench.provision.recipes.mirage import LOCK, TOOLS, Mirage
from guestbench.provision.system_images import recipe_of

NAME = "mirage-unikraft"
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS), reason="apt-get install opam bison flex pkg-config"
)

# What it writes is what the real one writes, in small: the Makefile adds the lists of packages that it was
# given, locks, installs and fetches; building leaves the kernel.
MIRAGE = r"""#!/bin/sh
test "$1 $2 $3 $4 $5" = "configure -t unikraft-qemu --no-depext --extra-repos" || exit 124
mkdir mirage
cat > mirage/guestbench-unikraft-qemu.opam <<END
opam-version: "2.0"
END
cat > Makefile <<END
repo-add:
	opam repo add overlays $OVERLAY || opam repo set-url overlays $OVERLAY
lock:
	@\$(MAKE) -s repo-add
	@opam list --installed --columns=name,version --short irmin mirage ocaml-unikraft | \
	sed 's/\([^ ]*\) *\(.*\)/  "\1" {= "\2" \& ?vendor}/' > mirage/guestbench-unikraft-qemu.opam.locked
depends:
	@\$(MAKE) --no-print-directory lock
	opam install \$(PULLED)
build:
	mkdir dist && cp mirage/guestbench-unikraft-qemu.opam.locked dist/guestbench.qemu
END
"""
DUNE = "#!/bin/sh\nmkdir -p _build/default && ocaml-version > _build/default/main.exe\n"


class Repository:
    """A folder with packages as opam reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "repo").write_text('opam-version: "2.0"\n')

    def add(self, package: str, body: str = "", **programs: str) -> None:
        """Add a package, NAME.VERSION, that installs these scripts."""
        name = package.partition(".")[0]
        where = self.folder / "packages" / name / package
        (where / "files").mkdir(parents=True, exist_ok=True)
        for program, script in programs.items():
            (where / "files" / program).write_text(script)
            (where / "files" / program).chmod(0o755)
        files = "".join(f'["{program}" "md5={_md5(where / "files" / program)}"]' for program in programs)
        install = "".join(f'["cp" "{program}" "%{{bin}}%/{program}"]' for program in programs)
        text = f'opam-version: "2.0"\n{body}\n'
        text += f"extra-files: [{files}]\ninstall: [{install}]\n" if programs else ""
        (where / "opam").write_text(text)


def _md5(path: Path) -> str:
    return cache.hash_file(path, "md5")


class Builder:
    """A host with opam and a list of packages of its own; it reaches no other."""

    def __init__(self, tmp_path: Path) -> None:
        self.base, self.said = tmp_path, list[str]()
        self.packages = Repository(tmp_path / "packages")
        self.overlay = Repository(tmp_path / "overlay")

    def build(self, recipe: Mirage, site: str = NAME) -> tuple[Path, dict[str, str]]:
        """Build in a new workspace; returns that, and the packages with their versions."""
        work = self.base / f"work-{len(list(self.base.glob('work-*')))}"
        work.mkdir()
        made = recipe.build(Site(site, SYSTEMS / NAME, ""), work, self.said.append)
        return work, {each.name: each.version for each in made.packages}

    def installed(self, ocaml: str) -> dict[str, str]:
        """What is in our switch."""
        listed = process.run(
            ["opam", "list", "--short", "--columns=name,version"],
            env={"OPAMROOT": str(cache.cache_folder() / "opam"), "OPAMSWITCH": f"guestbench-{ocaml}"},
        )
        return dict(line.split() for line in listed.stdout.decode().splitlines())


@pytest.fixture(scope="module")
def catalogue_recipe() -> Mirage:
    """The recipe that users build with."""
    recipe = recipe_of(load_catalogue()[NAME])
    assert isinstance(recipe, Mirage)
    return recipe


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Builder]:
    """Has packages in several versions, of which opam would choose others than those that go together."""
    made = Builder(tmp_path)
    (tmp_path / ".opamrc").write_text(f'repositories: [ "default" {{"file://{made.packages.folder}"}} ]\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPAMSWITCH", "users-own")
    monkeypatch.setenv("OVERLAY", str(made.overlay.folder))
    monkeypatch.setenv("PULLED", "pulled")
    add = made.packages.add
    for version in ("5.3.0", "5.4.0"):
        add(
            f"ocaml-base-compiler.{version}",
            "flags: compiler",
            **{"ocaml-version": f"#!/bin/sh\necho {version}\n"},
        )
    add("dune.3.17.0", dune=DUNE)
    add("mirage.4.11.1", 'depends: ["dune"]', mirage=MIRAGE)
    add("mirage.4.12.0", 'depends: ["dune"]')
    add("irmin.3.11.0")
    add("irmin.3.12.0")
    for version, backend in (("1.1.0", "0.20.0"), ("1.2.0", "1.2.0-0.20.0"), ("1.3.0", "1.3.0-0.21.0")):
        for name in ("ocaml-unikraft", "ocaml-unikraft-x86_64", "ocaml-unikraft-default-x86_64"):
            add(f"{name}.{version}", f'depends: ["ocaml-unikraft-toolchain" {{= "{backend}"}}]')
        add(f"ocaml-unikraft-toolchain.{backend}")
        add(f"ocaml-unikraft-backend-qemu-x86_64.{backend}")
    made.overlay.add("pulled.1")
    yield made


def test_the_toolchain_is_one_that_goes_together(builder: Builder, catalogue_recipe: Mirage) -> None:
    """A compiler beside a backend of another version has a stack that is too small for the benchmark."""
    work, packages = builder.build(catalogue_recipe)
    wanted = {"ocaml": "5.3.0", **catalogue_recipe.packages}
    assert packages == wanted
    in_switch = builder.installed("5.3.0")
    assert {name: in_switch[name] for name in catalogue_recipe.packages} == catalogue_recipe.packages
    assert in_switch["ocaml-unikraft-toolchain"] == in_switch["ocaml-unikraft-backend-qemu-x86_64"]
    assert in_switch["pulled"] == "1"
    assert (work / "irmin").read_text() == "5.3.0\n"
    assert '"irmin" {= "3.11.0" & ?vendor}' in (work / LOCK).read_text()


def test_a_new_ocaml_and_a_failed_one_do_not_stop_later_builds(
    builder: Builder, catalogue_recipe: Mirage
) -> None:
    """opam refuses every command while the switch that it is told is not there, and the cache had to go."""
    builder.packages.add("ocaml-base-compiler.5.3.0", 'flags: compiler\nbuild: [["false"]]')
    with pytest.raises(ToolFailed) as caught:
        builder.build(catalogue_recipe)
    assert caught.value.status == 31
    builder.packages.add(
        "ocaml-base-compiler.5.3.0", "flags: compiler", **{"ocaml-version": "#!/bin/sh\necho 5.3.0\n"}
    )
    builder.build(catalogue_recipe)
    work, _ = builder.build(msgspec.structs.replace(catalogue_recipe, ocaml="5.4.0"))
    assert (work / "irmin").read_text() == "5.4.0\n"


@pytest.mark.parametrize("what", ["overlay", "archive", "git"])
def test_what_cannot_be_fetched_within_make_is_named(
    builder: Builder, catalogue_recipe: Mirage, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A user behind a firewall would see that make failed with status 2, and search in the build."""
    where = f"https://nowhere.invalid/{what}"
    if what == "overlay":
        monkeypatch.setenv("OVERLAY", f"git+{where}")
    elif what == "archive":
        checksum = "md5=d41d8cd98f00b204e9800998ecf8427e"
        builder.overlay.add("pulled.1", f'url {{ src: "{where}" checksum: "{checksum}" }}')
    else:
        builder.overlay.add("pulled.1", f'url {{ src: "git+{where}" }}')
    with pytest.raises(HostError) as caught:
        builder.build(catalogue_recipe)
    assert not isinstance(caught.value, ToolFailed)
    first = caught.value.message.splitlines()[0]
    assert where in first and "cannot be reached from this machine (opam exec -- make depends)" in first
    assert caught.value.hint == f"guestbench run --system {NAME}=PATH"


def test_a_package_that_does_not_build_within_make_is_told_as_that(
    builder: Builder, catalogue_recipe: Mirage
) -> None:
    """A user would look for a broken network where a package does not compile."""
    builder.overlay.add("pulled.1", 'build: [["sh" "-c" "echo no such header >&2; exit 1"]]')
    with pytest.raises(ToolFailed, match="make depends failed with status 2") as caught:
        builder.build(catalogue_recipe)
    assert "no such header" in caught.value.message
