/* What the fuzz harnesses share: the entry that the engine calls, checks that the engine notices, and an end to give_up. */
#ifndef FUZZ_H
#define FUZZ_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

/* The engine's entry: clang's libFuzzer and engine.c call it alike. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise of the kernel's code. One that is broken ends the process as a crash does. */
#define CHECK(promise) ((promise) ? (void)0 : fuzz_failed(#promise, __FILE__, __LINE__))
_Noreturn void fuzz_failed(const char *promise, const char *file, int line);

/* Where the kernel's give_up goes on: a harness sets it before every call that may give up. */
extern jmp_buf fuzz_given_up;
/* The format that give_up was last called with. */
extern const char *fuzz_reason;

/* For a harness's own functions with long loops: where they go is no news to an engine that is guided by coverage. */
#ifdef __clang__
#define UNTRACED __attribute__((no_sanitize("coverage")))
#else
#define UNTRACED __attribute__((no_sanitize_coverage))
#endif

/* A copy of the bytes at the beginning of a page, and nothing behind it: reading on is noticed. To be freed. */
uint8_t *fuzz_copy(const uint8_t *data, size_t size);

#endif
