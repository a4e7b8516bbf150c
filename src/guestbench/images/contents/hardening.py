"""The options of a hardened Linux kernel's configuration, and what each is for.

Source: the Kernel Self Protection Project's recommended settings for x86-64, in our own words
(https://kspp.github.io/Recommended_Settings, as of its commit 058b262). Values that do the same or more are
good too. Left out are options that need hardware which no guest here has, and those that newer kernels
turned into others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

ABSENT = "absent"


class Wanted(NamedTuple):
    """A setting, the values that are good (none: it is shown, not judged), and what for.

    `older` is its name in older kernels.
    """

    name: str
    wanted: tuple[str, ...]
    why: str
    older: str = ""

    def state_in(self, options: Mapping[str, str]) -> str:
        """What it is in a configuration; `absent` in one of a kernel that has none of it."""
        return options.get(self.name, options.get(self.older, ABSENT))


def _on(name: str, why: str, older: str = "") -> Wanted:
    return Wanted(name, ("y",), why, older)


def _off(name: str, why: str) -> Wanted:
    return Wanted(name, ("n",), why)


def _shown(name: str, why: str, older: str = "") -> Wanted:
    return Wanted(name, (), why, older)


OPTIONS = (
    # Memory permissions and layout.
    _on("STRICT_KERNEL_RWX", "kernel code is read-only and kernel data not executable"),
    _on("STRICT_MODULE_RWX", "the same for modules"),
    _on("DEBUG_WX", "warns at boot of pages that are writable and executable"),
    _on("RANDOMIZE_BASE", "the kernel's image is at another place in each boot"),
    _on("RANDOMIZE_MEMORY", "so are the kernel's other regions"),
    _on("RANDOMIZE_KSTACK_OFFSET_DEFAULT", "each system call starts at another depth of the stack"),
    _on("VMAP_STACK", "kernel stacks have guard pages"),
    _on("SCHED_STACK_END_CHECK", "an overrun of a kernel stack is seen at the next switch"),
    Wanted("DEFAULT_MMAP_MIN_ADDR", ("65536",), "programs cannot map the page that NULL points to"),
    _off("COMPAT_BRK", "the heap of a program is at a random place"),
    _off("COMPAT_VDSO", "so is the kernel's code in programs"),
    # Checks in compiled code.
    _on("STACKPROTECTOR", "an overwritten return address is seen before it is used"),
    _on("STACKPROTECTOR_STRONG", "and in nearly all functions that have arrays"),
    _on("FORTIFY_SOURCE", "copies beyond the size of a known object are caught"),
    _on("HARDENED_USERCOPY", "so are copies to and from user mode"),
    _on("UBSAN_BOUNDS", "an index beyond an array is caught"),
    _on("UBSAN_TRAP", "and stops the code that used it"),
    _on("INIT_STACK_ALL_ZERO", "variables on the stack begin as zeros"),
    _on("ZERO_CALL_USED_REGS", "registers are cleared on return: less to leak, fewer gadgets"),
    _on("CFI_CLANG", "indirect calls reach functions of the right type only"),
    _on("X86_KERNEL_IBT", "indirect branches land on marked places only, where the CPU checks it"),
    _on("RANDSTRUCT_FULL", "structures have another layout in each build"),
    _on("GCC_PLUGIN_STACKLEAK", "the kernel's stack is wiped after each system call"),
    # The allocators.
    _on("SLAB_FREELIST_RANDOM", "free objects are handed out in random order"),
    _on("SLAB_FREELIST_HARDENED", "the list of free objects is hard to forge"),
    _off("SLAB_MERGE_DEFAULT", "objects of different kinds do not share memory"),
    _on("RANDOM_KMALLOC_CACHES", "nor do those of different callers (from 6.6 on)"),
    _on("SHUFFLE_PAGE_ALLOCATOR", "pages are handed out in random order"),
    _on("INIT_ON_ALLOC_DEFAULT_ON", "memory is wiped when it is allocated"),
    _on("INIT_ON_FREE_DEFAULT_ON", "and when it is freed"),
    _on("PAGE_TABLE_CHECK", "no page is mapped where another kind of page is"),
    _on("KFENCE", "samples allocations for use after free and overruns"),
    # Integrity of the kernel's own structures.
    _on("BUG_ON_DATA_CORRUPTION", "a damaged list stops the code that met it"),
    _on("DEBUG_LIST", "lists are checked when they change"),
    _on("DEBUG_SG", "so are lists of buffers"),
    _on("DEBUG_NOTIFIERS", "so are chains of callbacks"),
    _on("DEBUG_VIRTUAL", "so are conversions of addresses"),
    _on("PANIC_ON_OOPS", "a kernel that has met an error does not go on"),
    # Less to attack.
    _on("SECCOMP", "programs can give system calls up"),
    _on("SECCOMP_FILTER", "and choose which"),
    _on("SECURITY", "security modules are there"),
    _on("SECURITY_YAMA", "programs cannot trace programs that are not their children"),
    _on("SECURITY_LANDLOCK", "programs can give files up"),
    _on("SECURITY_LOCKDOWN_LSM", "even root can be kept out of kernel memory"),
    _on("SECURITY_LOCKDOWN_LSM_EARLY", "and from the beginning of the boot"),
    _on("LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY", "and always is"),
    _on("SECURITY_DMESG_RESTRICT", "kernel messages, with their addresses, are for root"),
    _on("STRICT_DEVMEM", "/dev/mem does not show RAM"),
    _on("IO_STRICT_DEVMEM", "nor devices that drivers use"),
    _off("DEVMEM", "there is no /dev/mem"),
    _off("PROC_KCORE", "the kernel's memory is not a file"),
    _off("ACPI_CUSTOM_METHOD", "root cannot write physical memory through ACPI"),
    _off("KEXEC", "the running kernel cannot be replaced by another"),
    _off("HIBERNATION", "nor by one from a disk"),
    _off("BINFMT_MISC", "no other kinds of programs can be registered"),
    _off("INET_DIAG", "no list of sockets from the kernel"),
    _off("LEGACY_PTYS", "no terminals of the old kind"),
    _off("LEGACY_TIOCSTI", "nobody can type on another's terminal"),
    _off("LDISC_AUTOLOAD", "users cannot load terminal drivers"),
    _off("X86_MSR", "root cannot write the CPU's registers"),
    _off("MODIFY_LDT_SYSCALL", "no system call for segments"),
    _off("IA32_EMULATION", "no system calls of 32-bit programs"),
    _off("X86_X32_ABI", "nor of the x32 kind"),
    _off("X86_VSYSCALL_EMULATION", "no code at a fixed address in programs"),
    _on("LEGACY_VSYSCALL_NONE", "nor a trace of it"),
    _on("SYN_COOKIES", "a flood of connections does not fill the tables"),
    # Modules.
    _off("MODULES", "no code can be added to the kernel"),
    _on("MODULE_SIG", "modules are signed"),
    _on("MODULE_SIG_ALL", "all of them"),
    _on("MODULE_SIG_FORCE", "and others are refused"),
    _off("MODULE_FORCE_LOAD", "nor can modules of another kernel be forced in"),
    # Side channels.
    _on("MITIGATION_PAGE_TABLE_ISOLATION", "user mode does not map the kernel", older="PAGE_TABLE_ISOLATION"),
    # Devices.
    _on("IOMMU_SUPPORT", "devices can be kept to the memory that is theirs"),
    _on("IOMMU_DEFAULT_DMA_STRICT", "and lose it at once"),
    _off("IOMMU_DEFAULT_PASSTHROUGH", "and are not let through"),
    # No one value of these is recommended, or all newer kernels have them; what a kernel has is shown.
    _shown("MITIGATION_RETPOLINE", "indirect branches do not go where an attacker trained them", "RETPOLINE"),
    _shown("X86_SMAP", "the kernel cannot be led to data of user mode"),
    _shown("X86_UMIP", "programs cannot see where the kernel's tables are"),
    _shown("REFCOUNT_FULL", "counts of references cannot overflow"),
    _shown("SECURITY_APPARMOR", "programs can be kept to what their profile says"),
    _shown("SECURITY_SELINUX", "programs and files have labels, and a policy says who may what"),
    _shown("BPF_UNPRIV_DEFAULT_OFF", "users cannot load BPF programs until root lets them"),
    _shown("STATIC_USERMODEHELPER", "the kernel starts one program only"),
    _shown("DEVKMEM", "there is a file with the kernel's memory"),
    _shown("USER_NS", "users can become root of a namespace"),
    _shown("DEBUG_FS", "the kernel's innards can be looked at as files"),
)
