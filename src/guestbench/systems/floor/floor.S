# The null guest: says that it is ready on the first serial port, and halts for ever.
#
# A multiboot kernel (Multiboot Specification 0.6.96, 3.1): the boot loader finds the header in the first 8 KiB of the
# file and enters at _start in 32-bit protected mode, paging and interrupts off. No stack is set up; none is used.

        .set    MAGIC, 0x1BADB002
        .set    FLAGS, 0
        .set    COM1_DATA, 0x3F8
        .set    COM1_LINE_STATUS, 0x3FD
        .set    TRANSMITTER_EMPTY, 0x20         # bit 5 of the line status register (16550)

        .code32
        .text
        .globl  _start
        .align  4
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)

_start: cld
        mov     $message, %esi
next:   lodsb
        test    %al, %al
        jz      halt
        mov     %al, %ah
wait:   mov     $COM1_LINE_STATUS, %edx
        in      %dx, %al
        test    $TRANSMITTER_EMPTY, %al
        jz      wait
        mov     $COM1_DATA, %edx
        mov     %ah, %al
        out     %al, %dx
        jmp     next
halt:   cli
        hlt
        jmp     halt

message: .asciz "[floor ready]\r\n"
