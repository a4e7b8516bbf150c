/* The host's side of every harness. It stands in for power.c of the kernel: give_up ends the input, not the machine. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { PAGE_BYTES = 4096 };

jmp_buf fuzz_given_up;
const char *fuzz_reason;

_Noreturn void give_up(const char *format, ...);

/* Freed copies are kept from reuse for a while, to catch their use: little of that will do, and is three times as fast. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "quarantine_size_mb=1"; }

void fuzz_failed(const char *promise, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, promise);
    abort();
}

uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
    void *copy;

    CHECK(posix_memalign(&copy, PAGE_BYTES, size > 0 ? size : 1) == 0);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

/* Reads every argument as the kernel's console would: one that is missing or not a text is noticed here. */
void give_up(const char *format, ...)
{
    static volatile size_t read;
    va_list arguments;

    fuzz_reason = format;
    va_start(arguments, format);
    for (const char *at = strchr(format, '%'); at != NULL; at = strchr(at + 1, '%')) {
        CHECK(at[1] == 's' || at[1] == 'u' || at[1] == 'x');
        if (at[1] == 's')
            read += strlen(va_arg(arguments, const char *));
        else
            read += va_arg(arguments, uint64_t);
    }
    va_end(arguments);
    longjmp(fuzz_given_up, 1);
}
