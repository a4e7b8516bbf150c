/* What the parts of the program know of one another. */
#ifndef GUESTWORK_H
#define GUESTWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "syscalls.h"

/* Exit statuses. */
enum { DONE = 0, FAILED = 1, USAGE = 2 };

/* --- main.c ------------------------------------------------------------------------------------------- */

/* End the program; as the first process of a kernel, turn the machine off instead. */
_Noreturn void finish(int status);

/* Print "error: WHAT SUBJECT" and finish; `subject` may be empty. */
_Noreturn void fail(int status, const char *what, const char *subject);

/* Fresh zeroed memory of its own, or the end of the program. */
void *allocate(size_t size);

/* --- text.c ------------------------------------------------------------------------------------------- */

/* A line that is put together and then written at once. What does not fit is dropped. */
struct line {
    size_t length;
    char text[512 + 1]; /* ends with a zero, as it begins as zeros */
};

void add_text(struct line *line, const char *text);
void add_number(struct line *line, uint64_t number);
void add_hex(struct line *line, const uint8_t *bytes, size_t count);

/* Write the line in one call: whoever stamps its arrival shall see it whole. */
void write_line(int fd, const struct line *line);

/* Print "error: WHAT SUBJECT" and go on. */
void complain(const char *what, const char *subject);

bool same_text(const char *a, const char *b);

/* Go past `word`. False: the text begins with something else. */
bool take_word(const char **text, const char *word);

/* Read a decimal number and go past it. False: there is none, or it is too large for 64 bits. */
bool take_number(const char **text, uint64_t *number);

/* Read a decimal number with an optional suffix K, M or G (powers of 1024). False as above. */
bool take_size(const char **text, uint64_t *size);

/* Read an IPv4 address. The bytes are in the order of the network. */
bool take_address(const char **text, uint32_t *address);

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int byte, size_t size);

/* --- sha256.c ----------------------------------------------------------------------------------------- */

struct sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
};

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t size);
void sha256_end(struct sha256 *hash, uint8_t digest[32]);

/* --- work.c ------------------------------------------------------------------------------------------- */

/* A piece of timed work between its two lines. The hash is the caller's to feed with the result. */
struct work {
    const char *name;
    struct sha256 hash;
    int64_t begin_ns;
};

/* What the first line begins with; the caller adds " KEY=VALUE" for every parameter. */
struct line start_line(const char *name);

/* Close and print the first line, and start the clock. */
void begin_work(struct work *work, const char *name, struct line *line);

/* Add one number to the result, as 8 bytes, the lowest first. */
void add_result(struct work *work, uint64_t number);

/* Stop the clock and print the second line. */
void end_work(struct work *work, uint64_t done);

/* --- the subcommands; arguments are "key=value", the last is NULL -------------------------------------- */

void run_cpu(char **arguments);
void run_memory(char **arguments);
_Noreturn void run_serve(char **arguments, bool first_process);

/* --- init.c ------------------------------------------------------------------------------------------- */

/* An IPv4 set-up; addresses in the order of the network. */
struct network {
    uint32_t address;
    uint32_t netmask;
    uint32_t gateway;
};

/* What an init has to do before a server can listen: modules, and the interfaces lo and eth0. */
void set_up_guest(const struct network *network);

#endif
