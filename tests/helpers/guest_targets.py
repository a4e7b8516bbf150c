"""What guestbench reads of guests and stores, each as a check of any bytes, as in `parser_targets`."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from definition_files import SYSTEM
from factories import make_run
from link_guest import ask_dhcp, to_frame
from markdown_it import MarkdownIt
from memory_factories import make_memory_run
from profiles import make_profile
from surface_factories import make_surface_run
from work_factories import make_work_run

from guestbench.cli.report import write_files
from guestbench.definition.systems import SYSTEMS, load_system
from guestbench.errors import GuestbenchError
from guestbench.families.surface.linux.inventory import QUESTIONS
from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.packets import Arp, ArpOperation, DhcpKind
from guestbench.guest import console, contract
from guestbench.guest import shell_protocol as protocol
from guestbench.inspect import guest as inspector
from guestbench.model import Header, ImageWork, Record
from guestbench.report import profile
from guestbench.run.store import read_store
from guestbench.vmm.qemu import monitor, qmp
from guestbench.vmm.qemu.introspection import Monitor, find_forwards
from guestbench.vmm.qemu.link import SocketLink

RECORDINGS = Path(__file__).parents[1] / "recordings"


# --- the inspector, QMP, the link ---------------------------------------------------------------------


class SayingChild:
    """A QEMU that has said something and ended."""

    def __init__(self, said: bytes) -> None:
        self.stdin = Path(os.devnull).open("wb")  # noqa: SIM115
        reader, writer = os.pipe()
        self.stdout = os.fdopen(reader, "rb")
        threading.Thread(target=self._say, args=(writer, said), daemon=True).start()

    @staticmethod
    def _say(writer: int, said: bytes) -> None:
        with suppress(BrokenPipeError), os.fdopen(writer, "wb") as file:
            file.write(said)

    def wait(self, timeout_s: float) -> int:
        """It has ended."""
        del timeout_s
        return 0

    def close(self) -> None:
        """Hang up."""
        self.stdin.close()
        self.stdout.close()


def check_inspector(data: bytes, folder: Path) -> None:
    """Answers of an inspector guest that a disk has taken over, to each of the questions there are."""
    console = folder / "console"
    console.write_bytes(data[:200])
    asks: tuple[Callable[[inspector.InspectorGuest], object], ...] = (
        lambda guest: guest.wait(),
        lambda guest: guest.list_devices("vda"),
        lambda guest: guest.map_device("lv0", "0 1 linear /dev/vda 0"),
        lambda guest: guest.mount("vda1", "ext4", "", 11).list_entries(),
        lambda guest: guest.mount("vda1", "ext4").read(b"etc/passwd", 10),
        lambda guest: guest.mount("vda1", "ext4").count_used(),
        lambda guest: guest.read_messages(),
    )
    for ask in asks:
        child = SayingChild(data)
        try:
            with suppress(GuestbenchError, inspector.MountError):
                found = ask(inspector.InspectorGuest(Path("disk"), child, console))  # type: ignore[arg-type]
                if isinstance(found, list | tuple):
                    check_numbers(found)
        finally:
            child.close()


def check_numbers(found: Iterable[object]) -> None:
    """No number of what is found is below zero."""
    for each in found:
        if isinstance(each, list | tuple):
            check_numbers(each)
        assert not isinstance(each, int) or each >= 0, f"a figure that there cannot be: {each}"


def frame(data: bytes) -> bytes:
    """A frame of the inspector's stream."""
    return struct.pack("<II", len(data), zlib.crc32(data)) + data


def seed_inspector() -> tuple[bytes, ...]:
    """Answers to each question, and several behind each other."""
    ok = struct.pack("<I", 0)
    row = struct.pack("<HHBBIIIQQQ", 2, 0, 0xFF, 0xFF, 0o100644, 0, 0, 1, 7, 5) + b"/a"
    end = struct.pack("<HHBBIIIQQQ", 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0)
    devices = frame(ok + b"vda 0 0 1048576\nvda1 1 2048 4096\n") + frame(b"")
    empty, walk = frame(ok) + frame(b""), frame(ok + row + end) + frame(b"")
    figures = frame(ok + struct.pack("<5Q", 4096, 100, 5, 20, 3)) + frame(b"")
    return (
        devices,
        empty * 2 + walk + empty + figures,
        empty * 2 + figures,
        frame(ok + b"3text\n") + frame(b""),
    )


def check_qmp(data: bytes, folder: Path) -> None:
    """What a QEMU that has been taken over answers on its control socket."""
    del folder
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[: 1 << 16])
        theirs.shutdown(socket.SHUT_WR)
        with suppress(GuestbenchError), qmp.connect(ours) as connection:
            asked = Monitor(connection)
            for ask in (
                asked.read_registers,
                asked.read_ram_bytes,
                asked.list_devices,
                asked.list_virtio,
                lambda: find_forwards(connection, (80,)),
            ):
                with suppress(GuestbenchError):
                    ask()


def seed_qmp() -> tuple[bytes, ...]:
    """A greeting, the answer that negotiates, and answers of several kinds."""
    greeting = b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}\n'
    back = [b'{"return": {}, "id": "__guestbench#%05d"}\n' % number for number in range(4)]
    error = b'{"error": {"class": "GenericError", "desc": "no"}, "id": "__guestbench#00001"}\n'
    event = b'{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}\n'
    return greeting + b"".join(back), greeting + back[0] + error + event, greeting + b'{"return": "text"}\n'


def check_monitor(data: bytes, folder: Path) -> None:
    """Texts of QEMU's monitor."""
    del folder
    text = data.decode("latin-1")
    monitor.parse_registers(text)
    listing = monitor.parse_listing(text, text)
    assert listing.garbled >= 0
    monitor.parse_dump(text, 8)
    monitor.parse_devices(text)
    monitor.parse_views(text)
    monitor.parse_forwards(text)


def seed_monitor() -> tuple[bytes, ...]:
    """Texts of real guests."""
    files = sorted(path for path in (RECORDINGS / "monitor").rglob("*") if path.is_file())
    return tuple(path.read_bytes()[:8000] for path in files[:6]) or (b"CR0=00000011\n",)


def check_link(data: bytes, folder: Path) -> None:
    """Frames of a guest, in pieces of any size, and what the host at the other end makes of them."""
    del folder

    def serve(pieces: list[bytes]) -> tuple[int, list[bytes]]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            host = LinkHost(SocketLink(ours))
            for piece in pieces:
                theirs.sendall(piece)
                host.serve()
            while host.link.receive():
                pass
            return host.heard, host.candidates

    data = data[: 1 << 15]
    whole = serve([data])
    assert len(whole[1]) <= 16
    cut = serve([data[at : at + 7] for at in range(0, len(data), 7)])
    assert whole == cut, "frames are told otherwise where they come in pieces"


def seed_link() -> tuple[bytes, ...]:
    """ARP, DHCP, TCP and neighbour discovery, each behind its length."""
    arp = to_frame(
        Arp(ArpOperation.REQUEST, b"\x52\x54\0\0\0\1", bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2)))
    )
    frames = (arp, to_frame(ask_dhcp(DhcpKind.DISCOVER)), to_frame(ask_dhcp(DhcpKind.REQUEST)))
    each = [len(one).to_bytes(4, "big") + one for one in frames]
    return (*each, b"".join(each), b"\xff\xff\xff\xff" + b"".join(each))


# --- consoles -----------------------------------------------------------------------------------------

TEXTS = {"kernel": b"Linux version", "init": b"[init]", "ready": b"login: "}
WORK = ImageWork(workload="merkle", begin="[init done]", end="[run done]", count="commits:")


def check_console(data: bytes, folder: Path) -> None:
    """A console: what is found on it does not depend on the pieces in which it came."""
    del folder
    pieces = [*range(5, len(data), 5), len(data)]
    whole = console.place_texts(data, [len(data)], TEXTS, "ready", ("init",))
    found = console.place_texts(data, pieces, TEXTS, "ready", ("init",))
    assert whole.keys() == found.keys(), f"{whole.keys()} at once, and {found.keys()} in pieces"
    assert console.quote(data).isprintable()
    reports = contract.find_reports(data, lambda at: at)
    assert len(reports) <= contract.MOST_REPORTS
    for report in (*reports, *contract.find_unlabelled(data, lambda at: at, WORK)):
        assert report.end_ns is None or report.end_ns >= report.begin_ns
        assert report.done is None or str(report.done).encode() in data.replace(b",", b"")
        assert json.loads(msgspec.json.encode(report))
    for question in QUESTIONS:
        for _, value, _ in question.count(data.splitlines()):
            assert 0 <= value <= len(data)


def seed_console() -> tuple[bytes, ...]:
    """The consoles of real guests, and reports of work of every kind."""
    logs = (RECORDINGS / f"{name}.log" for name in ("linux-minimal", "mirage-unikraft", "floor"))
    work = b"[work begin merkle a=1 source=x]\r\n[work end merkle done=18 digest=ab guest_ns=5]\r\n"
    image = b"[init done]\ncommits: 12,345/50,000\ncommits: 50\n[run done]\n"
    escapes = b"\x1b]0;login: \x07\x1b[6n\x1b[31mCommand line: login: x\n[init]\nlogin: \x1b[c"
    return (*(path.read_bytes()[-3000:] for path in logs), work, image, escapes)


NONCE = b"0123456789abcdef"


def check_shell(data: bytes, folder: Path) -> None:
    """What a shell in a guest may answer, and what may stand around its answers."""
    del folder
    cleaned = protocol.clean(data)
    assert all(0x21 <= byte < 0x7F for byte in cleaned)
    for checksum in (None, *protocol.Checksum):
        for payload in protocol.find_payloads(cleaned, NONCE, checksum):
            for encoding in protocol.Encoding:
                check_payload(payload, encoding)
    for encoding in protocol.Encoding:
        check_payload(data, encoding)


def check_payload(payload: bytes, encoding: protocol.Encoding) -> None:
    """What each question makes of a payload."""
    reply = protocol.parse_reply(payload, encoding)
    if reply is not None:
        assert 0 <= reply.status <= 255
        assert max(reply.stdout_bytes, reply.stderr_bytes) < 1 << 63
        assert reply.stdout is None or len(reply.stdout) == reply.stdout_bytes
    block = protocol.parse_block(payload, encoding, 100)
    assert block is None or len(block) == 100
    protocol.parse_tools(payload)


def seed_shell() -> tuple[bytes, ...]:
    """Replies short and long, messages with a checksum and without, and payloads alone."""
    payload = b"r,0,3,0,YWJj,"
    said = NONCE + b"{" + payload + b"|" + protocol.Checksum.MD5.compute(payload) + b"}" + NONCE
    plain = NONCE + b"{running=running}" + NONCE
    noise = b"\x1b[2J[   1.5] kernel says\n" + said[:9] + b"\r\n" + said[9:]
    return said, plain, noise, payload, b"r,0,99999999,0,", b"base64,md5sum,dd", b"YWJj" * 40


# --- stores -------------------------------------------------------------------------------------------


def check_store(data: bytes, folder: Path) -> None:
    """A store that somebody hands over: an error that says where, or reports that hold together."""
    (folder / "store.jsonl").write_bytes(data)
    try:
        header, records = read_store(folder)
        _, paths = write_files(folder, header, records)
    except GuestbenchError as error:
        assert all(message.isprintable() for message in error.messages)
        return
    json.loads(paths["results.json"].read_bytes(), parse_constant=_refuse_constant)
    text = paths["comparison_results.md"].read_text()
    kinds = {token.type for token in MarkdownIt("commonmark", {"html": True}).parse(text)}
    assert "html_block" not in kinds


def _refuse_constant(name: str) -> float:
    raise AssertionError(f"results.json holds {name}, which is no JSON")


def seed_store() -> tuple[bytes, ...]:
    """Stores of runs of several families, and of an older format."""
    runs = (make_run(), make_memory_run(), make_surface_run(), make_work_run())
    old = (RECORDINGS / "store-format-4-seed.jsonl").read_bytes().splitlines(keepends=True)
    return (*(write_store(header, records[:6]) for header, records in runs), b"".join(old[:4]))


def write_store(header: Header, records: Iterable[Record]) -> bytes:
    """A store as a run writes it."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in (header, *records))


VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 10**400, 1e308, -0.0, "", "x", "ok", "floor", "a\x1b[2J|<b>"),
    *([], {}, [None], {"x": 1}),
)
"""What stands in for a value of a store."""


def change_store(choose: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A store with a few values changed, taken out, or put where others were; its lines stay JSON."""
    lines = [json.loads(line) for line in choose.choice(seeds).splitlines()]
    for _ in range(choose.choice((1, 1, 2, 4))):
        line: Any = choose.choice(lines)
        while isinstance(line, dict | list) and line:
            key: Any = choose.choice(list(line)) if isinstance(line, dict) else choose.randrange(len(line))
            if isinstance(line[key], dict | list) and line[key] and choose.random() < 0.9:
                line = line[key]
                continue
            if choose.random() < 0.2:
                del line[key]
            else:
                others = line.values() if isinstance(line, dict) else line
                alike = [each for each in (*VALUES, *others) if isinstance(each, type(line[key]))]
                line[key] = copy.deepcopy(choose.choice(alike if choose.random() < 0.8 else VALUES))
            break
    if choose.random() < 0.1:
        lines.insert(choose.randrange(len(lines)), copy.deepcopy(choose.choice(lines)))
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


# --- files that users hand over -----------------------------------------------------------------------


def check_profile(data: bytes, folder: Path) -> None:
    """A profile that somebody hands over: one error, or a page."""
    del folder
    try:
        found = profile.read_json(data, "profile.json")
    except GuestbenchError as error:
        assert all(message.isprintable() for message in error.messages)
        return
    profile.render_files(found)


def seed_profile() -> tuple[bytes, ...]:
    """A small profile."""
    return (profile.render_json(make_profile()),)


def check_definition(data: bytes, folder: Path) -> None:
    """A system's definition: a system, or all of its mistakes."""
    (folder / "system.toml").write_bytes(data)
    try:
        load_system(folder, ("floor",))
    except GuestbenchError as error:
        assert all(message.isprintable() for message in error.messages)


def seed_definition() -> tuple[bytes, ...]:
    """The smallest system, and those of the package."""
    return (SYSTEM.encode(), *(path.read_bytes() for path in sorted(SYSTEMS.glob("*/system.toml"))[:6]))
