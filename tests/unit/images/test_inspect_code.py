"""Code in images: gadgets, traps, mitigations, symbols, and what is linked in."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import Load, bzimage, elf64, inspect_file, multiboot_header, wrap_elf64

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.contents import code, gadgets
from guestbench.images.formats import elf as elf_format
from guestbench.images.formats.elf import read_elf_at
from guestbench.images.inspection import Elf, Inspection, Kind
from guestbench.images.source import open_source
from guestbench.provision import cpio

POP_RET = b"\x58\xc3"  # pop rax; ret
SYSCALL = b"\x0f\x05"
NOPS = b"\x90" * 64


def inspect_elf(image: Path, data: bytes) -> tuple[Inspection, Elf]:
    """Inspect an ELF file with these contents."""
    image.write_bytes(data)
    scratch = image.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    found = inspect_file(image, scratch)
    assert found.elf is not None
    assert not list(scratch.iterdir())
    return found, found.elf


# --- gadgets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "places"),
    [
        (b"\xc3", 0),
        (POP_RET, 1),
        (b"\x41\x58\xc3", 2),  # pop r8, and pop rax inside it
        (b"\xe8\x00\x00\x00\x00\xc3", 3),  # a call; inside it add [rax],al twice and once with 00 00 00
        (b"\xeb\x00\xc3", 0),  # a jump
        (b"\x90" * 9 + b"\xc3", 4),  # four instructions and the return
        (b"\x58\xc2\x08\x00", 1),  # ret 8
        (b"\x58\xcb", 1),  # far return
        (b"\xcc\xc3", 0),
        (b"\x06\x06\xc3", 0),  # no instruction in 64-bit mode
        (b"", 0),
    ],
)
def test_gadgets_are_counted_as_the_method_says(segment: bytes, places: int) -> None:
    """The number of gadgets in the report would not be what its method says."""
    if segment.startswith(b"\xe8"):
        found = gadgets.count_gadgets([segment], 64)
        assert found.places == reference([segment], 64)[0]
        return
    assert gadgets.count_gadgets([segment], 64).places == places


def reference(code: list[bytes], bits: int) -> tuple[int, int]:
    """The method without any short cut: decode from each start up to the return."""
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32)
    places, distinct = 0, set()
    for segment in code:
        for at, byte in enumerate(segment):
            operand = 2 if byte in (0xC2, 0xCA) else 0
            if byte not in (0xC3, 0xCB, 0xC2, 0xCA) or at + operand >= len(segment):
                continue
            end = at + 1 + operand
            for start in range(max(0, at - 10), at):
                rows = list(engine.disasm_lite(segment[start:end], start, 6))
                words = [row[2].split()[-1] for row in rows]
                whole = bool(rows) and rows[-1][0] == at and rows[-1][0] + rows[-1][1] == end
                ends = any(word in gadgets._ENDS or word.startswith("j") for word in words[:-1])
                if whole and len(rows) <= 5 and not ends:
                    places += 1
                    distinct.add(segment[start:end])
    return places, len(distinct)


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from([b"\xc3", b"\xc2\x08\0", b"\x58", b"\x48\x89\xe0", b"\xe8", b"\0", b"\xf3"])
        | st.binary(min_size=1, max_size=6),
        max_size=30,
    ).map(b"".join),
    st.sampled_from([32, 64]),
)
def test_gadget_count_agrees_with_plain_decoding(segment: bytes, bits: int) -> None:
    """The counter's short cuts would change its result."""
    found = gadgets.count_gadgets([segment], bits)
    assert (found.places, found.distinct) == reference([segment], bits)


def test_share_of_the_returns_is_scaled() -> None:
    """The gadgets of a large program would be too few by the share that was looked at."""
    segment = (POP_RET + b"\xcc" * 8) * 1000
    whole = gadgets.count_gadgets([segment], 64)
    assert (whole.places, whole.distinct, whole.returns, whole.share) == (1000, 1, 1000, 1.0)
    part = gadgets.count_gadgets([segment], 64, max_returns=100)
    assert (part.places, part.distinct, part.returns, part.share) == (1000, None, 1000, 0.1)


# --- traps and mitigations ----------------------------------------------------------------------------


def counts(found: Elf) -> dict[str, int]:
    """The ways in by a trap."""
    assert found.syscall_entry.value is not None
    return {row.name: row.count for row in found.syscall_entry.value}


def test_traps_are_found_at_instruction_boundaries(tmp_path: Path) -> None:
    """Bytes inside another instruction would pass for a system call."""
    inside = NOPS + b"\xb8\x0f\x05\x0f\x05" + NOPS  # mov eax, 0x050f050f
    _, found = inspect_elf(tmp_path / "a", elf64((Load(5, inside),)))
    assert counts(found)["syscall instructions"] == 0
    real = NOPS + SYSCALL + NOPS + b"\xcd\x80" + NOPS + b"\x0f\x34"
    _, found = inspect_elf(tmp_path / "b", elf64((Load(5, real),)))
    names = ("syscall instructions", "int 0x80 instructions", "sysenter instructions")
    assert [counts(found)[name] for name in names] == [1, 1, 1]
    assert counts(found)[code.WRITES_LSTAR] == 0


def test_code_that_takes_system_calls_is_found(tmp_path: Path) -> None:
    """A kernel with a system-call entry would be reported as one without."""
    lstar = NOPS + b"\xb9\x82\0\0\xc0" + b"\x48\x89\xd0" + b"\x0f\x30" + NOPS
    _, found = inspect_elf(tmp_path / "a", elf64((Load(5, lstar),)))
    assert (counts(found)[code.NAMES_LSTAR], counts(found)[code.WRITES_LSTAR]) == (1, 1)
    passed = NOPS + b"\xbf\x82\0\0\xc0\xe8\0\0\0\0" + NOPS  # as an argument, as Linux with paravirtualisation
    _, found = inspect_elf(tmp_path / "c", elf64((Load(5, passed),)))
    assert (counts(found)[code.NAMES_LSTAR], counts(found)[code.WRITES_LSTAR]) == (1, 0)
    _, found = inspect_elf(tmp_path / "b", elf64((Load(4, lstar), Load(5, NOPS))))
    assert counts(found)[code.WRITES_LSTAR] == 0


def states(found: Elf) -> dict[str, str]:
    """The mitigations' states."""
    return {row.name: row.state for row in found.mitigations}


def test_plain_image_has_no_mitigations(tmp_path: Path) -> None:
    """Mitigations would be reported that are not there."""
    found, part = inspect_elf(tmp_path / "plain", elf64((Load(7, NOPS), Load(6, b"data"))))
    assert found.kind is Kind.ELF
    assert states(part) == {
        "stack protector": "absent",
        "position-independent (PIE)": "absent",
        "RELRO": "absent",
        "non-executable stack asked for": "not stated",
        "indirect branch tracking": "absent",
    }
    assert part.wx_segments.value == 1
    assert part.code_bytes.value == len(NOPS)
    assert part.stripped
    assert part.symbols.value is None
    assert "stripped" in part.symbols.unknown
    assert part.syscall_handlers.value is None


def compile_program(folder: Path, *options: str) -> Path:
    """A program made by gcc."""
    source, program = folder / "a.c", folder / "a.out"
    source.write_text(
        "#include <stdio.h>\nint uk_syscall_r_read, x;\nint uk_syscall_r_write(void){return 0;}"
        "int uk_syscall_e_write(void){return 0;}int camlIrmin__Tree_go_12(void){return 1;}"
        "int main(int n, char **a){char b[64]; for(int i=0;a[0][i];i++) b[i]=a[0][i]; puts(b); return n;}"
    )
    process.run(["gcc", *options, source, "-o", program])
    return program


def test_mitigations_of_a_compiled_program(tmp_path: Path) -> None:
    """Mitigations that a compiler put in would be missed."""
    hardened = compile_program(tmp_path, "-fstack-protector-all", "-pie", "-fPIE", "-Wl,-z,relro,-z,now")
    _, part = inspect_elf(tmp_path / "hard", hardened.read_bytes())
    found = states(part)
    assert found["stack protector"] == "present"
    assert found["position-independent (PIE)"] == "present"
    assert found["RELRO"] == "full"
    assert found["non-executable stack asked for"] == "present"
    weak = compile_program(
        tmp_path,
        "-fno-stack-protector",
        "-no-pie",
        "-Wl,-z,norelro",
        "-z",
        "execstack",
        "-fcf-protection=none",
    )
    _, part = inspect_elf(tmp_path / "weak", weak.read_bytes())
    found = states(part)
    assert found["position-independent (PIE)"] == "absent"
    assert found["RELRO"] == "absent"
    assert found["non-executable stack asked for"] == "absent"


GUARDED = """
void g(char *p) { p[0] = 1; }
int f(int n) { volatile char b[64]; g((char *)b); return b[n]; }
int h(int n) { volatile char b[300]; g((char *)b); return b[n] * 3; }
int i(int n) { volatile char b[30]; g((char *)b + 1); return b[n] - 3; }
int j(int n) { volatile char b[99]; g((char *)b + 9); return b[n] + 3; }
unsigned long __stack_chk_guard;
void __stack_chk_fail(void) { for (;;); }
void _start(void) { for (;;) f(1), h(1), i(1), j(1); }
"""
GUARDS = {
    "%fs:0x28": ("-m64",),
    "%gs:0x28": ("-m64", "-mstack-protector-guard-reg=gs"),
    # As Linux is built from 6.15 on.
    "%gs:[rip+x]": (
        *("-m64", "-mcmodel=kernel", "-mstack-protector-guard-reg=gs"),
        "-mstack-protector-guard-symbol=__stack_chk_guard",
    ),
    "guard in memory": ("-m64", "-mstack-protector-guard=global"),
    "%gs:0x14": ("-m32", "-Wl,-m,elf_i386"),
    # As Linux is built for i386.
    "%fs:x": (
        *("-m32", "-Wl,-m,elf_i386", "-mstack-protector-guard-reg=fs"),
        "-mstack-protector-guard-symbol=__stack_chk_guard",
    ),
}


def compile_guarded(folder: Path, *options: str) -> bytes:
    """A program without a C library, made by gcc."""
    source, program = folder / "a.c", folder / "a.out"
    source.write_text(GUARDED)
    always = ("-nostdlib", "-nostartfiles", "-static", "-fno-pic", "-no-pie", "-w")
    process.run(["gcc", *always, *options, source, "-o", program])
    return program.read_bytes()


@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("guard", GUARDS)
def test_stack_protector_is_found_wherever_its_guard_is(tmp_path: Path, guard: str, level: str) -> None:
    """A kernel, or a 32-bit one, would be said to have no stack protector though it has."""
    for stripped in ((), ("-s",)):
        data = compile_guarded(tmp_path, *GUARDS[guard], level, "-fstack-protector-all", *stripped)
        _, part = inspect_elf(tmp_path / "image", data)
        found = part.mitigations[0]
        assert found.state == "present", found
        assert guard.removesuffix(" in memory") in found.evidence
        data = compile_guarded(tmp_path, *GUARDS[guard], level, "-fno-stack-protector", *stripped)
        _, part = inspect_elf(tmp_path / "image", data)
        assert part.mitigations[0].state == ("absent" if stripped else "symbols only")


@pytest.mark.parametrize(
    ("instructions", "state"),
    [
        # Clang: mov %gs:x(%rip),%rax; cmp 8(%rsp),%rax; jne
        (b"\x65\x48\x8b\x05\x11\x22\x33\0\x48\x3b\x44\x24\x08\x75\x10", "present"),
        # mov %gs:x(%rip),%r9; cmp -0x10(%rbp),%r9; jne with a long way to go
        (b"\x65\x4c\x8b\x0d\x11\x22\x33\0\x4c\x3b\x4d\xf0\x0f\x85\x10\0\0\0", "present"),
        # GCC before 11: xor %gs:x(%rip),%rdx; je
        (b"\x65\x48\x33\x15\x11\x22\x33\0\x74\x05", "present"),
        # Any other variable of a CPU: mov %gs:x(%rip),%rax; test %rax,%rax; je
        (b"\x65\x48\x8b\x05\x11\x22\x33\0\x48\x85\xc0\x74\x05", "absent"),
        # cmp %gs:current(%rip),%rdi; je
        (b"\x65\x48\x3b\x3d\x11\x22\x33\0\x74\x05", "absent"),
    ],
)
def test_guards_of_other_compilers_are_told_from_other_variables_of_a_cpu(
    tmp_path: Path, instructions: bytes, state: str
) -> None:
    """A kernel built with Clang would seem unprotected, or every kernel protected."""
    _, part = inspect_elf(tmp_path / "image", elf64((Load(5, NOPS + instructions + NOPS),)))
    assert states(part)["stack protector"] == state


def test_kernel_text_shows_its_stack_protector(tmp_path: Path) -> None:
    """A kernel of a compiler that is not known would be said to have no stack protector."""
    text = b"x" * 100 + b"stack-protector: Kernel stack is corrupted in: %pB\0"
    _, part = inspect_elf(tmp_path / "image", elf64((Load(5, NOPS), Load(4, text))))
    assert states(part)["stack protector"] == "present"


@pytest.mark.parametrize(
    ("flags", "state"), [((6, 7), "absent"), ((7, 6), "present"), ((7,), "absent"), ((6, 6, 7), "absent")]
)
def test_last_of_several_stack_headers_counts_as_in_linux(
    tmp_path: Path, flags: tuple[int, ...], state: str
) -> None:
    """A program that gets an executable stack would be said to have asked for another."""
    data = bytearray(elf64((Load(5, NOPS), *(Load(flag, b"x") for flag in flags))))
    for number in range(len(flags)):
        struct.pack_into("<I", data, 64 + 56 * (number + 1), 0x6474E551)
    _, part = inspect_elf(tmp_path / "image", bytes(data))
    assert states(part)["non-executable stack asked for"] == state


def test_marks_for_indirect_branches_of_32_bit_code_are_counted(tmp_path: Path) -> None:
    """A 32-bit program would be said to be without marks that it has."""
    for option, state in (("-fcf-protection=branch", "marked"), ("-fcf-protection=none", "absent")):
        for width in (("-m32", "-Wl,-m,elf_i386"), ("-m64",)):
            _, part = inspect_elf(tmp_path / "image", compile_guarded(tmp_path, *width, option))
            assert states(part)["indirect branch tracking"] == state


def test_symbols_are_read_from_the_file_beside_a_stripped_image(tmp_path: Path) -> None:
    """The symbols of a stripped unikernel would stay unknown though its .dbg file is there."""
    program = compile_program(tmp_path)
    image = tmp_path / "image.elf"
    (tmp_path / "image.elf.dbg").write_bytes(program.read_bytes())
    process.run(["strip", program])
    _, part = inspect_elf(image, program.read_bytes())
    assert part.stripped
    assert part.symbols.source.startswith("symbols of image.elf.dbg")
    families = {row.name: row.count for row in part.symbols.value or ()}
    assert families["Unikraft system calls"] == 3
    assert families["OCaml code"] == 1
    assert part.syscall_handlers.value == 2
    assert next(row.name for row in part.libraries.value or ()) == "OCaml: Irmin"


def test_symbols_of_another_build_do_not_count(tmp_path: Path) -> None:
    """An old .dbg file would lend its symbols to a new unikernel."""
    (tmp_path / "image.dbg").write_bytes(compile_program(tmp_path).read_bytes())
    _, part = inspect_elf(tmp_path / "image", elf64((Load(5, NOPS),)))
    assert part.symbols.value is None
    assert part.symbols.unknown == "the image is stripped, and image.dbg is of another build"


def test_code_of_nothing_but_returns_is_refused(tmp_path: Path) -> None:
    """A hostile image would keep the tool busy for minutes."""
    _, part = inspect_elf(tmp_path / "image", elf64((Load(5, b"\xc3" * 4_000_001),)))
    assert part.gadgets.value is None
    assert "more than any program" in part.gadgets.unknown


def test_wrapped_unikernel_is_read_by_its_true_headers(tmp_path: Path) -> None:
    """The segments of a unikernel would be those of the wrapper."""
    inner = elf64((Load(4, b"GNU bash, version 5"), Load(5, NOPS + POP_RET), Load(6, b"w", zeros=99)))
    found, part = inspect_elf(tmp_path / "unikernel", wrap_elf64(inner))
    assert found.detail == "ELF64 x86-64 in ELF32 i386"
    assert [s.flags for s in part.segments] == ["R--", "R-E", "RW-"]
    assert part.code_bytes.value == 66
    assert part.programs.value == ("bash",)
    assert part.gadgets.value is not None
    assert part.gadgets.value.returns == 1


def test_foreign_code_is_unknown_and_not_without_gadgets(tmp_path: Path) -> None:
    """Code that cannot be decoded would count as code without gadgets."""
    _, part = inspect_elf(tmp_path / "arm", elf64((Load(5, NOPS),), machine=183))
    assert part.gadgets.value is None
    assert "AArch64" in part.gadgets.unknown
    assert part.syscall_entry.value is None


def test_hostile_symbol_tables_are_left_out(tmp_path: Path) -> None:
    """A symbol table that lies about its size would take all memory."""
    data = bytearray(elf64((Load(5, NOPS),), symbols=True))
    at = len(data) - 64
    struct.pack_into("<IIQQQQIIQQ", data, at, 0, 2, 0, 0, 0, (1 << 63) - 1, 1, 0, 8, 24)
    image = tmp_path / "image"
    image.write_bytes(bytes(data))
    with open_source(image) as source, pytest.raises(ImageError, match="is truncated: its symbol table"):
        read_elf_at(source, 0).read_symbols(source)
    _, part = inspect_elf(image, bytes(data))
    assert part.symbols.value is None
    assert "is truncated: its symbol table ends at byte" in part.symbols.unknown


def test_symbols_that_are_cut_off_or_too_many_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a broken download it would be said that it is stripped, or its first symbols be taken for all."""
    whole = compile_program(tmp_path).read_bytes()
    image = tmp_path / "image"
    _, part = inspect_elf(image, whole)
    assert (part.stripped, part.symbols.value is None) == (False, False)
    _, part = inspect_elf(image, whole[:-70])
    assert (part.stripped, part.symbols.value) == (None, None)
    assert part.symbols.unknown.startswith("the image is cut: its table of sections")
    for name, limit, words in (
        ("MAX_SYMBOLS", 5, "symbols: more than are read (5)"),
        ("MAX_NAME_BYTES", 5, "more than 5 bytes of names"),
        ("MAX_STRINGS_BYTES", 5, "more than are read"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(elf_format, name, limit)
            _, part = inspect_elf(image, whole)
            assert words in part.symbols.unknown


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(4, 400), st.binary(min_size=1, max_size=8)), min_size=1, max_size=8))
def test_damaged_elf_files_raise_only_image_errors(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    """A damaged unikernel would end the inspection with a traceback."""
    data = bytearray(wrap_elf64(elf64(symbols=True, multiboot=multiboot_header())))
    for offset, change in changes:
        data[offset : offset + len(change)] = change
    image = tmp_path / "image"
    try:
        inspect_elf(image, bytes(data))
    except ImageError as error:
        assert error.message.startswith(str(image))


def test_known_strings_find_programs_and_paths_do_not() -> None:
    """A unikernel with the mere text /bin/sh in its C library would be said to have a shell."""
    assert code.find_programs(b"/bin/sh\0sh\0/usr/bin/python3\0").value == ()
    assert code.find_programs(b"..BusyBox v1.35.0 (Debian..PYTHONHOME..").value == ("BusyBox", "Python")


# --- Linux kernels ------------------------------------------------------------------------------------


def make_bzimage(payload: bytes, version: bytes = b"6.1.0-test (a@b) #1 SMP\0") -> bytes:
    """A bzImage with this compressed kernel in it."""
    data = bytearray(bzimage(len(payload) + 16))
    struct.pack_into("<H", data, 0x20E, 0x300 - 0x200 + 0x100)
    data[0x400 : 0x400 + len(version)] = version
    struct.pack_into("<II", data, 0x248, 0, len(payload))
    data[2048 : 2048 + len(payload)] = payload
    return bytes(data)


CONFIG = b"# CONFIG_KEXEC is not set\nCONFIG_STRICT_KERNEL_RWX=y\nCONFIG_USER_NS=m\nCONFIG_X=3\nCONFIG_Y=y\n"


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd"])
def test_kernel_is_unpacked_and_its_configuration_read(tmp_path: Path, kind: str) -> None:
    """A kernel that carries its configuration would be reported without."""
    contents = b"IKCFG_ST" + gzip.compress(CONFIG, mtime=0) + b"IKCFG_ED"
    vmlinux = elf64((Load(5, NOPS + POP_RET), Load(4, contents)))
    options = ["--check=crc32"] if kind == "xz" else ["-q"] if kind == "zstd" else []
    packed = process.run([kind, "-c", *options], input=vmlinux).stdout
    image = tmp_path / "vmlinuz"
    image.write_bytes(make_bzimage(packed))
    found = inspect_file(image, tmp_path)
    assert found.kind is Kind.LINUX_KERNEL
    assert found.kernel is not None
    assert found.kernel.version.value == "6.1.0-test (a@b) #1 SMP"
    config = found.kernel.config.value
    assert config is not None
    assert (config.builtin, config.modules) == (2, 1)
    hardening = {option.name: option.state for option in config.hardening}
    assert (hardening["KEXEC"], hardening["USER_NS"], hardening["STRICT_KERNEL_RWX"]) == ("n", "m", "y")
    assert hardening["CFI_CLANG"] == "absent"
    program = found.kernel.program.value
    assert program is not None
    assert program.code_bytes.value == 66
    assert str(len(vmlinux)) in found.kernel.program.source


@pytest.mark.parametrize("name", ["boot/vmlinuz-linux", "usr/lib/modules/6.9/vmlinuz", "boot/bzImage"])
def test_configuration_inside_a_kernel_of_a_system_is_read(tmp_path: Path, name: str) -> None:
    """Of a system that has its kernel's configuration in the kernel alone, no option would be known."""
    inside = b"IKCFG_ST" + gzip.compress(CONFIG, mtime=0) + b"IKCFG_ED"
    image = tmp_path / "initrd"
    for contents, known in ((inside, True), (b"nothing", False)):
        vmlinux = elf64((Load(5, NOPS + POP_RET), Load(4, contents)))
        kernel = cpio.regular_file(make_bzimage(gzip.compress(vmlinux)))
        image.write_bytes(cpio.pack({name: kernel, "etc/passwd": cpio.regular_file(b"")}))
        files = inspect_file(image, tmp_path).files
        assert files is not None
        assert files.value is not None
        config = files.value.kernel_config
        assert (config.value is not None) is known
        assert known or "has no embedded configuration" in config.unknown


def test_kernel_that_cannot_be_unpacked_keeps_its_version(tmp_path: Path) -> None:
    """One unreadable part would hide all others."""
    image = tmp_path / "vmlinuz"
    image.write_bytes(make_bzimage(b"\x89LZO" + bytes(100)))
    found = inspect_file(image, tmp_path)
    assert found.kernel is not None
    assert found.kernel.version.value is not None
    assert found.kernel.program.value is None
    assert found.kernel.program.unknown == "is compressed with lzo: not supported"
    image.write_bytes(bzimage())
    found = inspect_file(image, tmp_path)
    assert found.kernel is not None
    assert found.kernel.version.value is None
