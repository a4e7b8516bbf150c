"""Guests of a few instructions, of which everything is known; it boots none."""

from __future__ import annotations

GUEST = """
        .code32
        .text
        .globl  _start
        .align  4
        .long   0x1BADB002, 0, -0x1BADB002
say:    lodsb
        test    %al, %al
        jz      2f
        mov     %al, %ah
1:      mov     $0x3FD, %dx
        in      %dx, %al
        test    $0x20, %al
        jz      1b
        mov     $0x3F8, %dx
        mov     %ah, %al
        out     %al, %dx
        jmp     say
2:      ret
ready:  .asciz  "[ready]\\r\\n"
broken: .asciz  "PANIC: no memory here\\r\\n"
spam:   .asciz  "spam spam spam spam spam spam spam spam\\r\\n"
_start: mov     $0x9000, %esp
        cld
{body}
halt:   cli
        hlt
        jmp     halt
"""
"""A multiboot kernel like floor.S, with something to do."""

ACROSS = """        mov $1000, %ecx
        jmp 1f
        .balign 4096
        .skip 4096 - {before}
1:      inc %eax
        add $0x12345678, %ebx
        not %edx
        loop 1b
"""
"""A thousand rounds of four instructions, one of six bytes behind all but `before` less one of its page."""

SAY_READY = "        mov $ready, %esi\n        call say\n"

SYSTEM = """
name = "{name}"
title = "{name}"
family = "unikernel"
ready = "[ready]"
timeout_s = 6
[boot]
type = "kernel"
[[failures]]
pattern = "PANIC:"
reason = "the guest panicked"
[provision.build]
method = "assembly"
source = "guest.S"
"""
