"""What is packed of a run as it is: its store, its evidence, the sources of its guests, and its environment.

All else in an artifact follows from these. The same function looks for them in a run's folder and in an
artifact that was unpacked; in neither it follows a path or a link that leads out.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import msgspec

from guestbench.artifact.archive import MAX_BYTES, Member, check_name
from guestbench.artifact.definitions import GUESTS, find_strangers
from guestbench.definition.files import PACKAGE
from guestbench.definition.rules import FILE_NAME
from guestbench.definition.systems import SYSTEM_FILE, is_folder, load_catalogue, load_system
from guestbench.errors import GuestbenchError, HostError, UsageError
from guestbench.host import process
from guestbench.host.facts import read_host
from guestbench.images.contents.packages import read_dpkg
from guestbench.model import MIB, Frozen, Guest, Header, Record, System
from guestbench.model.decoding import NOT_JSON, decode_as
from guestbench.provision.recipes import find_recipe
from guestbench.report import CSV_NAME, HTML_NAME, JSON_NAME, MARKDOWN_NAME, SCRIPT_NAME
from guestbench.report.profile.section import FOLDER as PROFILES
from guestbench.run.store import STORE_NAME, read_store
from guestbench.run.worker import trial_folder
from guestbench.text import visible
from guestbench.version import __version__
from guestbench.vmm import find_vmm

RUN = "run"
"""The folder of the run in an artifact."""
ENVIRONMENT = "environment.json"
TRIALS = trial_folder("ID").parts[0]
REPORTS = (MARKDOWN_NAME, HTML_NAME, JSON_NAME, CSV_NAME, SCRIPT_NAME)
LIBRARIES = ("msgspec", "numpy", "scipy")
"""Those that figures and reports are worked out with."""
DPKG = Path("/var/lib/dpkg/status")


class Environment(Frozen):
    """With what an artifact was made, and what the host that measured has installed.

    `code` is a digest of guestbench's own files, by which two are the same version whatever they call
    themselves; `libraries` has packages that add to guestbench, too. `packages` are Debian's, of those that
    guestbench needs; where there are none, `reason` says why. `sources` names the guests not of the catalogue
    that are built from what is packed with them.
    """

    guestbench: str
    code: str
    python: str
    libraries: dict[str, str]
    packages: dict[str, str] = {}
    reason: str = ""
    sources: tuple[str, ...] = ()

    @property
    def makers(self) -> dict[str, str]:
        """What the bytes of an artifact depend on beside its parts, with the version of each."""
        own = {"guestbench": f"{self.guestbench} ({self.code[:12]})", "Python": self.python}
        return own | self.libraries


class Parts(NamedTuple):
    """The parts of an artifact, read; `kept` has the files by their paths in it.

    `folder` is the run's. `strangers` are the names of guests that are not of the catalogue, `missing` the
    paths of evidence that is not there, and `left` what lies in the folder and is no part.
    """

    folder: Path
    header: Header
    records: tuple[Record, ...]
    strangers: frozenset[str]
    environment: Environment
    kept: dict[str, Member]
    missing: tuple[str, ...]
    left: tuple[str, ...]

    def is_built(self, guest: Guest) -> bool:
        """Whether a guest's images can be built from what comes with the artifact, or with guestbench."""
        name = guest.system.name
        here = name not in self.strangers or name in self.environment.sources
        return guest.system.provision.build is not None and here


def gather(folder: Path) -> Parts:
    """The parts of an artifact of the run in a folder, with the environment of this host.

    Raises:
        StoreError: there is no run, or it cannot be read.
        UsageError: its evidence lies elsewhere, or is none of its files; or there is too much of it.
    """
    header, records = _read_run(folder)
    strangers = find_strangers(header)
    sources = _find_sources(header, strangers)
    packages, reason = _find_packages(header)
    environment = msgspec.structs.replace(
        find_makers(), packages=packages, reason=reason, sources=tuple(sorted(sources))
    )
    kept = {ENVIRONMENT: Member(write_json(environment))}
    for name, files in sources.items():
        kept.update((f"{GUESTS}/{name}/{path}", each) for path, each in files.items())
    return _complete(folder, (header, records), strangers, environment, kept)


def read_parts(root: Path) -> Parts:
    """The parts of an artifact that was unpacked. Raises as `gather` does."""
    header, records = _read_run(root / RUN)
    kept = {f"{GUESTS}/{path}": each for path, each in _walk(root / GUESTS) if Path(path).name != SYSTEM_FILE}
    kept[ENVIRONMENT] = read_member(root, ENVIRONMENT)
    try:
        environment = decode_as(kept[ENVIRONMENT].data, Environment)
    except NOT_JSON as error:
        raise _refuse(root, f"{ENVIRONMENT} in it is damaged: {visible(str(error))}") from error
    return _complete(root / RUN, (header, records), find_strangers(header), environment, kept)


def read_member(root: Path, path: str) -> Member:
    """A file below a folder, without following a link.

    Raises:
        UsageError: it is not there, cannot be read, or is none.
    """
    problem = check_name(path)
    if problem:
        raise _refuse(root, f"the path {visible(path)} in it {problem}")
    parts = path.split("/")
    try:
        for depth in range(1, len(parts)):
            if not stat.S_ISDIR(root.joinpath(*parts[:depth]).lstat().st_mode):
                raise _refuse(root, f"{visible(path)} in it lies behind a link")
        descriptor = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise _refuse(root, f"{visible(path)} in it is no regular file")
            if facts.st_size > MAX_BYTES:
                raise _refuse(root, f"{visible(path)} in it has more than {MAX_BYTES // MIB} MiB")
            return Member(file.read(), bool(facts.st_mode & 0o100))
    except OSError as error:
        raise _refuse(root, f"{visible(path)} in it cannot be read: {error.strerror}") from error


def list_files(root: Path) -> list[str]:
    """The paths of all files below a folder, and of links, in their order."""
    return sorted(
        str(each.relative_to(root)) for each in root.rglob("*") if each.is_symlink() or not each.is_dir()
    )


def find_makers() -> Environment:
    """With what an artifact is made here; nothing of the host."""
    plugins = {
        each.name: each.version
        for each in metadata.distributions()
        if any(entry.group.startswith("guestbench.") for entry in each.entry_points)
    }
    return Environment(
        guestbench=__version__,
        code=digest_code(),
        python=platform.python_version(),
        libraries={name: metadata.version(name) for name in LIBRARIES} | dict(sorted(plugins.items())),
    )


def _find_packages(header: Header) -> tuple[dict[str, str], str]:
    """What this host has installed of what guestbench needs, if it is the one that measured; or why not."""
    try:
        here = read_host(*find_vmm(header.platform.vmm).identify())
    except HostError as error:
        return {}, f"This was packed where {error.message}."
    if here.digest != header.host.digest:
        return {}, "This was packed on another host than the one that measured."
    wanted, found = {*process.DEBIAN_PACKAGES.values()}, {}
    with suppress(OSError):
        found = {each.name: each.version for each in read_dpkg(DPKG.read_bytes()) if each.name in wanted}
    return dict(sorted(found.items())), "" if found else "It has none of Debian's."


def write_json(value: Frozen) -> bytes:
    """A value as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2) + b"\n"


def digest_code() -> str:
    """SHA-256 over guestbench's own files, in the order of their paths: each path, size and contents."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            data = path.read_bytes()
            digest.update(f"{path.relative_to(PACKAGE)}\0{len(data)}\0".encode())
            digest.update(data)
    return digest.hexdigest()


def _read_run(folder: Path) -> tuple[Header, tuple[Record, ...]]:
    header, records = read_store(folder)
    for name in (header.run, *(system.name for system in header.systems)):
        if not FILE_NAME.fullmatch(name):
            raise _refuse(folder, f"its store has a name that cannot be that of a file: {visible(name)}")
    return header, records


def _complete(
    folder: Path,
    run: tuple[Header, tuple[Record, ...]],
    strangers: frozenset[str],
    environment: Environment,
    kept: dict[str, Member],
) -> Parts:
    """The parts with the files of the run's folder."""
    header, records = run
    found = {STORE_NAME: read_member(folder, STORE_NAME)}
    for part in (TRIALS, PROFILES):
        found.update((f"{part}/{path}", each) for path, each in _walk(folder / part))
    missing = []
    for path in dict.fromkeys(path for record in records for path in record.artifacts.values()):
        problem = check_name(path)
        if problem:
            raise _refuse(folder, f"its store names as evidence {visible(path)}, which {problem}")
        if path not in found and os.path.lexists(folder / path):
            found[path] = read_member(folder, path)
        elif path not in found:
            missing.append(path)
    known = {*REPORTS, *(path.partition("/")[0] for path in found)}
    left = tuple(sorted(each.name for each in folder.iterdir() if each.name not in known))
    kept.update((f"{RUN}/{path}", each) for path, each in found.items())
    if sum(len(each.data) for each in kept.values()) > MAX_BYTES:
        raise _refuse(folder, f"it has more than {MAX_BYTES // MIB} MiB")
    return Parts(folder, header, records, strangers, environment, kept, tuple(missing), left)


def _walk(folder: Path) -> Iterator[tuple[str, Member]]:
    """The files below a folder by their paths in it; there may be no such folder."""
    size = 0
    if folder.is_symlink():
        raise _refuse(folder.parent, f"{folder.name} in it is a link")
    for path in list_files(folder):
        member = read_member(folder, path)
        size += len(member.data)
        if size > MAX_BYTES:
            raise _refuse(folder, f"it has more than {MAX_BYTES // MIB} MiB")
        yield path, member


def _find_sources(header: Header, strangers: frozenset[str]) -> dict[str, dict[str, Member]]:
    """The files that images of `strangers` are built from, by the guests' names and their paths.

    A guest that is not defined as it was in the run, by a folder that it names or by the catalogue under
    another name, has none.
    """
    catalogue = load_catalogue()
    asked = header.experiment
    folders = [Path(each) for each in (*asked.systems, *asked.optional) if is_folder(each)]
    folders += [catalogue.folder / name for name in catalogue] if strangers else []
    found: dict[str, dict[str, Member] | None] = {}
    for folder in folders:
        if not (folder / SYSTEM_FILE).is_file():
            continue
        with suppress(GuestbenchError):
            system = load_system(folder, tuple(catalogue))
            for wanted in header.systems:
                # Versions of one guest in one run have names of their own, and are no floor.
                same = msgspec.structs.replace(system, name=wanted.name, family=wanted.family) == wanted
                if same and wanted.name in strangers and wanted.name not in found:
                    found[wanted.name] = _read_sources(folder, system)
    return {name: files for name, files in found.items() if files is not None}


def _read_sources(folder: Path, system: System) -> dict[str, Member] | None:
    """The files of a guest's folder that its images are built from; None if they are not built."""
    if system.provision.build is None:
        return None
    sources = find_recipe(system.provision.build).sources(folder).values()
    own = [str(path.relative_to(folder)) for path in sources if path.is_relative_to(folder)]
    return {path: read_member(folder, path) for path in own}


def _refuse(folder: Path, problem: str) -> UsageError:
    return UsageError(f"{visible(folder)} is refused: {problem}", f"ls -lR {shlex.quote(str(folder))}")
