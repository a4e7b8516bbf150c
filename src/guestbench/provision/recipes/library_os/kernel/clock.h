/* Time from the HPET or the time stamp counter, the time of day from the RTC, and numbers from the CPU's random source. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds since the machine started, or from when the clock was first read, whichever the machine has; steps of 10 ns
   (QEMU's HPET) or less. Without an HPET, the first call takes 10 ms. */
uint64_t clock_monotonic_ns(void);

/* Nanoseconds since 1970 UTC. The RTC, which counts whole seconds, is read at the first call only. */
uint64_t clock_realtime_ns(void);

/* Waits with the CPU running, until clock_monotonic_ns has reached `until_ns`. */
void clock_wait(uint64_t until_ns);

/* RDRAND where the CPU has it. Elsewhere a generator seeded by the time stamp counter: good for layout, not for secrets. */
void random_bytes(void *bytes, size_t size);

#endif
