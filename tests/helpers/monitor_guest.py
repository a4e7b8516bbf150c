"""Monitors that answer QMP from memory: from a recording of QEMU's answers, or from page tables made here."""

from __future__ import annotations

import json
import re
from pathlib import Path

from guestbench.errors import HostError
from guestbench.vmm.qemu.introspection import Monitor

RECORDINGS = Path(__file__).parents[1] / "recordings" / "monitor"

PRESENT, WRITE, USER, LARGE, NO_EXECUTE = 1, 2, 4, 1 << 7, 1 << 63
PG, WP, PE = 1 << 31, 1 << 16, 1
PSE, PAE, LA57 = 1 << 4, 1 << 5, 1 << 12
LME, LMA, NXE = 1 << 8, 1 << 10, 1 << 11


class RecordedQmp:
    """Answers commands by their line or name; those that it does not know are refused, as QEMU does.

    `memory` is what `xp` shows, 8 bytes at each address; `said` are the commands that came.
    """

    def __init__(self, answers: dict[str, object], memory: dict[int, int] | None = None) -> None:
        self.answers: dict[str, object] = {"query-status": {"running": True}, "stop": {}, "cont": {}}
        self.answers["query-version"] = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}
        self.answers |= answers
        self.memory = memory
        self.said: list[str] = []
        self.monitor = Monitor(self)

    def command(self, name: str, **arguments: object) -> object:
        """The recorded answer."""
        line = str(arguments.get("command-line", " ".join([name, *map(str, arguments.values())])))
        self.said.append(line)
        if self.memory is not None and (match := re.fullmatch(r"xp /(\d+)gx (0x[0-9a-f]+)", line)):
            start = int(match[2], 16)
            return dump(self.memory, start, int(match[1]))
        if line not in self.answers:
            raise HostError(f"QMP {line}: no such command", "guestbench doctor")
        return self.answers[line]


def dump(memory: dict[int, int], start: int, items: int) -> str:
    """What QEMU 7.2 prints for `xp /ITEMSgx START`."""
    values = [memory.get(start + 8 * number, 0) for number in range(items)]
    lines = [
        f"{start + 8 * at:016x}: " + " ".join(f"0x{value:016x}" for value in values[at : at + 2])
        for at in range(0, items, 2)
    ]
    return "\r\n".join(lines) + "\r\n"


def load_recording(name: str) -> RecordedQmp:
    """QMP that answers as a real machine's did."""
    return RecordedQmp(json.loads((RECORDINGS / f"{name}.json").read_text()))


def registers_text(
    *,
    cr0: int = PG | WP | PE,
    cr3: int = 0x1000,
    cr4: int = PAE,
    efer: int = LME | LMA | NXE,
    privilege: int = 0,
    instruction: int = 0x400000,
    stack: int = 0x600000,
) -> str:
    """What QEMU 7.2 prints for `info registers` of a 64-bit CPU, in short."""
    return (
        f"\r\nCPU#0\r\nRAX={0:016x} RBX={0:016x} RCX={0:016x} RDX={0:016x}\r\n"
        f"RSI={0:016x} RDI={0:016x} RBP={0:016x} RSP={stack:016x}\r\n"
        f"RIP={instruction:016x} RFL=00000246 [---Z-P-] CPL={privilege} II=0 A20=1 SMM=0 HLT=1\r\n"
        f"SS =0018 {0:016x} ffffffff 00cf9300 DPL=0 DS   [-WA]\r\n"
        f"CR0={cr0:08x} CR2={0:016x} CR3={cr3:016x} CR4={cr4:08x}\r\n"
        f"EFER={efer:016x}\r\nFCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80\r\n"
    )
