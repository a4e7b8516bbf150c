/* The local APIC is used where a second I/O APIC is there, and turned off elsewhere (Intel SDM 3A, chapter 11; 82093AA). */
#include "apic.h"

#include "machine.h"
#include "memory.h"

#define LOCAL_APIC 0xFEE00000ull
#define SECOND_IO_APIC 0xFEC10000ull
enum { MSR_APIC_BASE = 0x1B, APIC_ENABLE = 1 << 11 };
enum { PRIORITY = 0x80, END_OF_INTERRUPT = 0xB0, SPURIOUS = 0xF0, LINE_0 = 0x350 };
enum { SOFTWARE_ENABLE = 0x100, SPURIOUS_VECTOR = 39, FROM_OLD_CONTROLLERS = 0x700, BY_LEVEL = 1 << 15 };
/* Registers of an I/O APIC: which is meant is written to the first word, its value is in the second. */
enum { INDEX = 0x00, DATA = 0x10, VERSION = 1, LAST_PIN = 16, FIRST_PIN_ENTRY = 0x10, PINS = 24 };

static volatile char *local, *second;

static volatile uint32_t *word(volatile char *page, unsigned offset) { return (volatile uint32_t *)(page + offset); }

static bool has_second(void)
{
    second = map_device(SECOND_IO_APIC);
    *word(second, INDEX) = VERSION;
    return (*word(second, DATA) >> LAST_PIN & 0xFF) == PINS - 1;
}

void apic_start(void)
{
    if (!has_second()) {
        /* Without the local APIC the old controllers reach the CPU directly. Some firmware leaves it in between and closed. */
        write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) & ~(uint64_t)APIC_ENABLE);
        return;
    }
    local = map_device(LOCAL_APIC);
    *word(local, SPURIOUS) = SOFTWARE_ENABLE | SPURIOUS_VECTOR; /* line 7's, where one without a cause is passed over */
    *word(local, LINE_0) = FROM_OLD_CONTROLLERS;
    *word(local, PRIORITY) = 0;
}

void apic_open(unsigned pin, unsigned vector)
{
    if (local == NULL || pin >= PINS)
        return;
    *word(second, INDEX) = FIRST_PIN_ENTRY + 2 * pin + 1;
    *word(second, DATA) = 0; /* to the first CPU */
    *word(second, INDEX) = FIRST_PIN_ENTRY + 2 * pin;
    *word(second, DATA) = BY_LEVEL | vector;
}

void apic_end_of_interrupt(void) { *word(local, END_OF_INTERRUPT) = 0; }
