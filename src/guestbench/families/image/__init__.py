"""Image size: what the files take that a guest boots from."""

from __future__ import annotations

from guestbench.model import Better, Family, Metric, Purpose

FILE = "image.file"


def _metric(name: str, title: str, text: str) -> Metric:
    whole = name == FILE
    return Metric(
        name=name,
        title=title,
        family="image",
        unit="bytes",
        better=Better.LOWER,
        help=text,
        compared=whole,
        compared_labels=((),) if whole else (),
        exact=True,
        headline="Image size" if whole else "",
        span="image size" if whole else "",
    )


METRICS = (
    _metric(
        FILE,
        "Image files",
        "Length of all files that the guest boots from, as provisioned (stat, st_size); label role=NAME for "
        "each where there are several. A disk counts in its own format, so that compression inside a qcow2 "
        "shows. A kernel that was taken out of the guest's disk counts beside the disk.",
    ),
    _metric(
        "image.allocated",
        "Allocated on the host",
        "Space that these files take on the host's file system (stat, st_blocks of 512 bytes); holes take "
        "none.",
    ),
    _metric(
        "image.virtual",
        "Virtual disk size",
        "Size of the disk as the guest sees it (qemu-img info, virtual-size).",
    ),
    _metric(
        "image.zstd",
        "Compressed",
        "Bytes that zstd -3 --single-thread makes of the contents of the files, each compressed by itself; "
        "of a disk, its contents as a raw disk, so that disk image formats do not matter. What is compressed "
        "already (a bzImage, an initrd) is not unpacked first.",
    ),
    _metric(
        "image.rootfs",
        "Root file system used",
        "Blocks of the disk's root file system that are not free, in bytes (from the superblock of ext4, as "
        "dumpe2fs prints it): files, their metadata, inode tables and the journal.",
    ),
    _metric(
        "image.kernel",
        "Kernel",
        "Length of the kernel file: the one given to -kernel, or the newest vmlinuz in /boot of the disk.",
    ),
    _metric(
        "image.initrd",
        "Initial ramdisk",
        "Length of the initial ramdisk: the one given to -initrd, or the one beside the kernel in the disk's "
        "/boot.",
    ),
    _metric(
        "image.cmdline",
        "Kernel command line",
        "Length of the command line that -append gives to the kernel, in bytes of UTF-8. The one in the "
        "configuration of a disk's boot loader is not counted.",
    ),
    _metric(
        "image.text",
        "Text",
        "Bytes in the file of the executable LOAD segments of an ELF kernel; by the true ELF64 headers where "
        "it is wrapped for a 32-bit loader. A bzImage is not unpacked and has none.",
    ),
    _metric(
        "image.data",
        "Data",
        "Bytes in the file of the other LOAD segments of an ELF kernel, read-only data and headers included.",
    ),
    _metric(
        "image.bss",
        "BSS",
        "Memory that the LOAD segments of an ELF kernel ask for beyond their bytes in the file.",
    ),
)

FAMILY = Family(
    name="image",
    title="Image size",
    order=1,
    metrics=METRICS,
    purposes=(Purpose(name="image", boots=False, pristine=True),),
)
