"""Image size: what a guest's files hold, measured on the images as provisioned; it never starts a VM.

Where a guest boots from several files, a sample without labels is the sum over all of them, and one sample
with the label `role` (kernel, initrd or disk) stands for each file. Samples that do not apply are absent. A
file system that cannot be looked into leaves a gap with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guestbench.errors import GuestbenchError, ToolFailed
from guestbench.families.image import FAMILY
from guestbench.guest.pristine import inspect_pristine
from guestbench.host import process
from guestbench.images.formats import disk, elf
from guestbench.images.source import open_source
from guestbench.model import Gap, Guest, Job, Kernel, Kit, Ok, Provenance, Role, Sample, TrialResult

ZSTD = ("zstd", "-3", "--single-thread", "--quiet", "--stdout")
READ_BYTES = 1 << 20
EXIT_S = 60.0


def measure_files(job: Job, scratch: Path) -> TrialResult:
    """Measure the files of a guest, none of which can fail without stopping the run."""
    samples, gaps = measure_images(job.guest, scratch, job.kit)
    return TrialResult(outcome=Ok(), samples=samples, gaps=gaps)


def measure_images(
    guest: Guest, scratch: Path, kit: Kit | None
) -> tuple[tuple[Sample, ...], tuple[Gap, ...]]:
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
    gaps: tuple[Gap, ...] = ()
    packed: dict[Role, int] = {
        role: count_compressed(path) for role, path in paths.items() if role is not Role.DISK
    }
    if Role.DISK in paths:
        raw = scratch / "disk.raw"
        try:
            disk.convert_to_raw(paths[Role.DISK], raw)
            packed[Role.DISK] = count_compressed(raw)
        finally:
            raw.unlink(missing_ok=True)
        samples.append(_bytes("image.virtual", disk.read_info(paths[Role.DISK]).virtual_bytes))
        inside, gaps = _measure_filesystem(guest, kit, scratch)
        samples += inside
    samples += _per_file("image.zstd", packed)
    if isinstance(boot, Kernel):
        samples += _measure_kernel(boot, paths)
    order = {row.name: number for number, row in enumerate(FAMILY.metrics)}
    return tuple(sorted(samples, key=lambda sample: (order[sample.metric], bool(sample.labels)))), gaps


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


def _measure_filesystem(guest: Guest, kit: Kit | None, scratch: Path) -> tuple[list[Sample], tuple[Gap, ...]]:
    """What is in the disk of a guest; the kernel and its ramdisk where it boots from them."""
    inside = () if isinstance(guest.system.boot, Kernel) else ("image.kernel", "image.initrd")
    try:
        found = inspect_pristine(guest, Role.DISK, kit, scratch)
    except GuestbenchError as error:
        reason = f"unknown: {error.message}"
        return [], tuple(Gap(metric=metric, reason=reason) for metric in ("image.rootfs", *inside))
    files = found.files.value if found.files is not None else None
    if files is None:
        reason = f"unknown: {found.files.unknown if found.files else found.kind.value}"
        return [], tuple(Gap(metric=metric, reason=reason) for metric in ("image.rootfs", *inside))
    samples = [] if found.used_bytes is None else [_bytes("image.rootfs", found.used_bytes)]
    sizes = dict(zip(inside, (files.kernel_bytes, files.initrd_bytes), strict=False))
    samples += [_bytes(metric, size.value) for metric, size in sizes.items() if size.value is not None]
    gaps = (
        Gap(metric=metric, reason=f"unknown: {size.unknown}")
        for metric, size in sizes.items()
        if size.value is None
    )
    return samples, tuple(gaps)


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
