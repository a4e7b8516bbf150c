"""Builds the MirageOS guest and the Irmin program for Linux with opam and mirage; it boots neither.

Everything of opam's stays in a root of its own below the cache: the user's own opam root, switches and shell
setup are neither read nor written, and no package of the host is installed or asked for.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from guestbench.errors import HostError, ToolFailed, ToolMissing
from guestbench.host import process
from guestbench.model import Role, Say
from guestbench.provision import cache
from guestbench.provision.cache import Made, Package
from guestbench.provision.programs import MERKLE, program_sources, source_digest, write_build_info
from guestbench.provision.recipes import Recipe, Site
from guestbench.provision.versions import find_versions

TOOLS = ("opam", "make", "gcc", "git", "bison", "flex", "pkg-config", "python3")
"""Programs that must be there: opam fetches with git, too, and Unikraft is configured with the last four."""
TARGET = "unikraft-qemu"
OVERLAYS = "opam-overlays:https://github.com/dune-universe/opam-overlays.git"
"""Packages that dune can build for another machine. A second list, which mirage adds, is merged into it."""
KERNEL = "kernel.qemu"
LOCK = "guestbench.opam.locked"
"""What mirage wrote down of every package in the kernel; kept beside it."""
IRMIN = "irmin"
LINUX_FLAGS = "-static"
UNIKERNEL_SOURCES = ("config.ml", "unikernel.ml", "irmin_store.ml")
LINUX_SOURCES = ("irmin_store.ml", "linux/dune", "linux/dune-project", "linux/main.ml")

SYNC_ERROR, BUILD_ERROR = 40, 31
"""Exit status of opam when it cannot fetch, and when a package fails to build; opam(1), "EXIT STATUS"."""
MAKE_ERROR = re.compile(r"^make.* Error (\d+)$", re.MULTILINE)
"""How make tells the status of a command that failed; its own is 2 whatever that was."""
UNREACHED = (
    re.compile(r"unable to access '([^']+)'"),  # git
    re.compile(r'Could not synchronize \S+ from "([^"]+)"'),  # opam
    re.compile(r'Fetch_fail\("([^"\s]+)'),  # opam 2.1
    re.compile(r"code \d+ while downloading ([^\s)]+)"),  # opam from 2.2 on
    re.compile(r"[Cc]ould not resolve host(?:name)?:? ([^\s:;,]+)"),  # curl, ssh
    re.compile(r"[Ff]ailed to connect to (\S+)"),  # curl
)
"""How programs that fetch say from where they could not, the most exact first."""
LOCKED = re.compile(r'^\s*"([^"\s]+)" \{\s*= "([^"]+)"', re.MULTILINE)
"""A package of a lock file with its version."""
REACH_S = 900.0
"""Time for opam to fetch its list of packages, some ten megabytes; behind a closed firewall it tries long."""
REPORTED_LINES = 12


class Mirage(Recipe, tag="mirage"):
    """A MirageOS unikernel, and its benchmark for Linux, built with opam and mirage.

    `ocaml` is the version of OCaml for the host, as in `5.3.0`; the cross compiler has the same. `packages`
    are those of opam's repository whose versions are pinned: mirage, the ocaml-unikraft packages, and irmin.
    """

    images: ClassVar[Mapping[Role, str]] = {Role.KERNEL: KERNEL}
    version: ClassVar[int] = 2
    leaves: ClassVar[tuple[str, ...]] = (IRMIN,)

    ocaml: str
    packages: dict[str, str]

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """Those of the unikernel and of the program, in the system's folder, and those of the Merkle tree."""
        own = {name: folder / name for name in (*UNIKERNEL_SOURCES, *LINUX_SOURCES)}
        return own | {f"{MERKLE}/{name}": path for name, path in program_sources(MERKLE).items()}

    def tools(self) -> object:
        """The C compiler of the host; all others are pinned."""
        return [TARGET, OVERLAYS, LINUX_FLAGS, find_versions("gcc")]

    def build(self, site: Site, work: Path, say: Say) -> Made:
        """Build unikernel and program. Each command is told before it is run.

        Raises:
            ToolMissing: opam or a tool that it needs is not installed.
            ToolFailed: a step failed; the end of its output is in the message.
            HostError: something that is to be fetched cannot be reached.
        """
        bring = f"guestbench run --system {shlex.quote(site.system)}=PATH"
        _check_tools(bring)
        opam = _Opam(cache.cache_folder() / "opam", f"guestbench-{self.ocaml}", work, say, bring)
        with cache.locked("opam"):
            opam.prepare_root()
            opam.prepare_switch(self.ocaml)
            pins = [f"{name}.{version}" for name, version in sorted(self.packages.items())]
            opam.run(["install", *pins])
            # The unikernel: the same compiler and no flags beside what mirage itself gives.
            folder = work / "unikernel"
            self._copy(site.folder, UNIKERNEL_SOURCES, ("bench.ml", "merkle_store.ml"), "default", folder)
            configure = ["mirage", "configure", "-t", TARGET, "--no-depext", "--extra-repos", OVERLAYS]
            opam.run_in_switch(configure, folder)
            opam.run_in_switch(["make", "depends"], folder)
            locked = self._keep_lock(folder, work, bring)
            opam.run_in_switch(["make", "build"], folder)
            # The same benchmark for Linux, from the libraries of the switch.
            folder = work / "linux"
            shared = ("bench.ml", "linux.ml", "stubs.c")
            self._copy(site.folder, LINUX_SOURCES, shared, LINUX_FLAGS, folder)
            flags = ["--profile", "release", "--root", "."]
            opam.run_in_switch(["dune", "build", *flags, "./main.exe"], folder)
        shutil.copyfile(work / "unikernel" / "dist" / "guestbench.qemu", work / KERNEL)
        shutil.copyfile(work / "linux" / "_build" / "default" / "main.exe", work / IRMIN)
        (work / IRMIN).chmod(0o755)
        # The lock holds what is in the kernel; the compiler and the program for Linux are of the switch.
        found = sorted({*locked, *self.packages.items(), ("ocaml", self.ocaml)})
        packages = tuple(Package(name=name, version=version) for name, version in found)
        return Made(files=(KERNEL, IRMIN, LOCK), packages=packages)

    def _keep_lock(self, folder: Path, work: Path, bring: str) -> Iterable[tuple[str, str]]:
        """Copy the lock file of the unikernel in `folder`; returns its packages with their versions."""
        locks = [*(folder / "mirage").glob("*.opam.locked")]
        if len(locks) != 1:
            raise HostError(f"mirage left {len(locks)} lock files, not one: what it builds is unknown", bring)
        shutil.copyfile(locks[0], work / LOCK)
        return LOCKED.findall(locks[0].read_text())

    def _copy(self, folder: Path, own: Sequence[str], shared: Sequence[str], flags: str, work: Path) -> None:
        """Copy the system's `own` sources to `work`, and those `shared` with the program for Linux."""
        work.mkdir()
        merkle = program_sources(MERKLE)
        for path in (*(folder / name for name in own), *(merkle[name] for name in shared)):
            shutil.copyfile(path, work / path.name)
        write_build_info(
            work,
            merkle_source=source_digest([merkle["bench.ml"], merkle["merkle_store.ml"]]),
            irmin_source=source_digest([merkle["bench.ml"], folder / "irmin_store.ml"]),
            compiler=f"ocaml-{self.ocaml}",
            flags=flags,
        )

    def describe(self, made: Made) -> str:
        """The versions of what is pinned, and where those of all other packages are."""
        named = {"ocaml", *self.packages}
        told = ", ".join(f"{each.name} {each.version}" for each in made.packages if each.name in named)
        return f"opam packages ({len(made.packages)} in all, those of the kernel in {LOCK}): {told}"


def _check_tools(bring: str) -> None:
    """Name all the tools that are missing at once: each costs the user a try."""
    missing = []
    for tool in TOOLS:
        try:
            process.find_tool(tool)
        except ToolMissing:
            missing.append(tool)
    if missing:
        packages = " ".join(process.DEBIAN_PACKAGES.get(tool, tool) for tool in missing)
        raise ToolMissing(
            f"{', '.join(missing)}: not installed, and the MirageOS guest is built with that; "
            f"or bring an image: {bring}",
            f"apt-get install {packages}",
        )


class _Opam(NamedTuple):
    """opam with a root and a switch of ours; the output of each command goes to a log file below `work`."""

    root: Path
    switch: str
    work: Path
    say: Say
    bring: str

    def _environment(self, switch: str) -> dict[str, str]:
        return {
            "OPAMROOT": str(self.root),
            "OPAMSWITCH": switch,
            # Their messages are read, and would come in the user's language.
            "LC_ALL": "C",
            "OPAMYES": "1",
            "OPAMCOLOR": "never",
            "OPAMROOTISOK": "1",
            # Packages of the host are the user's affair: opam would call sudo and apt-get for them.
            "OPAMNODEPEXTS": "1",
            # Libraries that the user has elsewhere would be taken before those of the switch.
            "OCAMLPATH": "",
        }

    def prepare_root(self) -> None:
        """Make the root, or bring its list of packages up to date."""
        if (self.root / "config").is_file():
            self.run(["update"], switch="", timeout_s=REACH_S)
            return
        self.root.parent.mkdir(parents=True, exist_ok=True)
        # Packages run scripts of strangers, which opam's sandbox keeps from the network and the home folder.
        # It takes bubblewrap and a kernel that lets it: in many containers there is neither.
        sandboxed = _can_sandbox()
        if not sandboxed:
            self.say("bubblewrap does not work here: opam builds without its sandbox")
        flags = ["--bare", "--no-setup", *([] if sandboxed else ["--disable-sandboxing"])]
        try:
            self.run(["init", *flags], switch="", timeout_s=REACH_S)
        except HostError:
            # A half-made root would be taken for a whole one.
            shutil.rmtree(self.root, ignore_errors=True)
            raise

    def prepare_switch(self, ocaml: str) -> None:
        """Make the switch with its compiler, unless a build before this one has."""
        listed = self.run(["switch", "list", "--short"], switch="")
        if self.switch not in listed.split():
            create = ["switch", "create", self.switch, f"ocaml-base-compiler.{ocaml}", "--no-switch"]
            self.run(create, switch="")

    def run_in_switch(self, argv: Sequence[str], cwd: Path) -> None:
        """Run a program of the switch, with the environment that opam makes for it."""
        self.run(["exec", "--", *argv], cwd=cwd)

    def run(
        self,
        words: Sequence[str],
        *,
        cwd: Path | None = None,
        switch: str | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Run opam with these arguments; returns what it printed to its standard output.

        `switch` is empty where ours need not be there yet: opam refuses all work in one that is not. It runs
        in the workspace if not in `cwd`, since it would take up a local switch of the user's folder.

        Raises:
            ToolFailed: it failed.
            HostError: it could not fetch what it had to.
        """
        command = " ".join(["opam", *words])
        self.say(command)
        log = self.work / f"step-{len([*self.work.glob('step-*.log')]) + 1}.log"
        environment = self._environment(self.switch if switch is None else switch)
        try:
            with log.open("wb") as output:
                process.run(
                    ["opam", *words],
                    cwd=cwd or self.work,
                    env=environment,
                    timeout_s=timeout_s,
                    stdout=output,
                )
        except ToolFailed as failed:
            text = f"{process.tail_file(log)}\n{failed.stderr}"
            told = "\n".join([line for line in text.splitlines() if line.strip()][-REPORTED_LINES:])
            # Only steps that do nothing but fetch have a time limit.
            late = timeout_s is not None and failed.status < 0
            where = _find_unreached(SYNC_ERROR if late else failed.status, text)
            if where:
                message = f"{where} cannot be reached from this machine ({command}):\n{told}"
                raise HostError(message, self.bring) from None
            raise ToolFailed(
                f"{command} failed with status {failed.status}:\n{told}",
                self.bring,
                status=failed.status,
                stderr=failed.stderr,
            ) from None
        return log.read_text(errors="replace")


def _find_unreached(status: int, text: str) -> str:
    """What could not be fetched, by a command's status and what it printed; empty if it failed otherwise.

    A mirror that failed before another one served is no reason: a package that fails to build is one itself.
    """
    inner = {int(number) for number in MAKE_ERROR.findall(text)}
    if SYNC_ERROR not in {status, *inner} and (BUILD_ERROR in inner or not inner):
        return ""
    # opam breaks lines to fit a terminal, in the middle of what a program said.
    whole = " ".join(text.split())
    found = next(filter(None, (pattern.search(whole) for pattern in UNREACHED)), None)
    if found:
        return found[1]
    return "opam's repository of packages" if SYNC_ERROR in {status, *inner} else ""


def _can_sandbox() -> bool:
    try:
        argv = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-net", "true"]
        return process.run(argv, timeout_s=30, check=False).status == 0
    except (ToolMissing, ToolFailed):
        return False


RECIPE = Mirage
