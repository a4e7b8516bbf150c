"""What of the reference unikernel reads foreign bytes bears a short fuzz, and the fuzz can fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import fuzz_unikernel
import pytest
from fuzz_unikernel import KERNEL, TARGETS, build, fuzz, write_seeds

from guestbench.errors import HostError, ToolFailed

SECONDS = 60.0
"""A bound for slow hosts: what ends a run here is the number of inputs."""
RUNS = {"elf": 60_000, "command_line": 40_000, "address_space": 4_000, "network": 1_500}
"""About two seconds each."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what no test changes is compiled once."""
    return tmp_path_factory.mktemp("objects")


def fuzz_copy(name: str, folder: Path, kernel: Path, shared: Path) -> fuzz_unikernel.Result:
    """Fuzz a target built from the sources in `kernel`; the test is skipped where lwIP cannot be had."""
    try:
        program = build(name, folder, kernel=kernel, shared=shared)
    except ToolFailed:
        raise
    except HostError as error:
        pytest.skip(f"the sources of lwIP cannot be had: {error.message}")
    seeds = write_seeds(TARGETS[name].seeds, folder)
    return fuzz(program, seeds, keep=folder, seconds=SECONDS, runs=RUNS[name])


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_it(name: str, tmp_path: Path, shared: Path) -> None:
    """A program, boot argument or system call would crash or corrupt the unikernel."""
    result = fuzz_copy(name, tmp_path, KERNEL, shared)
    assert not result.crash
    assert result.runs >= RUNS[name]


PLANTED = (
    # An ELF file that reads behind its end, has writable code, or has two segments in one page.
    ("elf", "elf.c", "header->file_size > size - header->offset || ", ""),
    ("elf", "elf.c", "(header->flags & FLAG_WRITE) != 0 && (header->flags & FLAG_EXECUTE) != 0", "size == 1"),
    (
        "elf",
        "elf.c",
        "program->end = page_up(header->address + header->size)",
        "program->end = header->address",
    ),
    ("elf", "elf.c", "h->type != LOAD || h->size == 0", "h->type != LOAD"),
    # A command line that is read on behind its end, or has a word too many.
    ("command_line", "command_line.c", "*from == '\\0' ? from : from + 1", "from + 1"),
    ("command_line", "command_line.c", "if (*count == most)", "if (*count > most)"),
    # Rights that the CPU still has cached, a file's page that can be written, a frame that is lost, code that
    # was data, an area that is placed over another, a full table that overflows.
    (
        *("address_space", "areas.c"),
        *("rights);\n    page_forget(address);", "rights);\n    (void)address;"),
    ),
    ("address_space", "areas.c", "(rights & WRITE) != 0 && (entry & ENTRY_OF_FILE) == 0", "rights & WRITE"),
    ("address_space", "areas.c", "frame_give_back(*entry & ENTRY_FRAME);", "{}"),
    ("address_space", "areas.c", "areas[i].ever |= rights;", "areas[i].ever = rights;"),
    ("address_space", "areas.c", "areas[i].end + size <= end", "areas[i].start + size <= end"),
    ("address_space", "areas.c", "count + 3 > TABLE_SIZE", "count > TABLE_SIZE"),
    # A frame taken to be longer than it is, a device that is believed, a packet that is never given back,
    # bytes that come in the wrong order, a wrong checksum.
    ("network", "network/virtio_net.c", "(size - HEADER), PBUF_REF", "(size + HEADER), PBUF_REF"),
    ("network", "network/virtio_net.c", "slot >= RECEIVE_SLOTS || ", ""),
    ("network", "network/virtio_net.c", "pbuf_free(sent[slot]);", ""),
    ("network", "network/sockets.c", "socket->at + socket->held) % RING, size", "socket->held) % RING, size"),
    ("network", "network/checksum.c", "sum += sum < value;", ""),
)


@pytest.mark.parametrize(("name", "file", "right", "wrong"), PLANTED)
def test_planted_mistake_is_found(
    name: str, file: str, right: str, wrong: str, tmp_path: Path, shared: Path
) -> None:
    """The fuzz could not fail, so that its passing would mean nothing."""
    kernel = tmp_path / "kernel"
    shutil.copytree(KERNEL, kernel)
    source = (kernel / file).read_text()
    assert source.count(right) == 1
    (kernel / file).write_text(source.replace(right, wrong))
    assert fuzz_copy(name, tmp_path, kernel, shared).crash


def test_failing_input_fails_again(tmp_path: Path, shared: Path) -> None:
    """A crash that was found could not be looked at afterwards."""
    kernel = tmp_path / "kernel"
    shutil.copytree(KERNEL, kernel)
    source = (kernel / "elf.c").read_text()
    (kernel / "elf.c").write_text(source.replace("header->file_size > size - header->offset || ", ""))
    assert fuzz_copy("elf", tmp_path, kernel, shared).crash
    (failing,) = tmp_path.glob("crash-*")
    again = fuzz_unikernel.replay(tmp_path / "elf-own", failing)
    assert again
    assert not fuzz_unikernel.replay(build("elf", tmp_path), failing)
