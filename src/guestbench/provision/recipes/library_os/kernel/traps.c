/* Exceptions and interrupts. Each has a stack of its own (IST): in ring 0 the CPU would otherwise push its frame onto the
   program's stack, into the 128 bytes below the stack pointer that the program may be using. */
#include "traps.h"

#include "events.h"
#include "machine.h"
#include "memory.h"

enum { VECTORS = 49, STUB_BYTES = 16, STACK_SPAN = 2 * PAGE };
enum { DOUBLE_FAULT = 8, PAGE_FAULT = 14, FIRST_INTERRUPT = 32 };
enum { PIC1_DATA = 0x21, PIC2_DATA = 0xA1 };
/* The flags that a system call begins without: trap, interrupt, direction, I/O privilege, nested task, alignment check. */
enum { CLEARED_FLAGS = 0x47700, CODE_SELECTOR = 8, TASK_SELECTOR = 0x18 };

struct trap_frame {
    uint64_t registers[9]; /* as boot.S pushes them */
    uint64_t vector, error, ip, code, flags, stack, stack_selector;
};

struct gate { uint16_t low, selector; uint8_t stack, type; uint16_t middle; uint32_t high, reserved; };
struct __attribute__((packed)) table_pointer { uint16_t limit; const void *base; };
struct __attribute__((packed)) task_state {
    uint32_t reserved_0;
    uint64_t stacks[3], reserved_1, interrupt_stacks[7], reserved_2;
    uint16_t reserved_3, io_map;
};

static struct gate gates[VECTORS];
static struct task_state task = {.io_map = sizeof(struct task_state)};

static const char *const names[32] = {
    [0] = "divide error", [1] = "debug", [2] = "non-maskable interrupt", [3] = "breakpoint", [4] = "overflow",
    [5] = "bound range", [6] = "invalid opcode", [7] = "no FPU", [8] = "double fault", [10] = "invalid task state",
    [11] = "segment not present", [12] = "stack segment", [13] = "general protection", [14] = "page fault",
    [16] = "x87 error", [17] = "alignment check", [18] = "machine check", [19] = "SIMD error",
};

void trap(struct trap_frame *frame);

static uint64_t read_cr2(void)
{
    uint64_t address;

    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    return address;
}

void trap(struct trap_frame *frame)
{
    uint64_t vector = frame->vector, address = vector == PAGE_FAULT ? read_cr2() : 0;
    const char *name = vector < 32 && names[vector] != NULL ? names[vector] : "unexpected";

    if (vector >= FIRST_INTERRUPT) {
        interrupt((unsigned)vector - FIRST_INTERRUPT);
        return;
    }
    if (vector == PAGE_FAULT && area_fault(address, frame->error))
        return;
    if (vector == PAGE_FAULT)
        name = (frame->error & 16) ? "page fault: execute" : (frame->error & 2) ? "page fault: write" : "page fault: read";
    give_up("fault vector=%u address=%x ip=%x error=%x %s", vector, address, frame->ip, frame->error, name);
}

void traps_start(void)
{
    struct table_pointer pointer = {sizeof gates - 1, gates};
    uint64_t base = (uint64_t)&task;

    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t stub = (uint64_t)trap_stubs + i * STUB_BYTES;

        gates[i].low = (uint16_t)stub;
        gates[i].middle = (uint16_t)(stub >> 16);
        gates[i].high = (uint32_t)(stub >> 32);
        gates[i].selector = CODE_SELECTOR;
        gates[i].type = 0x8E; /* present, interrupt gate: interrupts stay off in it */
        gates[i].stack = i == PAGE_FAULT ? 2 : i == DOUBLE_FAULT ? 3 : 1;
    }
    for (unsigned i = 0; i < 3; i++)
        task.interrupt_stacks[i] = (uint64_t)stack_guards + (i + 2) * STACK_SPAN;
    gdt[3] = (sizeof task - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[4] = base >> 32;
    __asm__ volatile("lidt %0" : : "m"(pointer));
    __asm__ volatile("ltr %w0" : : "r"(TASK_SELECTOR));
    write_msr(MSR_STAR, (uint64_t)CODE_SELECTOR << 32);
    write_msr(MSR_LSTAR, (uint64_t)system_call_entry);
    write_msr(MSR_SFMASK, CLEARED_FLAGS);
    /* No interrupt from the old controllers, until someone wants one. */
    out8(PIC1_DATA, 0xFF);
    out8(PIC2_DATA, 0xFF);
}
