# From the boot loader to C, and every way back into C: exceptions, interrupts, system calls.
#
# Multiboot (Multiboot Specification 0.6.96) enters start32 in 32-bit protected mode without paging, PVH (the direct boot of
# Xen, also QEMU's and others') enters start_pvh likewise; its ELF note is in link.ld. The multiboot header has the address
# fields, so that the loader takes a 64-bit ELF file as a flat image. The image is at 1 MiB, and linked for that address;
# C code runs wherever relocate decides, so all addresses in instructions are relative.
#ifndef __PIE__
#error "compile with -fpie and link with -static-pie: the kernel moves itself to a random address"
#endif

        .file   "boot.S"                        # else the name of a temporary file, and no two builds alike
        .set    MAGIC, 0x1BADB002
        .set    FLAGS, 0x00010003               # modules on page boundaries, memory map, address fields
        .set    PRESENT_WRITABLE, 0x3
        .set    LARGE_PAGE, 0x83
        .set    STACK_SIZE, 4096
        .set    GDT_SIZE, 5 * 8
        .set    WITH_ERROR_CODE, 0x60227D00     # exceptions 8, 10 to 14, 17, 21, 29, 30
        .set    NEEDED, 0x20100000              # CPUID 0x80000001: long mode, no-execute
        .set    COM1, 0x3F8
        .set    ACPI_CONTROL, 0x604             # where q35 has it, as in power.c

# An address below 4 GiB, in a way that the linker can work out for a program that may move.
#define AT(symbol) ((symbol) - header + 0x100000)

        .section .multiboot, "ax"
        .align  4
header: .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
        .long   AT(header), AT(image_start), AT(image_loaded), AT(image_end), AT(start32)

        .code32
        .globl  start32, start_pvh
start_pvh:
        mov     (%ebx), %eax                    # the magic number of hvm_start_info
start32:
        cli
        cld
        mov     %ebx, %edi                      # main's first argument: the loader's information
        mov     %eax, %esi                      # its second: the magic number that tells which loader it was
        mov     $0x80000000, %eax
        cpuid
        cmp     $0x80000001, %eax
        jb      too_old
        mov     $0x80000001, %eax
        cpuid
        not     %edx
        test    $NEEDED, %edx
        jnz     too_old
        # The first page tables: the first 2 MiB at zero (only until main runs) and at the direct map.
        movl    $AT(direct_pointers) + PRESENT_WRITABLE, AT(page_map)
        movl    $AT(direct_pointers) + PRESENT_WRITABLE, AT(page_map) + 256 * 8
        movl    $AT(kernel_pointers) + PRESENT_WRITABLE, AT(page_map) + 511 * 8
        movl    $AT(kernel_directory) + PRESENT_WRITABLE, AT(kernel_pointers) + 510 * 8
        movl    $AT(direct_directory) + PRESENT_WRITABLE, AT(direct_pointers)
        movl    $LARGE_PAGE, AT(direct_directory)
        mov     %cr4, %eax
        or      $0x620, %eax                    # PAE, and SSE with its exceptions (OSFXSR, OSXMMEXCPT)
        mov     %eax, %cr4
        mov     $AT(page_map), %eax
        mov     %eax, %cr3
        mov     $0xC0000080, %ecx               # EFER: long mode, no-execute, syscall
        rdmsr
        or      $0x901, %eax
        wrmsr
        mov     $0x80010033, %eax               # paging, write protection in ring 0 too, native FPU errors
        mov     %eax, %cr0
        lgdt    AT(gdt_low)
        ljmp    $8, $AT(start64)

gdt_low:
        .word   GDT_SIZE - 1
        .long   AT(gdt)

too_old:
        mov     $AT(too_old_text), %esi
1:      mov     $COM1 + 5, %edx                 # as console.c does it, byte by byte
        in      %dx, %al
        test    $0x20, %al
        jz      1b
        mov     $COM1, %edx
        lodsb
        out     %al, %dx
        cmp     $'\n', %al
        jne     1b
        mov     $ACPI_CONTROL, %edx
        mov     $0x2000, %eax
        out     %ax, %dx
2:      hlt
        jmp     2b
too_old_text:
        .ascii  "[refuk: the CPU has no 64-bit mode or no no-execute pages]\n"

        .code64
start64:
        mov     $0x10, %eax
        mov     %eax, %ss
        mov     %eax, %ds
        mov     %eax, %es
        lea     kernel_stack_top(%rip), %rsp
        mov     %edi, %ebx
        mov     %esi, %ebp
        call    relocate                        # returns how far from here the kernel is to run
        lea     kernel_stack_top(%rip), %rsp
        add     %rax, %rsp
        lea     start_high(%rip), %rcx
        add     %rax, %rcx
        jmp     *%rcx

        .text
start_high:
        lgdt    gdt_high(%rip)
        fninit
        mov     %ebx, %edi
        mov     %ebp, %esi
        call    main
        ud2                                     # main does not return

# void enter_program(uint64_t entry, uint64_t stack, uint64_t flags): never returns. All registers but the stack's
# are zero, as the System V ABI wants rdx and as nothing of the kernel need be seen.
        .globl  enter_program
enter_program:
        push    %rdx
        popfq
        mov     %rsi, %rsp
        push    %rdi
        .irp    r, eax, ebx, ecx, edx, esi, edi, ebp, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
        xor     %\r, %\r
        .endr
        ret

# `syscall` from ring 0: rcx holds the return address, r11 the flags, rsp is still the program's. Nothing is pushed on
# the program's stack: its red zone is in use. SYSRET would go to ring 3, hence the jump.
        .globl  system_call_entry
system_call_entry:
        mov     %rsp, program_stack(%rip)
        lea     kernel_stack_top(%rip), %rsp
        .irp    r, rcx, r11, r9, r8, r10, rdx, rsi, rdi
        push    %\r
        .endr
        mov     %rsp, %rdi                      # the six arguments, in order
        mov     %rax, %rsi
        call    system_call
        .irp    r, rdi, rsi, rdx, r10, r8, r9
        pop     %\r
        .endr
        popfq
        pop     %rcx
        mov     program_stack(%rip), %rsp
        jmp     *%rcx

# Exceptions 0 to 31 and interrupts 32 to 48, 16 bytes each. The CPU pushes an error code for some of the exceptions;
# for all others a zero stands in its place.
        .align  16
        .globl  trap_stubs
trap_stubs:
        .set    vector, 0
        .rept   49
        .align  16
        .if     !(WITH_ERROR_CODE >> vector & 1)
        push    $0
        .endif
        push    $vector
        jmp     trap_common
        .set    vector, vector + 1
        .endr

trap_common:
        .irp    r, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
        push    %\r
        .endr
        cld
        mov     %rsp, %rdi
        call    trap
        .irp    r, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
        pop     %\r
        .endr
        add     $16, %rsp
        iretq

        .data
        .align  16
        .globl  gdt
gdt:    .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff       # none, 64-bit code, data
        .quad   0, 0                                            # the task state segment: filled in by traps_start
gdt_high:
        .word   GDT_SIZE - 1
        .quad   gdt

# The first page tables, used on with more entries. paging_start gives them their final rights.
        .bss
        .align  4096
        .globl  page_map, direct_pointers, direct_directory, kernel_directory, first_table
        .irp    table, page_map, direct_pointers, kernel_pointers, direct_directory, kernel_directory, first_table
\table: .skip  4096
        .endr
program_stack:
        .skip   8

# Four stacks, each above a page that paging_start leaves unmapped.
        .section .stacks, "aw", @nobits
        .align  4096
        .globl  stack_guards, kernel_stack_top
stack_guards:
        .skip   STACK_SIZE * 2
kernel_stack_top:
        .skip   STACK_SIZE * 6

        .section .note.GNU-stack, "", @progbits
