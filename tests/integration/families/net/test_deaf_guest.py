"""The reference unikernel, made deaf: it hears nothing more once a full-size frame has come."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.families.net import services, tcp
from guestbench.families.work import Settings
from guestbench.guest.serial import SerialLog
from guestbench.model import Accel, Incomplete, Platform, Role, Service
from guestbench.provision.packages import fetch_source
from guestbench.provision.recipes.library_os import KERNEL_SOURCES, STACK_PACKAGE, compile_kernel
from guestbench.vmm import LaunchSpec, find_vmm

pytestmark = [pytest.mark.qemu, pytest.mark.network]

HEARS = "void network_frame(struct pbuf *frame)\n{\n"
DEAF = f"""{HEARS}    static bool deaf;

    deaf = deaf || frame->tot_len > 1000;
    if (deaf) {{
        pbuf_free(frame);
        return;
    }}
"""


def build_deaf(folder: Path) -> Path:
    """The kernel with a network that goes deaf."""
    sources = folder / "kernel"
    shutil.copytree(KERNEL_SOURCES, sources)
    changed = sources / "network" / "interface.c"
    text = changed.read_text()
    assert text.count(HEARS) == 1
    changed.write_text(text.replace(HEARS, DEAF))
    compile_kernel(folder / "kernel.elf", fetch_source(STACK_PACKAGE, "bookworm", lambda _: None), sources)
    return folder / "kernel.elf"


def test_a_guest_that_goes_deaf_is_measured_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that hears nothing after its first full frame would have no figure, and no reason."""
    monkeypatch.setattr(tcp, "SILENCE_S", 3.0)
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue["reference-unikernel"], {}, catalogue, say=lambda _: None)
    kernel = msgspec.structs.replace(guest.images[Role.KERNEL], path=str(build_deaf(tmp_path)))
    spec = LaunchSpec(
        boot=guest.system.boot,
        images={**guest.images, Role.KERNEL: kernel},
        platform=Platform(memory_mib=64, accel=Accel.TCG),
        folder=tmp_path,
        forwards=tuple(service.port for service in Service),
    )
    plan = Settings(transfer_mib=32, requests=20)
    with find_vmm("qemu").start(spec) as machine:
        result = services.serve(machine, guest.system, SerialLog(), plan, None)
        assert machine.exit_status() is None
    assert {sample.metric for sample in result.samples} == {"net.ready", "net.echo"}
    reasons = {gap.metric: gap.reason for gap in result.gaps}
    assert "of 33554432 bytes had been taken, then silence for 3 s" in reasons["net.goodput_in"]
    assert "none of 33554432 bytes had come, then silence for 3 s" in reasons["net.goodput_out"]
    assert isinstance(result.outcome, Incomplete)
