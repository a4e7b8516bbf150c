/* The end of a run: a last line, then power-off. QEMU's own exit status is 0 in any case, so the line has to tell. */
#include <stdarg.h>

#include "console.h"
#include "machine.h"
#include "memory.h"

enum { Q35_PM1A_CONTROL = 0x604, SLEEP_ENABLE_S5 = 0x2000 };
enum { MICROVM_SLEEP_CONTROL = 0xFEA00200, SLEEP_NOW_S5 = 0x34 };
enum { UNUSED_PORT = 0x80, PATIENCE = 1000000 };

static _Noreturn void stop(void)
{
    static const struct __attribute__((packed)) { uint16_t limit; uint64_t base; } no_table;

    out16(Q35_PM1A_CONTROL, SLEEP_ENABLE_S5);
    /* On a q35 nothing hears this; it may still run for a moment. */
    *(map_device(page_down(MICROVM_SLEEP_CONTROL)) + MICROVM_SLEEP_CONTROL % PAGE) = SLEEP_NOW_S5;
    for (int i = 0; i < PATIENCE; i++)
        in8(UNUSED_PORT);
    /* No machine that is known: a fault without a table of handlers resets, which ends a QEMU that has -no-reboot. */
    __asm__ volatile("lidt %0\n\tint3" : : "m"(no_table));
    for (;;)
        __asm__ volatile("cli; hlt");
}

void power_off(int status)
{
    console_fresh_line();
    console_print("[exit %u]\n", (uint64_t)(uint8_t)status);
    stop();
}

void give_up(const char *format, ...)
{
    va_list arguments;

    console_fresh_line();
    console_print("[refuk: ");
    va_start(arguments, format);
    console_vprint(format, arguments);
    va_end(arguments);
    console_print("]\n");
    stop();
}
