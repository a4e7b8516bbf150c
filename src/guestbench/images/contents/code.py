"""Judges x86 code by what is in it: mitigations, ways to trap into it, programs linked in; it never runs it.

All of it is derived from byte patterns, headers and symbols; each conclusion names its evidence. An absent
pattern says that this way of finding it found nothing, and the words say which way that was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from guestbench.images.contents.known import LIBRARIES, SYMBOLS, TEXTS
from guestbench.images.formats.elf import PT_GNU_RELRO, PT_GNU_STACK, ElfImage, Symbols
from guestbench.images.inspection import Count, Known, Signature, known, unknown
from guestbench.images.source import Source
from guestbench.images.tree import show

_JUMP = rb"(?:[\x74\x75]|\x0f[\x84\x85])"
_PLACE = rb"[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"
"""An operand in memory: relative to the next instruction in 64-bit code, an address in 32-bit code."""
_STACK = rb"(?:[\x44-\x7c]\x24.|[\x84-\xbc]\x24.{4}|[\x45-\x7d].|[\x85-\xbd].{4})"
"""An operand on the stack, by the stack pointer or the frame pointer."""
_GUARDS = (
    # mov, sub, xor or cmp of a register, as GCC and Clang write it.
    (
        *(64, "accesses to %fs:0x28 or %gs:0x28"),
        rb"[\x64\x65][\x48\x4c][\x8b\x2b\x33\x3b][\x04-\x3c]\x25\x28\0\0\0",
    ),
    (32, "accesses to %gs:0x14", rb"\x65(?:\xa1|[\x8b\x2b\x33\x3b]" + _PLACE + rb")\x14\0\0\0"),
    # GCC subtracts the guard, or XORs it, and jumps; Clang loads it, compares it with the stack, and jumps.
    # Linux has it at %gs:__ref_stack_chk_guard(%rip) from 6.15 on, and at %fs:__stack_chk_guard on i386. A
    # mere access will not do: all variables of a CPU are reached so.
    (
        *(64, "checks of a guard at %gs:[rip+x]"),
        rb"[\x64\x65][\x48\x4c](?:[\x2b\x33]%b.{4}|\x8b%b.{4}[\x48\x4c]\x3b%b)%b"
        % (_PLACE, _PLACE, _STACK, _JUMP),
    ),
    (32, "checks of a guard at %fs:x", rb"\x64[\x2b\x33]" + _PLACE + rb".{4}" + _JUMP),
)
"""How code looks that uses the guard of a stack protector: bits, words, bytes."""
_GLOBAL_STORED = re.compile(rb"([\x48\x4c]\x8b" + _PLACE + rb"(.{4}))[\x48\x4c]\x89" + _STACK, re.DOTALL)
_GLOBAL_CHECKED = re.compile(rb"([\x48\x4c][\x2b\x33]" + _PLACE + rb"(.{4}))" + _JUMP, re.DOTALL)
_GLOBAL_USES = 4
"""A variable that so many functions copy to their stack and subtract before a jump is a guard, whatever its
name. In cc1, git, node, QEMU and LLVM, which have none such, no variable is used so even once."""
_GUARD_NAMES = (b"\0__stack_chk_fail\0", b"\0__stack_chk_guard\0", b"\0__ref_stack_chk_guard\0")
_KERNEL_TEXT = b"stack-protector: Kernel stack is corrupted"
"""Of Linux's kernel/panic.c, which has it only with CONFIG_STACKPROTECTOR."""
_SEARCHED_BYTES = 16 << 20
_LSTAR = re.compile(rb"[\xb8-\xbf]\x82\0\0\xc0", re.DOTALL)
_LSTAR_WRITE = re.compile(rb"\xb9\x82\0\0\xc0.{0,40}?\x0f\x30", re.DOTALL)
"""mov $0xc0000082 to any register: the number of the MSR that says where SYSCALL enters; and to %ecx with
wrmsr soon after it. A Linux for Xen passes the number to a function instead, so that both are counted."""
_TRAPS = {"syscall": b"\x0f\x05", "sysenter": b"\x0f\x34", "int 0x80": b"\xcd\x80"}
_ENDBR = {64: b"\xf3\x0f\x1e\xfa", 32: b"\xf3\x0f\x1e\xfb"}
_MAX_TRAPS_TRIED = 20_000
_STARTS_TRIED, _SHORTEST_RUN = 16, 32

NAMES_LSTAR, WRITES_LSTAR = "code that names LSTAR", "of it, followed by wrmsr"
_HANDLER = re.compile(r"uk_syscall_[re]_(?:[eu]_)?(\w+)|__x64_sys_(\w+)")
_OCAML_MODULE = re.compile(r"caml([A-Z]\w*?)(?:__|[.$@]|_code_|_data_|_frametable|_\d|$)")


def _count_matches(pattern: re.Pattern[bytes], data: bytes) -> int:
    """How often a pattern is there, without a list of the places: there can be millions in a hostile file."""
    return sum(1 for _ in pattern.finditer(data))


def find_families(symbols: Symbols, source: str) -> Known[tuple[Count, ...]]:
    """Count symbols by family; the rest is `other`. `source` is their origin, or why there are none."""
    if not symbols:
        return unknown(source)
    counts: Counter[str] = Counter()
    for symbol in symbols:
        counts[next((family for family, pattern in SYMBOLS if pattern.match(symbol.name)), "other")] += 1
    order = [*(family for family, _ in SYMBOLS), "other"]
    rows = tuple(Count(name=family, count=counts[family]) for family in order if counts[family])
    return known(rows, f"{source}, by the beginnings of names")


def find_libraries(contents: bytes, symbols: Symbols, source: str) -> Known[tuple[Count, ...]]:
    """Libraries linked in: OCaml's by the modules of their symbols, others by strings that come with them.

    The count is of symbols, or of places where a string is found.
    """
    modules = Counter(match[1] for each in symbols if (match := _OCAML_MODULE.match(each.name)))
    units: Counter[str] = Counter()
    for name, count in modules.items():
        # Cmdliner_arg belongs to Cmdliner, where that is a module, too.
        whole = name.partition("_")[0]
        units["Stdlib" if name.startswith("Camlinternal") else whole if whole in modules else name] += count
    rows = [Count(name=show(f"OCaml: {name}".encode()), count=count) for name, count in sorted(units.items())]
    strings = [(name, _count_matches(pattern, contents)) for name, pattern in LIBRARIES]
    rows += [Count(name=name, count=count) for name, count in strings if count]
    if not rows:
        return unknown("no string of a known library, and no symbols")
    return known(
        tuple(rows), f"OCaml modules in {source}; strings" if modules else "strings of known libraries"
    )


def find_programs(contents: bytes) -> Known[tuple[str, ...]]:
    """Shells, interpreters and package managers whose own strings are in the image."""
    found = tuple(name for _, name, pattern in TEXTS if pattern.search(contents))
    return known(found, f"strings of {len(TEXTS)} known shells, interpreters and package managers")


def find_handlers(symbols: Symbols, source: str) -> Known[int]:
    """How many system calls have a handler, by the handlers' symbols."""
    if not symbols:
        return unknown(source)
    names = {match[1] or match[2] for each in symbols if (match := _HANDLER.fullmatch(each.name))}
    return known(len(names), f"{source}: uk_syscall_r_*, uk_syscall_e_* and __x64_sys_*, each call once")


def find_traps(code: Sequence[bytes], bits: int) -> Known[tuple[Count, ...]]:
    """Ways for code without privileges to enter the kernel by a trap, and code that makes such calls.

    The bytes of an instruction also occur inside others. An occurrence counts if most decodings that begin a
    little before it arrive exactly at it: x86 code falls into step again after a few instructions.
    """
    decoder = _Decoder(bits)
    rows = [
        Count(name=name, count=sum(_count_matches(pattern, part) for part in code))
        for name, pattern in ((NAMES_LSTAR, _LSTAR), (WRITES_LSTAR, _LSTAR_WRITE))
    ]
    for name, pattern in _TRAPS.items():
        count = tried = 0
        for part in code:
            at = -1
            while (at := part.find(pattern, at + 1)) >= 0:
                tried += 1
                if tried > _MAX_TRAPS_TRIED:
                    return unknown(f"the bytes of {name} occur more than {_MAX_TRAPS_TRIED} times")
                count += decoder.is_instruction(part, at)
        rows.append(Count(name=f"{name} instructions", count=count))
    return known(
        tuple(rows), "byte patterns in the executable segments; traps at instruction boundaries by capstone"
    )


class _Decoder:
    def __init__(self, bits: int) -> None:
        import capstone

        self._engine = capstone.Cs(
            capstone.CS_ARCH_X86, capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32
        )

    def is_instruction(self, code: bytes, at: int) -> bool:
        """Whether most decodings that begin before `at` have an instruction begin there."""
        arrived = tried = 0
        for start in range(max(0, at - _SHORTEST_RUN - _STARTS_TRIED), max(1, at - _SHORTEST_RUN)):
            tried += 1
            for address, size, _, _ in self._engine.disasm_lite(code[start : at + 2], start):
                if address + size >= at:
                    arrived += address + size == at or address == at
                    break
        return arrived * 2 > tried


def _find_stack_protector(source: Source, bits: int, code: Sequence[bytes], symbols: Symbols) -> Signature:
    counts = {
        words: sum(_count_matches(re.compile(pattern, re.DOTALL), part) for part in code)
        for of_bits, words, pattern in _GUARDS
        if of_bits == bits
    }
    texts = _find_texts(source, (*_GUARD_NAMES, _KERNEL_TEXT))
    named = texts & {*_GUARD_NAMES} or any(each.name.startswith("__stack_chk_") for each in symbols)
    if not any(counts.values()) and bits == 64:
        uses = _count_global_guard(code)
        counts["checks of one guard in memory"] = uses if named or uses >= _GLOBAL_USES else 0
    evidence = [f"{count} {words}" for words, count in counts.items()]
    evidence += ["symbols __stack_chk_*"] if named else []
    evidence += ["the kernel's text for an overrun"] if _KERNEL_TEXT in texts else []
    present = any(counts.values()) or _KERNEL_TEXT in texts
    return Signature(
        name="stack protector",
        state="present" if present else "symbols only" if named else "absent",
        evidence=", ".join(evidence),
    )


def _count_global_guard(code: Sequence[bytes]) -> int:
    """How often one variable is copied to the stack, and checked before a jump: the lesser of the two."""
    most = 0
    for part in code:
        stored, checked = (
            Counter(m.end(1) + int.from_bytes(m[2], "little", signed=True) for m in pattern.finditer(part))
            for pattern in (_GLOBAL_STORED, _GLOBAL_CHECKED)
        )
        most = max(most, *(min(count, checked[place]) for place, count in stored.items()), 0)
    return most


def _find_texts(source: Source, texts: Sequence[bytes]) -> set[bytes]:
    """Those of the texts that are in the file."""
    found: set[bytes] = set()
    longest = max(map(len, texts))
    for at in range(0, source.size_bytes, _SEARCHED_BYTES):
        part = source.read_some(at, _SEARCHED_BYTES + longest)
        found |= {text for text in texts if text in part}
    return found


def find_mitigations(
    source: Source, image: ElfImage, code: Sequence[bytes], symbols: Symbols
) -> tuple[Signature, ...]:
    """What compiler and linker did against exploits, each with its evidence."""
    rows = [
        _find_stack_protector(source, image.bits, code, symbols),
        Signature(
            name="position-independent (PIE)",
            state="present" if image.is_pie(source) else "absent",
            evidence=f"ELF type {image.type} (3: DYN), dynamic flags, interpreter",
        ),
    ]
    if image.find_segment(PT_GNU_RELRO) is None:
        rows.append(Signature(name="RELRO", state="absent", evidence="no GNU_RELRO header"))
    else:
        now = image.binds_now(source)
        rows.append(
            Signature(
                name="RELRO",
                state="full" if now else "partial",
                evidence="GNU_RELRO header" + (", BIND_NOW" if now else ", no BIND_NOW"),
            )
        )
    stack = image.find_segment(PT_GNU_STACK, last=True)  # Linux lets the last one count
    state = "not stated" if stack is None else "absent" if stack.executable else "present"
    evidence = "no GNU_STACK header" if stack is None else f"GNU_STACK header with flags {stack.rights}"
    rows.append(Signature(name="non-executable stack asked for", state=state, evidence=evidence))
    marks = sum(part.count(_ENDBR[image.bits]) for part in code)
    rows.append(
        Signature(
            name="indirect branch tracking",
            state="marked" if marks else "absent",
            evidence=f"{marks} endbr{image.bits} instructions",
        )
    )
    return tuple(rows)
