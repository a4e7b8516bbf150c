/* What a static program asks of its C library, and that of the system: it prints the same wherever it runs.
 *
 * Usage: libc NAME=VALUE... in the environment, any arguments, a file words.txt in the current folder.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static uint64_t state = 1;

static uint32_t draw(void)
{
    state = state * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(state >> 32);
}

static void show_arguments(int count, char **arguments)
{
    const char *colour = getenv("COLOUR");

    printf("%d arguments:", count);
    for (int i = 0; i < count; i++)
        printf(" <%s>", arguments[i]);
    printf("\nCOLOUR=%s NOTHING=%s\n", colour ? colour : "-", getenv("NOTHING") ? "?" : "-");
    setenv("NOTHING", "something", 1);
    printf("NOTHING=%s\n", getenv("NOTHING"));
}

static void show_numbers(void)
{
    const double numbers[] = {0.1,     -0.0,    1.0 / 3, 1e308 * 10, DBL_MIN / 4, 123456789.125, 2.5,
                              3.5e-10, M_PI,    DBL_MAX, -1e100,     0x1p-1074,   99999.99999,   1e21};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        printf("%g %.17g %a %12.3f %e %.0f\n", numbers[i], numbers[i], numbers[i], numbers[i], numbers[i],
               numbers[i]);
    printf("%Lg %.20Lf %La\n", 1.0L / 3, 2.0L / 7, 1.0L / 10);
    printf("%d %5d|%-5d|%05d %x %#o %zu %ld %c %%\n", -1, 42, 42, 42, 0xbeefu, 8u, (size_t)-1, INT64_MIN, 'c');
    printf("%.3s|%10s|%-10s|%*d\n", "abcdef", "right", "left", 6, 7);
    printf("%.17g %.17g %.17g\n", strtod("0x1.8p3", NULL), strtod("1e-320", NULL), strtod("179e306", NULL));
    printf("%.15g %.15g %.15g %.15g\n", sin(1e6), exp(1.5), pow(2, 0.5), fma(3, 5, 7));
    printf("%ld %lu %d\n", strtol("-0x7f", NULL, 0), strtoul("777", NULL, 8), atoi(" 12x"));
}

/* Blocks of all sizes come and go; each is filled, and must be as it was left. */
static void use_heap(void)
{
    enum { BLOCKS = 500, ROUNDS = 20000 };
    static struct {
        unsigned char *bytes;
        size_t size;
        unsigned char fill;
    } blocks[BLOCKS];
    size_t damaged = 0;
    uint64_t sum = 0;

    for (int round = 0; round < ROUNDS; round++) {
        int i = (int)(draw() % BLOCKS);
        size_t size = draw() % 100 ? draw() % 3000 : draw() % 400000;

        for (size_t at = 0; at < blocks[i].size; at += 97)
            damaged += blocks[i].bytes[at] != blocks[i].fill;
        if (blocks[i].bytes && draw() % 3 == 0) {
            size_t kept = size < blocks[i].size ? size : blocks[i].size;
            blocks[i].bytes = realloc(blocks[i].bytes, size + 1);
            for (size_t at = 0; at < kept; at += 97)
                damaged += blocks[i].bytes[at] != blocks[i].fill;
        } else {
            free(blocks[i].bytes);
            blocks[i].bytes = draw() % 2 ? malloc(size + 1) : calloc(size + 1, 1);
        }
        blocks[i].size = size;
        blocks[i].fill = (unsigned char)round;
        memset(blocks[i].bytes, blocks[i].fill, size);
        sum += size;
    }
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i].bytes);
    void *aligned = aligned_alloc(65536, 65536);
    printf("heap: %lu bytes in all, %zu damaged, aligned %d\n", (unsigned long)sum, damaged,
           (uintptr_t)aligned % 65536 == 0);
    printf("too much: %s\n", malloc((size_t)1 << 46) ? "given" : strerror(errno));
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void sort_numbers(void)
{
    enum { COUNT = 50000 };
    static double numbers[COUNT];
    double key;
    size_t wrong = 0;

    for (int i = 0; i < COUNT; i++)
        numbers[i] = draw() / 16.0;
    key = numbers[COUNT / 2];
    qsort(numbers, COUNT, sizeof *numbers, by_value);
    for (int i = 1; i < COUNT; i++)
        wrong += numbers[i - 1] > numbers[i];
    printf("sorted: %.4f %.4f %.4f, %zu wrong, found %d\n", numbers[0], numbers[COUNT / 2], numbers[COUNT - 1],
           wrong, bsearch(&key, numbers, COUNT, sizeof *numbers, by_value) != NULL);
}

static jmp_buf back;

static __attribute__((noinline)) int dive(int depth)
{
    volatile int ballast = depth;

    if (depth == 0)
        longjmp(back, 7);
    return dive(depth - 1) + ballast;
}

static void jump(void)
{
    static int jumps;
    volatile double kept = 0.25;
    int value = setjmp(back);

    if (value)
        jumps++;
    if (jumps < 100)
        dive(200);
    printf("jumped %d times with %d, kept %g\n", jumps, value, kept);
}

static unsigned sum_of(const unsigned char *bytes, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + bytes[i];
    return sum;
}

static unsigned char *map(size_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void map_memory(void)
{
    enum { PAGE = 4096, SIZE = 16 * PAGE };
    unsigned char *bytes = map(SIZE), *wall, *moved;
    unsigned before, zeros = 0;

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)draw();
    before = sum_of(bytes, SIZE);
    wall = mmap(bytes + SIZE, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("in place: %s\n",
           mremap(bytes, SIZE, 4 * SIZE, 0) == MAP_FAILED ? strerror(errno) : wall == MAP_FAILED ? "" : "grew");
    moved = mremap(bytes, SIZE, 4 * SIZE, MREMAP_MAYMOVE);
    for (size_t i = SIZE; i < 4 * SIZE; i++)
        zeros += moved[i] == 0;
    printf("moved: %d, same %d, zeros %u\n", moved != bytes, sum_of(moved, SIZE) == before, zeros);
    printf("unmapped in the middle: %d, same %d\n", munmap(moved + 2 * PAGE, PAGE),
           sum_of(moved, 2 * PAGE) + sum_of(moved + 3 * PAGE, PAGE) != 0);
    printf("shrunk: %d\n", mremap(moved + 3 * PAGE, PAGE * 8, PAGE, 0) == moved + 3 * PAGE);
    printf("read-only: %d\n", mprotect(moved, PAGE, PROT_READ));
    printf("no length: %s\n", map(0) == MAP_FAILED ? strerror(errno) : "mapped");
    printf("not aligned: %s\n", munmap(moved + 1, PAGE) ? strerror(errno) : "unmapped");
    unsigned char *end = sbrk(0);
    int grown = sbrk(100000) == end; /* musl has no sbrk but for 0 */
    printf("break: %d", grown);
    printf(" %u", grown ? sum_of(end, 100000) : 0);
    printf(" %d\n", brk(end));
}

static void read_files(void)
{
    FILE *file = fopen("words.txt", "r");
    char *line = NULL;
    size_t room = 0, lines = 0;
    long length;
    char name[20];
    int number = 0;

    printf("missing: %s\n", fopen("missing.txt", "r") ? "there" : strerror(errno));
    if (!file) {
        printf("words.txt: %s\n", strerror(errno));
        return;
    }
    while (getline(&line, &room, file) > 0)
        lines++;
    length = ftell(file);
    rewind(file);
    printf("file: %zu lines, %ld bytes, %d fields: ", lines, length, fscanf(file, "%19s %d", name, &number));
    printf("%s %d\n", name, number);
    fseek(file, -5, SEEK_END);
    printf("its end: %zu", fread(name, 1, sizeof name, file));
    printf(" %.4s, end %d\n", name, feof(file) != 0);
    fclose(file);
    free(line);
}

static void look_around(void)
{
    struct timespec before, after, pause = {0, 3000000};
    struct utsname names;
    char folder[100];

    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long taken_ns = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    printf("slept: %d\n", taken_ns >= 3000000 && taken_ns < 5000000000);
    printf("the year is not long past: %d\n", time(NULL) > 1600000000);
    printf("system: %s\n", uname(&names) ? strerror(errno) : names.sysname);
    printf("a page: %ld\n", sysconf(_SC_PAGESIZE));
    printf("a folder: %d\n", getcwd(folder, sizeof folder) != NULL && folder[0] == '/');
    printf("locale: %s\n", setlocale(LC_ALL, "C"));
    printf("closed: %s\n", write(77, "x", 1) < 0 ? strerror(errno) : "written");
}

static void at_the_end(void)
{
    printf("at the end\n");
}

int main(int count, char **arguments)
{
    atexit(at_the_end);
    show_arguments(count, arguments);
    show_numbers();
    use_heap();
    sort_numbers();
    jump();
    map_memory();
    read_files();
    look_around();
    fflush(stdout);
    fprintf(stderr, "to the other stream\n");
    return 42;
}
