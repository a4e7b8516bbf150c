/* The behaviours themselves. What each prints is fixed to the byte, so that the reader of the console can expect it. */
#include "calibration.h"

#include "clock.h"
#include "console.h"
#include "events.h"
#include "machine.h"
#include "memory.h"

#define NOT_CANONICAL 0x0100000000000000
enum { FRAMES_PER_MIB = 256, LINE_BYTES = 64, LONG_LINE = 64 << 10, RETURN_INSTRUCTION = 0xC3 };

static char writable_data[1] = {(char)RETURN_INSTRUCTION};
static const char constant[1] = {(char)RETURN_INSTRUCTION};

/* Escape sequences (colour, clear, cursor, title twice, a query that terminals answer), HTML, Markdown, a spreadsheet's
   formula, characters that turn the direction of writing, broken UTF-8, control characters, a marker that is none. */
static const char hostile[] =
    "\033[31mred\033[0m\033[2J\033[H\033]0;refuk title\007\033]2;refuk title\033\\\033[6n\033P+q\033\\\n"
    "<script>alert(\"refuk\")</script><img src=x onerror='alert(1)'></td></pre>&lt;&#0;\n"
    "# refuk | *a* | `b` | [link](javascript:alert(1)) ![image](file:///etc/passwd) ```\n"
    "=1+1,\"refuk\",${HOME} $(id) %s%n {{7*7}}\n"
    "\342\200\256right to left\342\200\254\342\201\246isolated\342\201\251\342\200\217\342\200\213\n"
    "\377\376\300\257\303(\355\240\200\370\210\200\200\200\342\202 \233" "31m\n"
    "\000\001\004\b\b\b\r\v\f\177\032\n";
static const char false_marker[] = "\n[refuk re\033[0mady]\n";

static void say_ready(void)
{
    console_fresh_line();
    console_print("[refuk ready]\n");
}

/* Exactly `count` instructions from its first to its last, in pairs. Those around the loop are not counted. */
static void run_instructions(uint64_t count)
{
    uint64_t pairs = count / 2;

    if (count % 2 != 0)
        __asm__ volatile("nop");
    if (pairs > 0)
        __asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(pairs) : : "cc");
}

/* Passes over the memory below 1 MiB: the firmware has touched much of it, so it would not count for the host. */
static void touch(uint64_t mib)
{
    for (uint64_t left = mib * FRAMES_PER_MIB; left > 0;) {
        uint64_t frame = frame_take();

        if (frame == 0)
            give_up("not enough memory to touch %u MiB: %u KiB in all", mib, frames_total_bytes() / 1024);
        if (frame < IMAGE_PHYSICAL)
            continue;
        *(uint64_t *)direct(frame) = frame;
        left--;
    }
    console_fresh_line();
    console_print("[refuk touched %u MiB]\n", mib);
}

/* Byte i is a newline where i % 64 is 63, elsewhere the character 33 + i % 94. */
static void write_bytes(uint64_t count)
{
    char part[LINE_BYTES];

    console_fresh_line();
    console_print("[refuk bytes begin %u]\n", count);
    for (uint64_t done = 0, size; done < count; done += size) {
        for (size = 0; size < LINE_BYTES && done + size < count; size++)
            part[size] = size == LINE_BYTES - 1 ? '\n' : (char)(33 + (done + size) % 94);
        console_write(part, size);
    }
    console_print("\n[refuk bytes end %u]\n", count);
}

static void write_hostile(void)
{
    char part[LINE_BYTES];

    memset(part, 'A', sizeof part);
    console_write(hostile, sizeof hostile - 1);
    for (unsigned i = 0; i < LONG_LINE / sizeof part; i++)
        console_write(part, sizeof part);
    console_write(false_marker, sizeof false_marker - 1);
}

/* In assembly language, as the compiler takes such a store or call for one that cannot happen. */
static void store_at(uint64_t address) { __asm__ volatile("movb $0, (%0)" : : "r"(address) : "memory"); }
static void call_at(const void *address) { __asm__ volatile("call *%0" : : "r"(address) : "memory"); }

static _Noreturn void commit_fault(enum behaviour fault)
{
    volatile char code[1] = {(char)RETURN_INSTRUCTION};

    if (fault == FAULT_NULL)
        store_at(0);
    else if (fault == FAULT_TEXT)
        store_at((uint64_t)perform);
    else if (fault == FAULT_RODATA)
        store_at((uint64_t)constant);
    else if (fault == FAULT_STACK_EXEC)
        call_at((const void *)code);
    else if (fault == FAULT_DATA_EXEC)
        call_at(writable_data);
    else if (fault == FAULT_GUARD)
        __asm__ volatile("1: push %%rax\n\tjmp 1b" : : : "memory");
    else if (fault == FAULT_DIVIDE)
        __asm__ volatile("xor %%edx, %%edx\n\tdiv %0" : : "r"(0), "a"(1) : "edx", "cc");
    else if (fault == FAULT_OPCODE)
        __asm__ volatile("ud2");
    else
        store_at(NOT_CANONICAL);
    give_up("the fault did not happen");
}

void perform(const struct request *request)
{
    switch (request->behaviour) {
    case READY_AFTER_MS:
        clock_wait(clock_monotonic_ns() + request->amount * 1000000);
        say_ready();
        break;
    case READY_AFTER_INSTRUCTIONS:
        run_instructions(request->amount);
        say_ready();
        break;
    case TOUCH_MIB:
        touch(request->amount);
        break;
    case WRITE_BYTES:
        write_bytes(request->amount);
        break;
    case REPORT_MEMORY:
        events_report_memory();
        break;
    case HOSTILE:
        write_hostile();
        break;
    case HANG:
        __asm__ volatile("cli\n1:\tjmp 1b");
        break;
    case HALT:
        for (;;)
            __asm__ volatile("cli; hlt");
    default:
        commit_fault(request->behaviour);
    }
}
