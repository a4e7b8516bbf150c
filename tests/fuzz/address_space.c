/* Fuzzes the program's address space: system calls and accesses in any order, each compared with a model that knows of
   every page its rights and its contents. The CPU is played here: its walk through the page tables, and a translation
   cache that forgets nothing by itself. */
#include "fuzz.h"

/* Physical memory is an array here, and the instruction that forgets a translation a function. */
#define direct direct_of_the_machine
#define page_forget page_forget_of_the_machine
#include "memory.h"
#undef direct
#undef page_forget
#undef DIRECT_MAP
#define DIRECT_MAP ((uint64_t)memory)
static uint8_t memory[192 * 4096] __attribute__((aligned(4096)));
static void *direct(uint64_t physical);
static void page_forget(uint64_t address);

#include "frames.c"
#include "paging.c"
#include "areas.c"
#include "sys_memory.c"
#include "program.h"

/* The model's pages, on both sides of the border of two page tables. Below them all is taken, so that new areas are
   placed among them; the last 16 are above the top, like the stack of a program. */
enum { PAGES = 96, BELOW_TOP = 80, HEAP = 4, LONGEST = 24 };
#define WINDOW (0x400000ull - PAGES / 2 * PAGE)
#define BEYOND 0x700000000000ull /* areas without pages, to fill the table */
#define SWEPT (1ull << 30) /* what is unmapped in the end: all that is in the model, and the room around it */
enum { FILE_FRAME = 1, FILE_BYTES = 10240, FIRST_FRAME = 8, WORDS = 2 };
enum { ANONYMOUS = 0x22, PRIVATE_FILE = 2, FIXED = 0x10, NO_REPLACE = 0x100000 };

struct page {
    bool mapped, from_file;
    uint8_t rights, ever;
    uint64_t file_offset, words[WORDS]; /* the first and the last word */
};

static struct page pages[PAGES];
static uint64_t cached[PAGES], heap_end, clock;
static uint8_t file_bytes[3 * PAGE]; /* what lies in the file's frames, so also behind its end */
static const struct file the_file = {"file", memory + FILE_FRAME * PAGE, FILE_BYTES};
static const uint8_t *input, *input_end;

uint64_t page_map[ENTRIES], direct_pointers[ENTRIES], direct_directory[ENTRIES], kernel_directory[ENTRIES];
uint64_t first_table[ENTRIES];
char image_start[1], rodata_start[1], data_start[1], stack_guards[1];

static void *direct(uint64_t physical)
{
    CHECK(physical < sizeof memory);
    return memory + physical;
}

static void page_forget(uint64_t address)
{
    if (address >= WINDOW && address < WINDOW + PAGES * PAGE)
        cached[(address - WINDOW) / PAGE] = 0;
}

const struct file *file_of(int64_t descriptor) { return descriptor == 3 ? &the_file : NULL; }
uint64_t program_end(void) { return WINDOW + HEAP * PAGE; }

static uint8_t next(void) { return input < input_end ? *input++ : 0; }

static uint64_t address_of(unsigned page) { return WINDOW + (uint64_t)page * PAGE; }

/* ---- the model ---- */

UNTRACED static void forget_contents(struct page *page)
{
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t at = page->file_offset + (i == 0 ? 0 : PAGE - 8);

        page->words[i] = 0;
        if (page->from_file && at + 8 <= FILE_BYTES)
            memcpy(&page->words[i], the_file.bytes + at, 8);
    }
}

UNTRACED static void model_map(unsigned start, unsigned count_, uint8_t rights, bool from_file, uint64_t offset)
{
    for (unsigned i = start; i < start + count_; i++) {
        pages[i] = (struct page){.mapped = true, .from_file = from_file, .rights = rights, .ever = rights,
                                 .file_offset = from_file ? offset + (i - start) * PAGE : 0};
        forget_contents(&pages[i]);
    }
}

static void model_unmap(unsigned start, unsigned count_) { memset(&pages[start], 0, count_ * sizeof *pages); }

UNTRACED static bool is_free(unsigned start, unsigned count_)
{
    for (unsigned i = start; i < start + count_; i++)
        if (i < PAGES && pages[i].mapped)
            return false;
    return true;
}

UNTRACED static bool all_mapped(unsigned start, unsigned count_)
{
    for (unsigned i = start; i < start + count_; i++)
        if (!pages[i].mapped)
            return false;
    return true;
}

/* Where a new area of that many pages has to be placed; PAGES where there is no room. */
UNTRACED static unsigned room(unsigned size)
{
    for (unsigned i = BELOW_TOP - size + 1; i-- > 0;)
        if (is_free(i, size))
            return i;
    return PAGES;
}

static bool wants_both(uint8_t rights) { return (rights & (WRITE | EXECUTE)) == (WRITE | EXECUTE); }

/* ---- the system calls ---- */

static int64_t do_call(call *function, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
    const int64_t arguments[6] = {a, b, c, d, e, f};

    return function(arguments);
}

/* A stretch of the window. */
static unsigned stretch(unsigned *start)
{
    unsigned size;

    *start = next() % PAGES;
    size = 1 + next() % LONGEST;
    return size < PAGES - *start ? size : PAGES - *start;
}

static void fuzz_mmap(void)
{
    unsigned start, size = stretch(&start), how = next();
    uint8_t rights = how & 7;
    bool fixed = (how & 8) != 0, keeps = (how & 16) != 0, from_file = (how & 32) != 0;
    uint64_t offset = (uint64_t)(how >> 6) * PAGE;
    unsigned place = fixed || keeps ? start : room(size);
    uint64_t bytes = size * PAGE - next() % 8;
    bool full = table_is_full();
    int64_t flags = (from_file ? PRIVATE_FILE : ANONYMOUS) | (fixed ? FIXED : 0) | (keeps ? NO_REPLACE : 0);
    int64_t result =
        do_call(sys_mmap, (int64_t)address_of(start), (int64_t)bytes, rights, flags, 3, (int64_t)offset);

    if (keeps && !is_free(start, size))
        CHECK(result == -EEXIST);
    else if (place == PAGES)
        CHECK(result == -ENOMEM);
    else if (wants_both(rights))
        CHECK(result == -EACCES);
    else if (full)
        CHECK(result == -ENOMEM);
    else {
        CHECK(result == (int64_t)address_of(place));
        model_map(place, size, rights, from_file && offset < FILE_BYTES, offset);
    }
}

static void fuzz_mprotect(void)
{
    unsigned start, size = stretch(&start);
    uint8_t rights = next() & 7;
    bool full = table_is_full(), refused = false;
    int64_t result = do_call(sys_mprotect, (int64_t)address_of(start), size * PAGE, rights, 0, 0, 0);

    for (unsigned i = start; i < start + size; i++)
        refused = refused || wants_both(pages[i].ever | rights);
    if (!all_mapped(start, size) || full)
        CHECK(result == -ENOMEM);
    else if (refused)
        CHECK(result == -EACCES);
    else {
        CHECK(result == 0);
        for (unsigned i = start; i < start + size; i++) {
            pages[i].rights = rights;
            pages[i].ever |= rights;
        }
    }
}

static void fuzz_munmap(void)
{
    unsigned start, size = stretch(&start);
    bool full = table_is_full();
    int64_t result = do_call(sys_munmap, (int64_t)address_of(start), size * PAGE, 0, 0, 0, 0);

    CHECK(result == (full ? -ENOMEM : 0));
    if (!full)
        model_unmap(start, size);
}

static void fuzz_madvise(void)
{
    unsigned start, size = stretch(&start);
    int64_t result = do_call(sys_madvise, (int64_t)address_of(start), size * PAGE, 4, 0, 0, 0);

    CHECK(result == (all_mapped(start, size) ? 0 : -ENOMEM));
    for (unsigned i = start; result == 0 && i < start + size; i++)
        forget_contents(&pages[i]);
}

UNTRACED static void model_move(unsigned start, unsigned size, unsigned place, unsigned new_size)
{
    struct page kept[PAGES], first = pages[start];

    memcpy(kept, &pages[start], size * sizeof *kept);
    model_unmap(start, size);
    model_map(place, new_size, first.rights, false, 0);
    for (unsigned i = 0; i < new_size; i++)
        pages[place + i].ever = first.ever;
    memcpy(&pages[place], kept, size * sizeof *kept);
}

static void fuzz_mremap(void)
{
    unsigned start, size = stretch(&start), new_size = 1 + next() % LONGEST, end = start + size, place;
    bool may_move = (next() & 1) != 0, alike = true, of_file = false, full = table_is_full();
    int64_t result;

    if (new_size > PAGES - start)
        new_size = PAGES - start;
    for (unsigned i = start; i < end; i++) {
        alike = alike && pages[i].mapped && pages[i].rights == pages[start].rights && pages[i].ever == pages[start].ever;
        of_file = of_file || pages[i].from_file;
        if (pages[i].from_file && pages[i].file_offset >= FILE_BYTES)
            return; /* behind the end of a file: may count as anonymous or not */
    }
    place = room(new_size);
    result = do_call(sys_mremap, (int64_t)address_of(start), size * PAGE, new_size * PAGE, may_move, 0, 0);
    if (of_file)
        CHECK(result == -EFAULT || (alike && result == -EINVAL));
    else if (!alike)
        CHECK(result == -EFAULT);
    else if (new_size == size)
        CHECK(result == (int64_t)address_of(start));
    else if (full)
        CHECK(result == -ENOMEM);
    else if (new_size < size) {
        CHECK(result == (int64_t)address_of(start));
        model_unmap(start + new_size, size - new_size);
    } else if (is_free(end, new_size - size) && (end > BELOW_TOP || start + new_size <= BELOW_TOP)) {
        CHECK(result == (int64_t)address_of(start));
        model_move(start, size, start, new_size);
    } else if (!may_move || place == PAGES)
        CHECK(result == -ENOMEM);
    else {
        CHECK(result == (int64_t)address_of(place));
        model_move(start, size, place, new_size);
    }
}

static void fuzz_brk(void)
{
    uint64_t wanted = program_end() + next() % 32 * PAGE / 2 - next() % 2, from = (page_up(heap_end) - WINDOW) / PAGE;
    uint64_t to = (page_up(wanted) - WINDOW) / PAGE;
    bool full = table_is_full(), possible = wanted >= program_end();
    int64_t result = do_call(sys_brk, (int64_t)wanted, 0, 0, 0, 0, 0);

    if (to > from)
        possible = possible && !full && is_free((unsigned)from, (unsigned)(to - from));
    else if (to < from)
        possible = possible && !full;
    if (possible && to > from)
        model_map((unsigned)from, (unsigned)(to - from), READ | WRITE, false, 0);
    else if (possible && to < from)
        model_unmap((unsigned)to, (unsigned)(from - to));
    heap_end = possible ? wanted : heap_end;
    CHECK(result == (int64_t)heap_end);
}

/* ---- accesses ---- */

/* The entry by which the CPU allows the access at once; 0 where it faults. */
UNTRACED static uint64_t translate(unsigned page, uint8_t kind)
{
    uint64_t *entry = page_entry(address_of(page), false), found = cached[page];

    if (found == 0 && entry != NULL && (*entry & ENTRY_PRESENT) != 0) {
        *entry |= kind == WRITE ? 0x60 : 0x20; /* accessed, dirty */
        found = *entry;
    }
    if (found == 0 || (kind == WRITE && (found & ENTRY_WRITABLE) == 0) ||
        (kind == EXECUTE && (found & ENTRY_NO_EXECUTE) != 0)) {
        cached[page] = 0;
        return 0;
    }
    cached[page] = found;
    return found;
}

/* The CPU's access, page fault included. NULL where it ends the program. */
static uint8_t *touch(unsigned page, uint8_t kind, uint64_t in_page)
{
    uint64_t entry = translate(page, kind), *found, error;

    if (entry == 0) {
        found = page_entry(address_of(page), false);
        error = (kind == WRITE ? FAULT_WRITE : 0) | (kind == EXECUTE ? FAULT_FETCH : 0);
        error |= found != NULL && (*found & ENTRY_PRESENT) != 0;
        if (!area_fault(address_of(page) + in_page, error))
            return NULL;
        entry = translate(page, kind);
        CHECK(entry != 0); /* a fault that was resolved does not come back */
    }
    return direct(entry & ENTRY_FRAME);
}

UNTRACED static void access_page(unsigned page, uint8_t kind, unsigned word)
{
    uint64_t at = word == 0 ? 0 : PAGE - 8, value = ++clock;
    struct page *p = &pages[page];
    uint8_t *bytes = touch(page, kind, at);

    CHECK((bytes != NULL) == (p->mapped && p->rights != 0 && (kind == READ || (p->rights & kind) != 0)));
    if (bytes == NULL)
        return;
    if (kind == WRITE) {
        memcpy(bytes + at, &value, sizeof value);
        p->words[word] = value;
    }
    memcpy(&value, bytes + at, sizeof value);
    CHECK(value == p->words[word]);
}

static void fuzz_access(void)
{
    uint8_t how = next();

    access_page(next() % PAGES, how % 3 == 0 ? READ : how % 3 == 1 ? WRITE : EXECUTE, how >> 7);
}

static void fuzz_allows(void)
{
    unsigned start, size = stretch(&start);
    uint64_t skip = next() * 8, bytes = (uint64_t)size * PAGE - skip;
    uint8_t rights = 1 + next() % 2;
    bool expected = true;

    for (unsigned i = start + (unsigned)(skip / PAGE); i < start + size; i++)
        expected = expected && (pages[i].rights & rights) == rights;
    CHECK(area_allows(address_of(start) + skip, bytes, rights) == expected);
    CHECK(!area_allows(address_of(start), ~0ull - next(), rights));
    CHECK(!area_allows(ADDRESS_END - next(), 1 + 256, rights));
}

/* ---- one input ---- */

UNTRACED static void check_table(void)
{
    uint64_t end = LOWEST_ADDRESS;

    for (size_t i = 0; i < count; i++) {
        CHECK(areas[i].start >= end && areas[i].end > areas[i].start && areas[i].end <= ADDRESS_END);
        CHECK(areas[i].start % PAGE == 0 && areas[i].end % PAGE == 0);
        CHECK((areas[i].rights & ~areas[i].ever) == 0 && !wants_both(areas[i].ever));
        CHECK(areas[i].file == NULL || (areas[i].file >= the_file.bytes && areas[i].file_bytes > 0 &&
                                        areas[i].file + areas[i].file_bytes == the_file.bytes + FILE_BYTES));
        end = areas[i].end;
    }
}

/* Any arguments at all: refused, or the address space stays in order. True where it may have changed beyond the model. */
static bool fuzz_anything(void)
{
    static call *const calls[] = {sys_mmap, sys_mprotect, sys_munmap, sys_madvise, sys_mremap, sys_brk};
    static const uint64_t values[] = {0, 1, 2, 3, 4, 7, PAGE, 0x32, 0x100022, LOWEST_ADDRESS, ADDRESS_END,
                                      ADDRESS_END - PAGE, 1ull << 63, ~0ull, ~0ull - PAGE, 0x800000000000, WINDOW};
    int64_t a[6];
    unsigned which = next() % 6;

    for (unsigned i = 0; i < 6; i++) {
        uint8_t value = next();

        a[i] = value < 128 ? (int64_t)values[value % (sizeof values / sizeof *values)] : (int64_t)(value - 192) * PAGE;
    }
    /* Honest, but slow: the tables of terabytes are looked for one by one. */
    if ((uint64_t)a[1] > 1ull << 30 && (uint64_t)a[1] <= ADDRESS_END)
        return false;
    if (which == 5 && a[0] != 0 && (uint64_t)a[0] - program_end() < 1ull << 40)
        return false; /* fuzz_brk does these */
    return do_call(calls[which], a[0], a[1], a[2], a[3], a[4], a[5]) >= 0 && which != 5;
}

UNTRACED static void start(unsigned frames, unsigned free_in_table)
{
    range_count = 0;
    total = first_returned = 0;
    memset(page_map, 0, sizeof page_map);
    memset(cached, 0, sizeof cached);
    memset(pages, 0, sizeof pages);
    for (unsigned i = 0; file_bytes[0] == 0 && i < sizeof file_bytes; i++)
        file_bytes[i] = (uint8_t)(i * 7 / 5 + 1);
    memcpy(memory + FILE_FRAME * PAGE, file_bytes, sizeof file_bytes);
    frames_add(FIRST_FRAME * PAGE, (FIRST_FRAME + 24) * PAGE);
    frames_add((FIRST_FRAME + 26) * PAGE + 1, (FIRST_FRAME + 27 + frames) * PAGE + 17);
    count = 0;
    areas_start();
    areas_set_top(address_of(BELOW_TOP));
    heap_end = program_end();
    CHECK(do_call(sys_brk, (int64_t)heap_end, 0, 0, 0, 0, 0) == (int64_t)heap_end);
    CHECK(area_map((struct area){.start = LOWEST_ADDRESS, .end = WINDOW}) == 0);
    if (free_in_table > 0)
        while (count + free_in_table < TABLE_SIZE) {
            uint64_t at = BEYOND + count * 2 * PAGE;

            areas[count++] = (struct area){.start = at, .end = at + PAGE, .rights = READ, .ever = READ};
        }
}

UNTRACED static unsigned count_frames(void)
{
    unsigned frames = 0;

    for (uint64_t frame = first_returned; frame != 0; frame = *(uint64_t *)direct(frame))
        frames++;
    for (unsigned i = 0; i < range_count; i++)
        frames += (unsigned)((ranges[i].end - ranges[i].next) / PAGE);
    return frames;
}

UNTRACED static unsigned count_tables(const uint64_t *table, unsigned level)
{
    static const uint64_t nothing[ENTRIES];
    unsigned tables = 0;

    CHECK(level > 0 || memcmp(table, nothing, sizeof nothing) == 0); /* nothing is mapped any more */
    for (unsigned i = 0; level > 0 && i < ENTRIES; i++)
        if (table[i] != 0)
            tables += 1 + count_tables(direct(table[i] & ENTRY_FRAME), level - 1);
    return tables;
}

/* All pages show what the model says, and all frames come back. */
UNTRACED static void finish(bool in_model)
{
    check_table();
    for (unsigned i = 0; in_model && i < PAGES; i++) {
        access_page(i, EXECUTE, 0);
        access_page(i, READ, 0);
        access_page(i, READ, 1);
    }
    while (count > 0 && areas[count - 1].start >= BEYOND)
        count--;
    CHECK(area_unmap(LOWEST_ADDRESS, SWEPT) == 0);
    for (size_t i = 0; i < count; i++)
        CHECK(areas[i].start >= SWEPT);
    CHECK(count > 0 || count_frames() + count_tables(page_map, 3) + TABLE_PAGES == total / PAGE);
    CHECK(memcmp(memory + FILE_FRAME * PAGE, file_bytes, sizeof file_bytes) == 0);
}

static bool step(void)
{
    static void (*const steps[])(void) = {
        fuzz_mmap, fuzz_mprotect, fuzz_munmap, fuzz_madvise, fuzz_mremap, fuzz_brk, fuzz_allows,
    };
    unsigned which = next() % 16;

    if (which < sizeof steps / sizeof *steps)
        steps[which]();
    else if (which == 15)
        return !fuzz_anything();
    else
        fuzz_access();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned frames, free_in_table;
    bool in_model = true;

    input = data;
    input_end = data + size;
    frames = next() % 128;
    free_in_table = next() % 64; /* less than 8: a table that is nearly full */
    if (setjmp(fuzz_given_up) != 0) {
        CHECK(memcmp(fuzz_reason, "out of memory", 13) == 0 && frame_take() == 0);
        return 0;
    }
    start(frames, free_in_table < 8 ? free_in_table : 0);
    while (in_model && input < input_end) {
        in_model = step();
        if (count < 200)
            check_table();
    }
    finish(in_model);
    return 0;
}
