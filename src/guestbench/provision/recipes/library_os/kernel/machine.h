/* What the CPU and the chipset do in one instruction each, and what C code needs of boot.S. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE = 4096 };

/* Rounds to the page below, or to the page above (which wraps to 0 beyond the last page). */
static inline uint64_t page_down(uint64_t address) { return address & ~(uint64_t)(PAGE - 1); }
static inline uint64_t page_up(uint64_t address) { return page_down(address + PAGE - 1); }

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

enum msr { MSR_STAR = 0xC0000081, MSR_LSTAR = 0xC0000082, MSR_SFMASK = 0xC0000084, MSR_FS_BASE = 0xC0000100, MSR_GS_BASE };

static inline void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline uint64_t read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

struct cpuid { uint32_t a, b, c, d; };

/* All zero for a leaf that the CPU does not have. */
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r = {0, 0, 0, 0};
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(0), "c"(0));
    if (leaf > r.a)
        return (struct cpuid){0, 0, 0, 0};
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}

/* boot.S */
_Noreturn void enter_program(uint64_t entry, uint64_t stack, uint64_t flags);
extern const char system_call_entry[], trap_stubs[];
extern uint64_t gdt[5];
extern char stack_guards[];

/* power.c: the three ways in which a run ends. */

/* Prints `[exit STATUS]` on a line of its own and powers the machine off through ACPI. */
_Noreturn void power_off(int status);

/* Prints `[refuk: FORMAT]`, the format as console_print takes it, and powers off: this system cannot go on. */
_Noreturn void give_up(const char *format, ...);

/* bytes.c: those that the compiler itself calls, and the string functions used here. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);
bool same_text(const char *a, const char *b);

#endif
