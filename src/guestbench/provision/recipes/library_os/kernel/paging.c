/* Page tables: the kernel's at the start, the program's as it grows. Tables are not given back. */
#include "machine.h"
#include "memory.h"

enum { LARGE = 2 << 20, ENTRIES = 512, STACKS = 4 };
/* Pages of the direct map where no machine has memory, but a display has its own (0xA0000 to 0xBFFFF): not used here. */
enum { FIRST_WINDOW = 0xA0, WINDOWS = 32 };
enum { CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21 };

/* boot.S and link.ld; the tables are the kernel's own until the program has its first page. */
extern uint64_t page_map[ENTRIES], direct_pointers[ENTRIES], direct_directory[ENTRIES], kernel_directory[ENTRIES];
extern uint64_t first_table[ENTRIES];
extern char rodata_start[], data_start[];

static uint64_t new_table(void)
{
    uint64_t frame = frame_take();

    if (frame != 0)
        memset(direct(frame), 0, PAGE);
    return frame;
}

/* All that the CPU remembers of the tables. */
static void forget_all(void) { __asm__ volatile("mov %0, %%cr3" : : "r"(physical(page_map)) : "memory"); }

static bool is_stack_guard(uint64_t address)
{
    /* The kernel's stack, then one for each use of an interrupt stack: each of one page above one that is not there. */
    return address >= physical(stack_guards) && address < physical(stack_guards) + 2 * STACKS * PAGE &&
           (address - physical(stack_guards)) % (2 * PAGE) == 0;
}

/* One table shows the first 2 MiB both in the direct map and where the kernel runs, so neither address has more rights. */
static void fill_first_table(void)
{
    for (uint64_t i = 1; i < ENTRIES; i++) {
        uint64_t address = i * PAGE, entry = address | ENTRY_PRESENT;

        if (is_stack_guard(address))
            continue;
        if (address < physical(image_start) || address >= physical(data_start))
            entry |= ENTRY_WRITABLE;
        if (address < physical(image_start) || address >= physical(rodata_start))
            entry |= ENTRY_NO_EXECUTE;
        first_table[i] = entry;
    }
    direct_directory[0] = physical(first_table) | ENTRY_PRESENT | ENTRY_WRITABLE;
    kernel_directory[(uint64_t)image_start / LARGE % ENTRIES] = direct_directory[0];
}

static void start_features(void)
{
    uint32_t features = cpuid(7, 0).b;
    uint64_t cr4;

    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if (features & 1 << 7)
        cr4 |= CR4_SMEP;
    if (features & 1 << 20)
        cr4 |= CR4_SMAP;
    if (cpuid(1, 0).c & 1 << 26)
        cr4 |= CR4_OSXSAVE;
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
    if (cr4 & CR4_OSXSAVE) {
        /* x87, SSE, AVX and the three parts of AVX-512, as far as the CPU has them. Nothing here switches contexts. */
        uint32_t state = cpuid(13, 0).a & 0xE7;

        __asm__ volatile("xsetbv" : : "c"(0), "a"(state), "d"(0));
    }
}

void paging_start(uint64_t end)
{
    uint64_t *directory = direct_directory;

    fill_first_table();
    /* Large pages: with small ones, the tables for memory that no one uses would be the most that a small guest touches. */
    for (uint64_t at = LARGE; at < end && at >> 30 < ENTRIES; at += LARGE) {
        if (at % (1 << 30) == 0) {
            uint64_t table = new_table();

            direct_pointers[at >> 30] = table | ENTRY_PRESENT | ENTRY_WRITABLE;
            directory = direct(table);
        }
        directory[at / LARGE % ENTRIES] = at | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_LARGE | ENTRY_NO_EXECUTE;
    }
    page_map[0] = 0;
    forget_all();
    start_features();
}

volatile char *map_device(uint64_t address)
{
    static unsigned taken;
    uint64_t page = FIRST_WINDOW + taken % WINDOWS;

    taken++;
    first_table[page] = address | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_UNCACHED | ENTRY_NO_EXECUTE;
    page_forget((uint64_t)direct(page * PAGE));
    return direct(page * PAGE);
}

/* Puts a table of small pages in the place of a large page. */
static bool split(uint64_t *entry)
{
    uint64_t frame = frame_take(), *table = direct(frame);

    if (frame == 0)
        return false;
    for (uint64_t i = 0; i < ENTRIES; i++)
        table[i] = (*entry & ~(uint64_t)ENTRY_LARGE) + i * PAGE;
    *entry = frame | ENTRY_PRESENT | ENTRY_WRITABLE;
    return true;
}

uint64_t *page_entry(uint64_t address, bool create)
{
    uint64_t *table = page_map;

    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = &table[address >> shift & (ENTRIES - 1)];

        if (*entry == 0) {
            uint64_t frame = create ? new_table() : 0;

            if (frame == 0)
                return NULL;
            *entry = frame | ENTRY_PRESENT | ENTRY_WRITABLE;
        }
        if ((*entry & ENTRY_LARGE) != 0 && !split(entry))
            return NULL;
        table = direct(*entry & ENTRY_FRAME);
    }
    return &table[address >> 12 & (ENTRIES - 1)];
}

void paging_make_read_only(uint64_t start, uint64_t end)
{
    for (uint64_t at = page_down(start); at < end; at += PAGE) {
        uint64_t *entry = page_entry((uint64_t)direct(at), true);

        if (entry == NULL)
            give_up("not enough memory to start: %u KiB", frames_total_bytes() / 1024);
        *entry &= ~(uint64_t)ENTRY_WRITABLE;
    }
    forget_all();
}
