"""The figures of memory protection: what a guest's page tables and control registers allow its code."""

from __future__ import annotations

from guestbench.families.surface.paging.page_tables import CrossCheck, Stack, read_page_tables, read_stacks
from guestbench.families.surface.seen import Seen
from guestbench.guest.shell import Shell
from guestbench.model import Provenance, Unknown
from guestbench.vmm import Introspection, Lacking

ADDRESS_BITS = (1 << 48) - 1
"""What of an address is more than a sign: JSON readers lose digits of larger numbers."""
LINUX_IMAGE = 0xFFFF_FFFF_8000_0000
"""From here on Linux on x86-64 has its own image (Documentation/arch/x86/x86_64/mm.rst)."""
KERNEL_WORK = "dd if=/dev/zero of=/dev/null bs=512 count=4000000 2>/dev/null &"
"""Some seconds of system calls, after which it is over by itself."""
METRICS = (
    *("surface.paging", "surface.wx_pages", "surface.nx", "surface.write_protect", "surface.smep"),
    *("surface.smap", "surface.umip", "surface.null_mapped", "surface.stack_guard"),
    *("surface.text_writable", "surface.user_pages"),
)


def find_protection(guest: Introspection | Lacking, *, with_stack: bool) -> Seen:
    """What the page tables and control registers allow; `with_stack` if the stack in use stands for all."""
    seen = Seen()
    if isinstance(guest, Lacking):
        seen.miss(METRICS, guest.reason)
        return seen
    tables = read_page_tables(guest)
    seen.keep(guest.evidence)
    if isinstance(tables, Unknown):
        seen.miss(METRICS, tables.reason)
        return seen
    registers, rights = tables.registers, tables.rights
    control, pages = "registers", "tlb" if "tlb" in guest.evidence else "registers"
    off = rights.provenance is Provenance.DERIVED
    share = f"{rights.writable_executable_share:.1%} of what is mapped"
    if isinstance(tables.check, CrossCheck) and not tables.check.agrees:
        share += "; the VMM itself lists other mappings"
    seen.add("surface.paging", not off, control, detail=tables.mode.value)
    seen.add(
        "surface.wx_pages",
        rights.writable_executable,
        pages,
        detail="paging is off: all of memory" if off else share,
        provenance=rights.provenance,
    )
    seen.add("surface.nx", registers.no_execute, control)
    seen.add("surface.write_protect", registers.write_protect, control)
    seen.add("surface.smep", registers.smep, control)
    seen.add("surface.smap", registers.smap, control)
    seen.add("surface.umip", registers.umip, control)
    seen.add("surface.null_mapped", tables.null_mapped, pages)
    if with_stack:
        stack = tables.stack
        seen.add("surface.stack_guard", stack if isinstance(stack, Unknown) else stack.guarded, pages)
    text = tables.text
    seen.add("surface.text_writable", text if isinstance(text, Unknown) else text.writable, pages)
    seen.add("surface.user_pages", rights.user, pages, provenance=rights.provenance)
    return seen


def find_busy_stacks(guest: Introspection | Lacking, shell: Shell) -> Seen:
    """Whether the kernel's stacks have guard pages, in a guest whose kernel has work to do.

    An idle Linux stands on the one stack that is part of its own image, and has no guard page.
    """
    seen = Seen()
    if isinstance(guest, Lacking):
        return seen  # said already, of all that the page tables tell
    shell.run(KERNEL_WORK)
    stacks = [stack for stack in read_stacks(guest) if isinstance(stack, Stack)]
    judged = [stack for stack in stacks if stack.pointer < LINUX_IMAGE and isinstance(stack.guarded, bool)]
    if judged:
        guarded = sum(stack.guarded is True for stack in judged)
        detail = f"{guarded} of {len(judged)} stacks seen in use"
        seen.add("surface.stack_guard", guarded == len(judged), detail=detail)
    else:
        seen.add("surface.stack_guard", Unknown(reason="no stack of a task was seen in use"))
    return seen


def find_text_base(guest: Introspection | Lacking) -> Seen:
    """Where the kernel's code begins."""
    seen = Seen()
    if isinstance(guest, Lacking):
        seen.miss(["surface.text_base"], guest.reason)
        return seen
    tables = read_page_tables(guest)
    base = tables if isinstance(tables, Unknown) else tables.text_base
    if isinstance(base, Unknown):
        seen.add("surface.text_base", base)
    else:
        seen.add("surface.text_base", base & ADDRESS_BITS, detail=f"{base:#x}")
    return seen
