"""Builds a bootable Debian disk from packages, without root and without loop devices; it never boots it.

mmdebstrap makes the root file system in a user namespace, `mke2fs -d` writes it straight into the disk
image, and boot sectors and partition table are written around it by `layout`.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar

from guestbench.errors import HostError, ToolFailed
from guestbench.host import process
from guestbench.host.facts import MEND_SUBORDINATE_IDS, free_bytes
from guestbench.model import MIB, Role, Say
from guestbench.model.kinds import DISTINCT, NOT_EMPTY, DebianPackage, FileName, Kind, of, within
from guestbench.provision import layout, packages
from guestbench.provision.cache import Made, outliving_lock
from guestbench.provision.recipes import Recipe, Site
from guestbench.provision.versions import find_versions

CUSTOMIZE = Path(__file__).with_suffix(".sh")

FLAGS = (
    *("--variant=minbase", "--format=null", "--architectures=amd64"),
    *("--skip=download/empty", "--skip=essential/unlink", "--skip=cleanup"),
)
APT_OPTIONS = ('APT::Install-Recommends "false";', 'Acquire::Languages "none";')

FREE_MIB = 2048
"""Room that a build wants beyond the image itself: root file system, raw disk (sparse) and packages."""

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
GRUB_CONFIG: str = _DATA["grub_config"]
STAGES: dict[str, str] = _DATA["stages"]


class DebianDisk(Recipe, tag="debian-disk"):
    """A bootable GPT disk built from Debian packages with mmdebstrap.

    `size_mib` is the virtual size; `cmdline` goes to GRUB's Linux line; `files` are written into the
    root file system (absolute path to text), `masked` units are linked to /dev/null.
    """

    images: ClassVar[Mapping[Role, str]] = {Role.DISK: "disk.qcow2"}

    suite: FileName
    kernel_package: DebianPackage
    packages: Annotated[tuple[DebianPackage, ...], NOT_EMPTY, DISTINCT]
    size_mib: Annotated[int, within(1, 2**24)]
    cmdline: str
    grub_timeout_s: Annotated[int, within(0, 3600)] = 5
    hostname: FileName = "localhost"
    enable: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    files: dict[Annotated[str, of(Kind.ABSOLUTE_PATH)], str] = {}

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The script that finishes the root file system."""
        return {CUSTOMIZE.name: CUSTOMIZE}

    def tools(self) -> object:
        """What installs the packages; the packages themselves are those of the day."""
        return [FLAGS, APT_OPTIONS, GRUB_CONFIG, find_versions("mmdebstrap")]

    def build(self, site: Site, work: Path, say: Say) -> Made:
        """Install the packages, and write boot loader, partitions and image.

        Raises:
            HostError: too little disk space, or no way to build a root file system on this host.
            ToolMissing, ToolFailed: a tool is not installed, or failed.
        """
        mode = find_mode()
        wanted, free = min(self.size_mib, FREE_MIB) + FREE_MIB, free_bytes(work) // MIB
        if free < wanted:
            raise HostError(
                f"building the image needs {wanted} MiB in {work.parent}, but only {free} MiB are free",
                "df -h  # then: export XDG_CACHE_HOME=FOLDER, where there is more room",
            )
        raw = work / "disk.raw"
        with raw.open("wb") as file:
            file.truncate(self.size_mib * MIB)
        # Written by the namespace's mapped user through a descriptor; nobody else can reach it by its path.
        raw.chmod(0o666)
        (work / "overlay.tar").write_bytes(pack_files(root_files(self, site.key)))
        for name in ("boot", "dpkg"):
            (work / name).mkdir()
        _bootstrap(self, site.key, mode, work, say)
        say("writing boot loader and partition table")
        stages = work / "boot"
        layout.write_partition_table(raw, self.size_mib, site.key)
        layout.install_grub(raw, (stages / "boot.img").read_bytes(), (stages / "core.img").read_bytes())
        layout.format_esp(raw, site.key)
        say("compressing the image")
        (disk,) = self.images.values()
        process.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, work / disk])
        status = (work / "dpkg" / "status").read_bytes()
        return Made(files=(disk,), packages=packages.installed_packages(status))


def find_mode() -> str:
    """Find by trying how mmdebstrap can make a root file system here: `unshare`, or `root` for root.

    Raises:
        ToolMissing: mmdebstrap or newuidmap is not installed.
        HostError: this user has no subordinate user ids, or the kernel forbids user namespaces.
    """
    process.find_tool("mmdebstrap")
    is_root = os.geteuid() == 0
    if not is_root:
        process.find_tool("newuidmap")
    tried = process.run(["mmdebstrap", "--unshare-helper", "true"], check=False)
    if tried.status == 0 or is_root:
        return "root" if tried.status else "unshare"
    words = process.tail(tried.stderr).strip().splitlines() or ["it gave no reason"]
    raise HostError(f"mmdebstrap cannot make a user namespace: {words[-1]}", MEND_SUBORDINATE_IDS)


def _bootstrap(recipe: DebianDisk, key: str, mode: str, work: Path, say: Say) -> None:
    sources = packages.find_sources(recipe.suite)
    archives, kept = "/var/cache/apt/archives", shlex.quote(str(packages.package_folder(recipe.suite)))
    grub = "/boot/grub/i386-pc"
    argv = [
        "mmdebstrap",
        f"--mode={mode}",
        *FLAGS,
        f"--include={','.join((recipe.kernel_package, *recipe.packages))}",
        *(f"--aptopt={line}" for line in (*sources.options, *APT_OPTIONS)),
        f'--setup-hook=mkdir -p "$1"{archives}',
        f"--setup-hook=sync-in {kept} {archives}",
        f'--customize-hook=rm -rf "$1"{archives}/lock "$1"{archives}/partial',
        f"--customize-hook=sync-out {archives} {kept}",
        f"--customize-hook=tar-in {shlex.quote(str(work / 'overlay.tar'))} /",
        f"--customize-hook={CUSTOMIZE.read_text()}",
        f"--customize-hook=copy-out {grub}/boot.img {grub}/core.img {shlex.quote(str(work / 'boot'))}",
        f"--customize-hook=copy-out /var/lib/dpkg/status {shlex.quote(str(work / 'dpkg'))}",
        recipe.suite,
        "/dev/null",
        *sources.lines,
    ]
    log = work / "mmdebstrap.log"
    with (
        _temporary_root(work) as folder,
        (work / "disk.raw").open("r+b") as disk,
        log.open("wb") as stderr,
        outliving_lock(work) as lock,
        process.start(
            argv,
            pass_fds=(disk.fileno(), lock),
            stderr=stderr,
            env={
                "GUESTBENCH_DISK": str(disk.fileno()),
                "GUESTBENCH_OFFSET": str(layout.ROOT_START * layout.SECTOR),
                "GUESTBENCH_BLOCKS": str(layout.root_sectors(recipe.size_mib) // 8),
                "GUESTBENCH_UUID": str(layout.derive_uuid(key, "root")),
                "GUESTBENCH_HASH_SEED": str(layout.derive_uuid(key, "hash seed")),
                "GUESTBENCH_HOSTNAME": recipe.hostname,
                "GUESTBENCH_ENABLE": " ".join(recipe.enable),
                "GUESTBENCH_MASKED": " ".join(recipe.masked),
                "TMPDIR": str(folder),
                # The initial ramdisk takes 20 s: it is made once, when all is installed that goes into it.
                "INITRD": "No",
            },
            # Time for mmdebstrap to remove its root file system.
            grace_s=10.0,
        ) as child,
    ):
        status = _follow(child, log, say)
    if status != 0:
        raise _failure(status, log.read_bytes())


@contextmanager
def _temporary_root(work: Path) -> Iterator[Path]:
    """A folder for mmdebstrap's root file system that its mapped user can reach; root needs no mapping.

    Inside the workspace if every folder above it lets others through; else in the system's temporary
    folder, with a link from the workspace so that it is removed with it even after a SIGKILL.
    """
    inside = work / "root"
    if os.geteuid() == 0 or all(folder.stat().st_mode & 0o001 for folder in work.parents):
        inside.mkdir(mode=0o755)
        yield inside
        return
    outside = Path(tempfile.mkdtemp(prefix="guestbench-"))
    (work / "outside").symlink_to(outside)
    outside.chmod(0o755)
    yield outside


def _follow(child: process.Child, log: Path, say: Say) -> int:
    """Tell of mmdebstrap's progress until it ends; returns its exit status."""
    with log.open("rb") as file:
        while True:
            status = child.wait(0.2)
            for line in file.read().decode("utf-8", "replace").splitlines():
                for said, meaning in STAGES.items():
                    if said in line:
                        say(meaning)
            if status is not None:
                return status


def _failure(status: int, log: bytes) -> ToolFailed:
    words = process.tail(log)
    complaints = [line for line in words.splitlines() if re.match(r"E: |W: Failed|.*No space left", line)]
    # mmdebstrap's own last words only say that something failed; apt's come first.
    detail = complaints[0] if complaints else (words.strip().splitlines() or ["it printed nothing"])[-1]
    return ToolFailed(
        f"mmdebstrap failed with status {status}: {detail}", "apt-get update", status=status, stderr=words
    )


def root_files(recipe: DebianDisk, key: str) -> dict[str, str]:
    """The text files that the build itself puts into the root file system, over those of the packages."""
    root = layout.derive_uuid(key, "partition 1")
    esp = layout.derive_uuid(key, "partition 15")
    return {
        "/etc/fstab": (
            f"PARTUUID={root} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1\n"
            f"PARTUUID={esp} /boot/efi vfat defaults 0 0\n"
        ),
        "/boot/grub/grub.cfg": GRUB_CONFIG.format(
            timeout=recipe.grub_timeout_s,
            uuid=layout.derive_uuid(key, "root"),
            partuuid=root,
            cmdline=recipe.cmdline,
        ),
        **recipe.files,
    }


def pack_files(files: dict[str, str], folders: tuple[str, ...] = ("/boot/efi",)) -> bytes:
    """A tar archive of text files and empty folders of root's, in a fixed order and with a fixed time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in folders:
            entry = tarfile.TarInfo(folder.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path, text in sorted(files.items()):
            data = text.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


RECIPE = DebianDisk
