/* A small fuzzing engine for gcc, guided by coverage, for hosts without clang's libFuzzer, whose options it takes:
 *
 *     HARNESS [-runs=N] [-max_total_time=SECONDS] [-seed=N] [-max_len=BYTES] [-artifact_prefix=PATH] [FILE_OR_FOLDER ...]
 *
 * Files are run once each. Folders hold inputs to begin with, and nothing is written there. One seed and one number of runs
 * always make the same inputs. The code under test is compiled with -fsanitize-coverage=trace-pc,trace-cmp; this file is not.
 */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

enum { EDGES = 1 << 13, CORPUS = 4096, COMPARED = 256, TOO_LONG_S = 10 };

struct input { uint8_t *bytes; size_t size; };

static struct input corpus[CORPUS];
static size_t corpus_count, longest = 4096;
static uint8_t hits[EDGES + 8], seen[EDGES];
static uintptr_t last_place;
static uint64_t compared[COMPARED], random_state = 1, runs;
static size_t compared_count;
static struct input current;
static const char *prefix = "";
static bool replaying;

/* ---- what the compiler calls from the code under test ---- */

void __sanitizer_cov_trace_pc(void)
{
    uintptr_t place = (uintptr_t)__builtin_return_address(0) * 0x9E3779B97F4A7C15u >> 51;

    hits[(place ^ last_place) % EDGES]++;
    last_place = place >> 1;
}

static void keep_compared(uint64_t a, uint64_t b)
{
    if (a == b)
        return;
    compared[compared_count++ % COMPARED] = a;
    compared[compared_count++ % COMPARED] = b;
}

#define ON_COMPARE(name, type) void name(type a, type b); void name(type a, type b) { keep_compared(a, b); }
ON_COMPARE(__sanitizer_cov_trace_cmp1, uint8_t)
ON_COMPARE(__sanitizer_cov_trace_cmp2, uint16_t)
ON_COMPARE(__sanitizer_cov_trace_cmp4, uint32_t)
ON_COMPARE(__sanitizer_cov_trace_cmp8, uint64_t)
ON_COMPARE(__sanitizer_cov_trace_const_cmp1, uint8_t)
ON_COMPARE(__sanitizer_cov_trace_const_cmp2, uint16_t)
ON_COMPARE(__sanitizer_cov_trace_const_cmp4, uint32_t)
ON_COMPARE(__sanitizer_cov_trace_const_cmp8, uint64_t)

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_switch(uint64_t value, void *cases);

/* cases: how many, of how many bits, then their values. */
void __sanitizer_cov_trace_switch(uint64_t value, void *cases)
{
    const uint64_t *words = cases;

    for (uint64_t i = 0; i < words[0]; i++)
        keep_compared(value, words[2 + i]);
}

/* ---- the end by a crash ---- */

void __sanitizer_set_death_callback(void (*callback)(void));

static void keep_crash(void)
{
    char path[4096];
    uint64_t hash = 0xcbf29ce484222325;
    FILE *file;

    if (replaying)
        return;
    for (size_t i = 0; i < current.size; i++)
        hash = (hash ^ current.bytes[i]) * 0x100000001b3;
    snprintf(path, sizeof path, "%scrash-%016lx", prefix, (unsigned long)hash);
    file = fopen(path, "wb");
    if (file != NULL && fwrite(current.bytes, 1, current.size, file) == current.size && fclose(file) == 0)
        fprintf(stderr, "Test unit written to %s\n", path);
}

static void on_signal(int signal)
{
    fprintf(stderr, signal == SIGALRM ? "ERROR: one input took more than %d s\n" : "ERROR: aborted\n", TOO_LONG_S);
    keep_crash();
    _exit(77);
}

/* ---- inputs ---- */

static uint64_t random_below(uint64_t bound)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return bound > 0 ? (random_state * 0x2545F4914F6CDD1Du >> 16) % bound : 0;
}

static void put(uint8_t *bytes, size_t size, uint64_t value)
{
    size_t width = (size_t)1 << random_below(4), at;

    if (size < width)
        return;
    at = random_below(2) ? random_below(size / width) * width : random_below(size - width + 1);
    memcpy(bytes + at, &value, width);
}

static uint64_t interesting(void)
{
    static const uint64_t values[] = {0, 1, 4095, 4096, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1ull << 47, ~0ull, ~0ull - 4095};

    if (random_below(2) && compared_count > 0)
        return compared[random_below(compared_count < COMPARED ? compared_count : COMPARED)];
    return values[random_below(sizeof values / sizeof *values)] + random_below(3) - 1;
}

/* Takes a stretch out, or puts one of `other` in; returns the new size. */
static size_t move_bytes(uint8_t *bytes, size_t size, struct input other)
{
    size_t at = random_below(size + 1), length = random_below(1 + (size - at < 64 ? size - at : 64)), from;

    if (random_below(2) || other.size == 0) {
        memmove(bytes + at, bytes + at + length, size - at - length);
        return size - length;
    }
    length = 1 + random_below(other.size < 128 ? other.size : 128);
    from = random_below(other.size - length + 1);
    if (size + length > longest)
        return size;
    memmove(bytes + at + length, bytes + at, size - at);
    memcpy(bytes + at, other.bytes + from, length);
    return size + length;
}

static size_t change(uint8_t *bytes, size_t size)
{
    for (uint64_t count = 1 + random_below(6); count > 0; count--)
        switch (random_below(6)) {
        case 0:
            if (size > 0)
                bytes[random_below(size)] ^= (uint8_t)(1 << random_below(8));
            break;
        case 1:
            if (size > 0)
                bytes[random_below(size)] = (uint8_t)random_below(256);
            break;
        case 2:
            if (size > 0)
                bytes[random_below(size)] += (uint8_t)(random_below(17) - 8);
            break;
        case 3:
            put(bytes, size, interesting());
            break;
        case 4:
            if (size < longest)
                bytes[size++] = (uint8_t)random_below(256);
            break;
        default:
            size = move_bytes(bytes, size, corpus[random_below(corpus_count)]);
        }
    return size;
}

static struct input copy_of(const uint8_t *bytes, size_t size)
{
    struct input copy = {malloc(size + 1), size};

    if (copy.bytes == NULL)
        exit(1);
    memcpy(copy.bytes, bytes, size);
    return copy;
}

/* Runs one input. True where it went where none has gone, or went there more often. */
static bool run(const uint8_t *bytes, size_t size)
{
    bool new = false;

    memset(hits, 0, sizeof hits);
    last_place = 0;
    current = (struct input){(uint8_t *)bytes, size};
    if (runs++ % 256 == 0)
        alarm(TOO_LONG_S);
    LLVMFuzzerTestOneInput(bytes, size);
    for (size_t i = 0; i < EDGES; i++) {
        uint64_t eight;

        memcpy(&eight, hits + i, sizeof eight);
        if (i % 8 == 0 && eight == 0) {
            i += 7;
        } else if (hits[i] != 0) {
            uint8_t bit = (uint8_t)(1 << (31 - __builtin_clz(hits[i])));

            new = new || (seen[i] & bit) == 0;
            seen[i] |= bit;
        }
    }
    return new;
}

static void keep(const uint8_t *bytes, size_t size)
{
    corpus[corpus_count < CORPUS ? corpus_count++ : random_below(CORPUS)] = copy_of(bytes, size);
}

static void run_file(const char *path, bool is_seed)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(longest);
    size_t size;

    if (file == NULL || bytes == NULL) {
        perror(path);
        exit(1);
    }
    size = fread(bytes, 1, longest, file);
    fclose(file);
    struct input exact = copy_of(bytes, size);
    free(bytes);
    if (run(exact.bytes, size) || is_seed)
        keep(exact.bytes, size);
    free(exact.bytes);
}

static void run_folder(const char *path)
{
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        char file[4096];

        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            run_file(file, true);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
}

static void fuzz(uint64_t most_runs, double most_seconds)
{
    uint8_t *bytes = malloc(longest + 1);
    time_t began = time(NULL);
    size_t edges = 0;

    if (bytes == NULL)
        exit(1);
    if (corpus_count == 0)
        keep((const uint8_t *)"", 0);
    while (runs < most_runs && (runs % 256 != 0 || difftime(time(NULL), began) < most_seconds)) {
        /* Half of the time one of the newest. */
        size_t newest = random_below(corpus_count < 16 ? corpus_count : 16);
        struct input base = corpus[random_below(2) ? random_below(corpus_count) : corpus_count - 1 - newest];
        size_t size = base.size;

        memcpy(bytes, base.bytes, size);
        size = change(bytes, size);
        if (run(bytes, size))
            keep(bytes, size);
    }
    for (size_t i = 0; i < EDGES; i++)
        edges += seen[i] != 0;
    fprintf(stderr, "#%lu DONE cov: %zu corp: %zu\n", (unsigned long)runs, edges, corpus_count);
    free(bytes);
}

int main(int count, char **words)
{
    uint64_t most_runs = ~0ull;
    double most_seconds = 1e18;

    __sanitizer_set_death_callback(keep_crash);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    for (int i = 1; i < count; i++)
        if (strncmp(words[i], "-runs=", 6) == 0)
            most_runs = strtoull(words[i] + 6, NULL, 10);
        else if (strncmp(words[i], "-max_total_time=", 16) == 0)
            most_seconds = strtod(words[i] + 16, NULL);
        else if (strncmp(words[i], "-seed=", 6) == 0)
            random_state = strtoull(words[i] + 6, NULL, 10) * 2 + 1;
        else if (strncmp(words[i], "-max_len=", 9) == 0)
            longest = strtoull(words[i] + 9, NULL, 10);
        else if (strncmp(words[i], "-artifact_prefix=", 17) == 0)
            prefix = words[i] + 17;
    for (int i = 1; i < count; i++) {
        struct stat status;

        if (words[i][0] == '-')
            continue;
        if (stat(words[i], &status) == 0 && S_ISDIR(status.st_mode)) {
            run_folder(words[i]);
        } else {
            replaying = true;
            run_file(words[i], false);
        }
    }
    if (!replaying)
        fuzz(most_runs, most_seconds);
    return 0;
}
