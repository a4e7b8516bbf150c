"""Image size: what a guest's files hold, measured on the images as provisioned; it never starts a VM.

Where a guest boots from several files, a sample without labels is the sum over all of them, and one sample
with the label `role` (kernel, initrd or disk) stands for each file. Samples that do not apply are absent,
and so are those from inside a file system that cannot be read without mounting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from guestbench.errors import ImageError, ToolFailed
from guestbench.families.image import FAMILY
from guestbench.host import process
from guestbench.images.contents.linux import find_newest
from guestbench.images.formats import disk, elf
from guestbench.images.formats.ext import read_superblock
from guestbench.images.formats.partitions import find_partitions, find_root, open_partition
from guestbench.images.inspection import Partition
from guestbench.images.source import Source, open_source
from guestbench.model import Guest, Job, Kernel, Ok, Provenance, Role, Sample, TrialResult

ZSTD = ("zstd", "-3", "--single-thread", "--quiet", "--stdout")
READ_BYTES = 1 << 20
EXIT_S = 60.0


def measure_files(job: Job, scratch: Path) -> TrialResult:
    """Measure the files of a guest, none of which can fail without stopping the run."""
    return TrialResult(outcome=Ok(), samples=measure_images(job.guest, scratch))


def measure_images(guest: Guest, scratch: Path) -> tuple[Sample, ...]:
    """Measure a guest's pristine images. `scratch` is a folder with room for a disk's contents as a raw file.

    Raises:
        ImageError: an image cannot be read.
        HostError: a program is missing or fails, or there is no room in `scratch`.
        OSError: `scratch` cannot be written.
    """
    paths = {role: Path(image.path) for role, image in guest.pristine.items()}
    boot = guest.system.boot
    stats = {role: path.stat() for role, path in paths.items()}
    samples = [
        *_per_file("image.file", {role: facts.st_size for role, facts in stats.items()}),
        *_per_file("image.allocated", {role: facts.st_blocks * 512 for role, facts in stats.items()}),
    ]
    packed: dict[Role, int] = {
        role: count_compressed(path) for role, path in paths.items() if role is not Role.DISK
    }
    if Role.DISK in paths:
        raw = scratch / "disk.raw"
        try:
            disk.convert_to_raw(paths[Role.DISK], raw)
            packed[Role.DISK] = count_compressed(raw)
            samples.append(_bytes("image.virtual", disk.read_info(paths[Role.DISK]).virtual_bytes))
            samples += _measure_filesystem(raw, with_kernel=not isinstance(boot, Kernel))
        finally:
            raw.unlink(missing_ok=True)
    samples += _per_file("image.zstd", packed)
    if isinstance(boot, Kernel):
        samples += _measure_kernel(boot, paths)
    order = {row.name: number for number, row in enumerate(FAMILY.metrics)}
    return tuple(sorted(samples, key=lambda sample: (order[sample.metric], bool(sample.labels))))


def count_compressed(path: Path) -> int:
    """How many bytes zstd makes of a file's contents; they are counted and not kept.

    Raises:
        ToolMissing, ToolFailed: zstd is not installed, or failed.
        OSError: the file cannot be read.
    """
    with path.open("rb") as contents, process.start(ZSTD, stdin=contents, stdout=process.PIPE) as child:
        assert child.stdout is not None
        count = 0
        while chunk := child.stdout.read(READ_BYTES):
            count += len(chunk)
        status = child.wait(EXIT_S)
    if status != 0:
        raise ToolFailed(
            f"zstd failed with status {status} on {path.name}",
            "guestbench doctor",
            status=-1 if status is None else status,
            stderr="",
        )
    return count


def _measure_filesystem(raw: Path, *, with_kernel: bool) -> tuple[Sample, ...]:
    # A disk without ext4, or with features unknown to the tools at hand, still has all its other sizes.
    samples: list[Sample] = []
    with suppress(ImageError), open_source(raw) as source:
        root = find_root(source)
        usage = read_superblock(source, root.start_bytes, root.size_bytes)
        samples.append(_bytes("image.rootfs", usage.used_bytes))
        if with_kernel:
            samples += _measure_boot_files(source, root)
    return tuple(samples)


def _measure_boot_files(disk: Source, root: Partition) -> Iterator[Sample]:
    """Sizes of the newest kernel and its initrd in /boot, which may be a file system of its own."""
    others = [p for p in find_partitions(disk) if p != root and p.is_ext]
    for partition, folder in ((root, "/boot"), *((p, "/") for p in others)):
        files = open_partition(disk, partition)
        newest = find_newest(files.list_folder(folder)) if files.find(folder) else None
        if newest is not None:
            for metric, name in zip(("image.kernel", "image.initrd"), newest, strict=True):
                if name is not None:
                    yield _bytes(metric, files.find_file(f"{folder}/{name}").size_bytes)
            return


def _measure_kernel(boot: Kernel, paths: dict[Role, Path]) -> Iterator[Sample]:
    for metric, role in (("image.kernel", Role.KERNEL), ("image.initrd", Role.INITRD)):
        if role in paths:
            yield _bytes(metric, paths[role].stat().st_size)
    yield Sample(metric="image.cmdline", value=len(boot.cmdline.encode()), provenance=Provenance.DECLARED)
    with open_source(paths[Role.KERNEL]) as source:
        if elf.is_elf(source):
            image = elf.read_elf(source)
            yield _bytes("image.text", image.text_bytes)
            yield _bytes("image.data", image.data_bytes)
            yield _bytes("image.bss", image.bss_bytes)


def _per_file(metric: str, sizes: dict[Role, int]) -> Iterator[Sample]:
    yield _bytes(metric, sum(sizes.values()))
    if len(sizes) > 1:
        for role in Role:
            if role in sizes:
                yield Sample(metric=metric, value=sizes[role], labels={"role": role.value})


def _bytes(metric: str, value: int) -> Sample:
    return Sample(metric=metric, value=value)
