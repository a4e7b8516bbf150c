"""What the image probe measures of guests that are booted by -kernel, and the rows of its metrics."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from image_files import bzimage, elf64, system, wrap_elf64

from guestbench.errors import ImageError
from guestbench.families.image import FAMILY
from guestbench.families.image import probe as image
from guestbench.host import process
from guestbench.model import Guest, GuestFamily, Image, Kernel, Origin, Provenance, Role, Sample, System


def guest_of(guest_system: System, files: dict[Role, Path]) -> Guest:
    """A guest of these files, whose overlays do not exist."""
    pristine = {
        role: Image(path=str(path), size_bytes=path.stat().st_size, mtime_ns=0, sha256="")
        for role, path in files.items()
    }
    gone = {role: Image(path="/nonexistent/overlay", size_bytes=1, mtime_ns=0, sha256="") for role in files}
    return Guest(system=guest_system, images=gone, pristine=pristine, origin=Origin(kind="given", detail=""))


def values(samples: tuple[Sample, ...]) -> dict[str, int | float]:
    """The samples by metric and role."""
    return {"/".join((s.metric, *s.labels.values())): s.value for s in samples}


def test_unikernel_is_measured_by_its_true_segments(tmp_path: Path) -> None:
    """A unikernel's row would lack its sizes, or show the wrapper's."""
    kernel = tmp_path / "hello.qemu"
    kernel.write_bytes(wrap_elf64(elf64()))
    guest = guest_of(system(Kernel(cmdline="--level=ü")), {Role.KERNEL: kernel})
    samples, _ = image.measure_images(guest, tmp_path, None)
    found = values(samples)
    packed = found.pop("image.zstd")
    assert found == {
        "image.file": kernel.stat().st_size,
        "image.allocated": kernel.stat().st_blocks * 512,
        "image.kernel": kernel.stat().st_size,
        "image.cmdline": 10,
        "image.text": 300,
        "image.data": 104,
        "image.bss": 1000,
    }
    assert 0 < packed < kernel.stat().st_size
    declared = {s.metric for s in samples if s.provenance is not Provenance.MEASURED}
    assert declared == {"image.cmdline"}


def test_files_are_summed_and_told_apart(tmp_path: Path) -> None:
    """A guest of kernel and initrd would be shown as if it were its kernel alone."""
    kernel, initrd = tmp_path / "vmlinuz", tmp_path / "initrd"
    kernel.write_bytes(bzimage(payload=100_000))
    initrd.write_bytes(b"070701" + bytes(range(256)) * 100)
    guest = guest_of(
        system(Kernel(initrd=True), GuestFamily.LINUX), {Role.KERNEL: kernel, Role.INITRD: initrd}
    )
    found = values(image.measure_images(guest, tmp_path, None)[0])
    sizes = kernel.stat().st_size, initrd.stat().st_size
    assert (found["image.file/kernel"], found["image.file/initrd"]) == sizes
    assert found["image.file"] == sum(sizes)
    assert found["image.zstd"] == found["image.zstd/kernel"] + found["image.zstd/initrd"]
    assert (found["image.kernel"], found["image.initrd"], found["image.cmdline"]) == (*sizes, 0)
    assert not {"image.text", "image.virtual", "image.rootfs"} & set(found)


def test_compressed_size_is_what_zstd_writes(tmp_path: Path) -> None:
    """The compressed size could not be reproduced by hand."""
    path = tmp_path / "contents"
    path.write_bytes(b"".join(number.to_bytes(4, "little") for number in range(300_000)))
    out = tmp_path / "out.zst"
    with path.open("rb") as contents, out.open("wb") as packed:
        data = contents.read()
        process.run(["zstd", "-3", "--single-thread", "-q", "-c"], input=data, stdout=packed)
    assert image.count_compressed(path) == out.stat().st_size


def test_samples_come_in_the_order_of_the_metrics(tmp_path: Path) -> None:
    """Reports would list the same sizes in another order for every guest."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf64())
    samples, _ = image.measure_images(guest_of(system(Kernel()), {Role.KERNEL: kernel}), tmp_path, None)
    names = [row.name for row in FAMILY.metrics]
    assert [s.metric for s in samples] == sorted((s.metric for s in samples), key=names.index)


def test_damaged_kernel_is_named(tmp_path: Path) -> None:
    """A kernel that broke between check and measurement would end the run with a traceback."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf64()[:200])
    with pytest.raises(ImageError, match="kernel is truncated"):
        image.measure_images(guest_of(system(Kernel()), {Role.KERNEL: kernel}), tmp_path, None)


def test_metric_rows_hold_the_stable_names() -> None:
    """Results of different versions could not be compared, and users would not know what a number means."""
    assert [row.name for row in FAMILY.metrics] == [
        "image.file",
        "image.allocated",
        "image.virtual",
        "image.zstd",
        "image.rootfs",
        "image.kernel",
        "image.initrd",
        "image.cmdline",
        "image.text",
        "image.data",
        "image.bss",
    ]
    for row in FAMILY.metrics:
        assert row.family == "image"
        assert row.unit == "bytes"
        assert row.help.endswith(".")


def test_measuring_images_needs_no_vmm() -> None:
    """Sizes could not be measured on a host without QEMU's emulator, and would load what they do not need."""
    look = "any('guestbench.vmm' in name for name in sys.modules)"
    code = f"import guestbench.families.image.probe, sys; print({look})"
    assert process.run([sys.executable, "-c", code]).stdout.strip() == b"False"
