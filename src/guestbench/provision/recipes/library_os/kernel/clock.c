/* Clocks and randomness. The HPET is on every q35 machine and needs no calibration; where there is none, the time stamp
   counter is measured against the PIT. Neither is touched before someone asks for the time. */
#include "clock.h"

#include "machine.h"
#include "memory.h"

enum { HPET_ADDRESS = 0xFED00000, PERIOD_FS = 0x04, CONFIGURATION = 0x10, COUNTER = 0xF0, ENABLE = 1 };
enum { RTC_INDEX = 0x70, RTC_DATA = 0x71, RTC_UPDATING = 0x80, RTC_BINARY = 4 };

enum { PIT_CHANNEL_2 = 0x42, PIT_COMMAND = 0x43, ONE_SHOT = 0xB0, LATCH = 0x80, SPEAKER = 0x61, GATE = 1 };
/* 10 ms, which errs by 0.01% where a tenth of it would err by 2%; each look takes microseconds. */
enum { PIT_PERIODS = 11932, MOST_LOOKS = 1000000 };
#define PIT_PERIOD_FS 838095110ull /* at 1,193,182 Hz */

static volatile char *hpet; /* NULL: the time stamp counter */
static uint64_t period_fs;

static volatile uint32_t *hpet_register(unsigned offset) { return (volatile uint32_t *)(hpet + offset); }

/* The counter's halves are read one by one (as QEMU does with a read of both), so the upper one must not change meanwhile. */
static uint64_t hpet_count(void)
{
    uint32_t high = *hpet_register(COUNTER + 4), low = *hpet_register(COUNTER), again = *hpet_register(COUNTER + 4);

    /* It carries every 43 s: a second time right after the first is out of the question. */
    if (again != high)
        low = *hpet_register(COUNTER);
    return (uint64_t)again << 32 | low;
}

/* How far channel 2 has counted down from 0xFFFF. */
static uint64_t pit_counted(void)
{
    uint64_t low;

    out8(PIT_COMMAND, LATCH);
    low = in8(PIT_CHANNEL_2);
    return 0xFFFF - (low | (uint64_t)in8(PIT_CHANNEL_2) << 8);
}

/* Both are read in pairs, so that it does no harm if the host lets the guest wait in between. */
static uint64_t tsc_period_fs(void)
{
    uint64_t start, start_counted, tsc, counted;

    out8(SPEAKER, (in8(SPEAKER) & 0xFC) | GATE); /* counts, in silence */
    out8(PIT_COMMAND, ONE_SHOT);
    out8(PIT_CHANNEL_2, 0xFF);
    out8(PIT_CHANNEL_2, 0xFF);
    start = read_tsc();
    start_counted = pit_counted();
    for (int looks = 0; looks < MOST_LOOKS; looks++) {
        tsc = read_tsc();
        counted = pit_counted() - start_counted;
        if (counted >= PIT_PERIODS && counted <= 0xFFFF)
            return counted * PIT_PERIOD_FS / (tsc - start);
    }
    give_up("no clock: there is neither an HPET nor a PIT");
}

static void start(void)
{
    hpet = map_device(HPET_ADDRESS);
    period_fs = *hpet_register(PERIOD_FS);
    /* The specification's bound is 100 ns; where no device answers, all bits are equal. */
    if (period_fs == 0 || period_fs > 100000000) {
        hpet = NULL;
        period_fs = tsc_period_fs();
    } else {
        *hpet_register(CONFIGURATION) |= ENABLE;
    }
}

uint64_t clock_monotonic_ns(void)
{
    uint64_t count;

    if (period_fs == 0)
        start();
    count = hpet != NULL ? hpet_count() : read_tsc();
    /* Split, as count * period_fs would overflow after 30 minutes. */
    return count / 1000000 * period_fs + count % 1000000 * period_fs / 1000000;
}

void clock_wait(uint64_t until_ns)
{
    while (clock_monotonic_ns() < until_ns)
        __asm__ volatile("pause");
}

static unsigned rtc_read(unsigned index)
{
    out8(RTC_INDEX, (uint8_t)index);
    return in8(RTC_DATA);
}

static unsigned rtc_value(unsigned index)
{
    unsigned value = rtc_read(index);

    return rtc_read(0x0B) & RTC_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

/* Days from 1970-01-01, by counting years that begin in March, so that the leap day is a year's last. */
static uint64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
    unsigned y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;

    return 365ull * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static uint64_t rtc_seconds(void)
{
    while (rtc_read(0x0A) & RTC_UPDATING)
        ;
    return days_since_1970(2000 + rtc_value(9), rtc_value(8), rtc_value(7)) * 86400 + rtc_value(4) * 3600 +
           rtc_value(2) * 60 + rtc_value(0);
}

uint64_t clock_realtime_ns(void)
{
    static uint64_t offset_ns;

    if (offset_ns == 0)
        offset_ns = rtc_seconds() * 1000000000 - clock_monotonic_ns();
    return offset_ns + clock_monotonic_ns();
}

static uint64_t random_word(void)
{
    static uint64_t state;
    uint64_t word;
    bool done = false;

    if (cpuid(1, 0).c & 1u << 30) {
        /* Ten tries are what the manufacturers call enough. */
        for (int tries = 0; tries < 10 && !done; tries++)
            __asm__ volatile("rdrand %0; setc %1" : "=r"(word), "=qm"(done) : : "cc");
        if (done)
            return word;
    }
    /* A Weyl sequence disturbed by the counter, its bits mixed by two rounds of multiply and shift. */
    state += read_tsc() | 1;
    word = (state ^ state >> 31) * 0xD6E8FEB86659FD93;
    word = (word ^ word >> 32) * 0xD6E8FEB86659FD93;
    return word ^ word >> 29;
}

void random_bytes(void *bytes, size_t size)
{
    for (char *next = bytes; size > 0;) {
        uint64_t word = random_word();
        size_t part = size < sizeof word ? size : sizeof word;

        memcpy(next, &word, part);
        next += part;
        size -= part;
    }
}
