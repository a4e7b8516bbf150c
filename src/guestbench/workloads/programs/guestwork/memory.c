/* memory: writes or reads a buffer word by word, again and again, as sysbench's test of this name does. */

#include "guestwork.h"

enum { WORD = 8, PARTS = 16 };

struct part {
    bool write;
    uint64_t block;
    uint64_t total;
};

/* So many words are written or read for each that is checked: that costs less than half a percent. */
enum { WORK_PER_CHECK = 4096 };

/* The accesses of a part: single 8-byte loads or stores in the order of the program, which the compiler can
 * neither merge nor vectorise. Eight a round, as optimising compilers unroll this loop. */

static inline void store(uint64_t *word, uint64_t value)
{
    __asm__ volatile("movq %1, %0" : "=m"(*word) : "r"(value));
}

static inline uint64_t load(const uint64_t *word)
{
    uint64_t value;
    __asm__ volatile("movq %1, %0" : "=r"(value) : "m"(*word));
    return value;
}

/* Writes into each word its distance from `origin`. That differs from pass to pass, so that a store which
 * gets lost leaves a word of the pass before. */
static __attribute__((noipa)) void write_block(uint64_t *word, uint64_t *end, uint64_t *origin)
{
#pragma GCC unroll 8
    for (; word < end; word++)
        store(word, (uint64_t)(origin - word));
}

/* Reads each word; returns the last. */
static __attribute__((noipa)) uint64_t read_block(const uint64_t *word, const uint64_t *end)
{
    uint64_t last = 0;

#pragma GCC unroll 8
    for (; word < end; word++)
        last = load(word);
    return last;
}

/* The origin of a pass. Passes are counted from 1; 0 is what fills the buffer before the clock starts. */
static uint64_t *origin_of(uint64_t *buffer, uint64_t words, uint64_t pass)
{
    return buffer + words + pass;
}

static void run_part(const struct part *part)
{
    uint64_t words = part->block / WORD, passes = part->total / part->block;
    uint64_t *buffer = allocate(part->block), *end = buffer + words;
    uint64_t sum = 0, unchecked = 0, at = 0, stride = (WORK_PER_CHECK + passes - 1) / passes | 1;
    struct work work;

    /* All of it is there before the clock starts: page faults are not the work. */
    write_block(buffer, end, origin_of(buffer, words, 0));
    struct line line = start_line("memory");
    add_text(&line, part->write ? " op=write block=" : " op=read block=");
    add_number(&line, part->block);
    add_text(&line, " total=");
    add_number(&line, part->total);
    begin_work(&work, "memory", &line);
    for (uint64_t pass = 1; pass <= passes; pass++) {
        if (part->write)
            write_block(buffer, end, origin_of(buffer, words, pass));
        else
            sum += read_block(buffer, end);
        /* Any pass may be the one that fails, so words are looked at in between, each time another one. */
        unchecked += words;
        if (unchecked >= 2 * WORK_PER_CHECK) {
            unchecked = 0;
            sum = sum * 31 + buffer[at];
            at = (at + 97) % words;
        }
    }
    /* What the last pass left. The stride is odd, so that words of all places in a cache line are seen. */
    for (uint64_t index = 0; index < words; index += stride)
        sum = sum * 31 + buffer[index];
    add_result(&work, sum);
    end_work(&work, passes * part->block);
    syscall3(SYS_MUNMAP, (long)buffer, (long)part->block, 0);
}

/* Read OP:BLOCK:TOTAL and go past it. */
static bool take_part(const char **text, struct part *part)
{
    part->write = take_word(text, "write:");
    if (!part->write && !take_word(text, "read:"))
        return false;
    if (!take_size(text, &part->block) || !take_word(text, ":") || !take_size(text, &part->total))
        return false;
    return part->block >= WORD && part->block % WORD == 0 && part->total && part->total % part->block == 0;
}

void run_memory(char **arguments)
{
    const char *list = "write:1M:4G,read:1M:4G,write:1K:4G";
    struct part parts[PARTS];
    size_t count = 0;

    for (; *arguments; arguments++) {
        list = *arguments;
        if (!take_word(&list, "parts="))
            fail(USAGE, "memory does not know", *arguments);
    }
    /* A mistake in the last part must show before the first one runs. */
    for (const char *at = list;; at++) {
        if (count == PARTS || !take_part(&at, &parts[count++]) || (*at && *at != ','))
            fail(USAGE, "not parts OP:BLOCK:TOTAL (write or read; multiples of 8, of the block):", list);
        if (!*at)
            break;
    }
    for (size_t i = 0; i < count; i++)
        run_part(&parts[i]);
}
