/* The program's address space as a sorted table of areas; neighbours that are alike become one. */
#include "errors.h"
#include "machine.h"
#include "memory.h"

enum { TABLE_PAGES = 16, TABLE_SIZE = TABLE_PAGES * PAGE / sizeof(struct area) };
enum { TABLE_SPAN = 2 << 20 }; /* bytes that one page table shows */
enum { FAULT_WRITE = 2, FAULT_FETCH = 16 };

static struct area *areas; /* in the direct map: pages of the table that are not needed are not touched */
static size_t count;
static uint64_t top;

void areas_start(void) { areas = direct(frames_take_together(TABLE_PAGES)); }

void areas_set_top(uint64_t address) { top = address; }

/* The index of the first area that ends above the address: the one that it lies in, or the next. */
static size_t find(uint64_t address)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (areas[middle].end > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void insert(size_t at, struct area area)
{
    for (size_t i = count++; i > at; i--)
        areas[i] = areas[i - 1];
    areas[at] = area;
}

static void remove(size_t from, size_t to)
{
    size_t gone = to - from;

    for (count -= gone; from < count; from++)
        areas[from] = areas[from + gone];
}

/* Makes the address a border of areas, where it is inside of one. */
static void cut(uint64_t address)
{
    size_t i = find(address);
    struct area rest;

    if (i == count || areas[i].start >= address)
        return;
    rest = areas[i];
    rest.start = areas[i].end = address;
    if (rest.file != NULL) {
        uint64_t before = address - areas[i].start;

        rest.file_bytes = rest.file_bytes > before ? rest.file_bytes - before : 0;
        rest.file = rest.file_bytes > 0 ? rest.file + before : NULL;
    }
    insert(i + 1, rest);
}

/* Joins areas that touch one another and are alike, from the one before `start` to the one after `end`. */
static void join(uint64_t start, uint64_t end)
{
    size_t i = find(start);

    for (i = i > 0 ? i - 1 : 0; i + 1 < count && areas[i].start <= end;) {
        struct area *a = &areas[i], *b = a + 1;

        if (a->end == b->start && a->rights == b->rights && a->ever == b->ever && !a->file && !b->file) {
            a->end = b->end;
            remove(i + 1, i + 2);
        } else {
            i++;
        }
    }
}

/* Room for the two areas that cutting both ends of a stretch can add, and for a new one. */
static bool table_is_full(void) { return count + 3 > TABLE_SIZE; }

static bool is_covered(uint64_t start, uint64_t end)
{
    for (size_t i = find(start); start < end; i++) {
        if (i == count || areas[i].start > start)
            return false;
        start = areas[i].end;
    }
    return true;
}

/* Calls for every page in [start, end) that has an entry; whole tables that are not there are passed over. */
static void each_entry(uint64_t start, uint64_t end, void (*use)(uint64_t address, uint64_t *entry, uint64_t context),
                       uint64_t context)
{
    while (start < end) {
        uint64_t *entry = page_entry(start, false);

        if (entry == NULL) {
            start = (start | (TABLE_SPAN - 1)) + 1;
            continue;
        }
        if (*entry != 0)
            use(start, entry, context);
        start += PAGE;
    }
}

static void drop_page(uint64_t address, uint64_t *entry, uint64_t context)
{
    (void)context;
    if ((*entry & ENTRY_OF_FILE) == 0)
        frame_give_back(*entry & ENTRY_FRAME);
    *entry = 0;
    page_forget(address);
}

/* The frame stays in the entry also where the rights are none, and the page is not present. */
static uint64_t entry_with_rights(uint64_t entry, uint64_t rights)
{
    entry &= ENTRY_FRAME | ENTRY_OF_FILE;
    if (rights != 0)
        entry |= ENTRY_PRESENT;
    if ((rights & WRITE) != 0 && (entry & ENTRY_OF_FILE) == 0)
        entry |= ENTRY_WRITABLE;
    return (rights & EXECUTE) != 0 ? entry : entry | ENTRY_NO_EXECUTE;
}

static void set_page_rights(uint64_t address, uint64_t *entry, uint64_t rights)
{
    *entry = entry_with_rights(*entry, rights);
    page_forget(address);
}

static void move_page(uint64_t address, uint64_t *entry, uint64_t distance)
{
    uint64_t *target = page_entry(address + distance, true);

    if (target == NULL)
        give_up("out of memory for page tables: %u KiB in all", frames_total_bytes() / 1024);
    *target = *entry;
    *entry = 0;
    page_forget(address);
}

static bool both_write_and_execute(uint8_t rights) { return (rights & WRITE) != 0 && (rights & EXECUTE) != 0; }

int area_unmap(uint64_t start, uint64_t end)
{
    if (table_is_full())
        return -ENOMEM;
    cut(start);
    cut(end);
    each_entry(start, end, drop_page, 0);
    remove(find(start), find(end));
    return 0;
}

int area_map(struct area area)
{
    int error;

    if (both_write_and_execute(area.rights))
        return -EACCES;
    error = area_unmap(area.start, area.end);
    if (error != 0)
        return error;
    area.ever = area.rights;
    insert(find(area.start), area);
    join(area.start, area.end);
    return 0;
}

int area_protect(uint64_t start, uint64_t end, uint8_t rights)
{
    if (!is_covered(start, end) || table_is_full())
        return -ENOMEM;
    for (size_t i = find(start); i < count && areas[i].start < end; i++)
        if (both_write_and_execute(areas[i].ever | rights))
            return -EACCES;
    cut(start);
    cut(end);
    for (size_t i = find(start); i < count && areas[i].start < end; i++) {
        areas[i].rights = rights;
        areas[i].ever |= rights;
    }
    each_entry(start, end, set_page_rights, rights);
    join(start, end);
    return 0;
}

int area_renew(uint64_t start, uint64_t end)
{
    if (!is_covered(start, end))
        return -ENOMEM;
    each_entry(start, end, drop_page, 0);
    return 0;
}

bool area_is_free(uint64_t start, uint64_t end)
{
    size_t i = find(start);

    return i == count || areas[i].start >= end;
}

uint64_t area_find_room(uint64_t size)
{
    uint64_t end = top;

    for (size_t i = find(top - 1);; i--) {
        if (i < count && areas[i].start < end) {
            if (areas[i].end + size <= end)
                return end - size;
            end = areas[i].start;
        }
        if (i == 0)
            break;
    }
    return LOWEST_ADDRESS + size <= end ? end - size : 0;
}

int64_t area_resize(uint64_t start, uint64_t end, uint64_t new_end, bool may_move)
{
    size_t i = find(start);
    struct area moved;

    if (i == count || areas[i].start > start || areas[i].end < end)
        return -EFAULT;
    if (areas[i].file != NULL)
        return -EINVAL;
    if (new_end <= end)
        return new_end == end || area_unmap(new_end, end) == 0 ? (int64_t)start : -ENOMEM;
    if (table_is_full())
        return -ENOMEM;
    moved = areas[i];
    /* Not across the top: above it is the guard below the program's stack. */
    if (areas[i].end == end && area_is_free(end, new_end) && (end > top || new_end <= top)) {
        areas[i].end = new_end;
        join(start, new_end);
        return (int64_t)start;
    }
    moved.end = new_end - start;
    moved.start = may_move ? area_find_room(moved.end) : 0;
    if (moved.start == 0)
        return -ENOMEM;
    moved.end += moved.start;
    each_entry(start, end, move_page, moved.start - start);
    area_unmap(start, end);
    insert(find(moved.start), moved);
    join(moved.start, moved.end);
    return (int64_t)moved.start;
}

bool area_allows(uint64_t address, uint64_t size, uint8_t rights)
{
    uint64_t end = address + size;

    if (end < address || end > ADDRESS_END)
        return false;
    for (size_t i = find(address); address < end; i++) {
        if (i == count || areas[i].start > address || (areas[i].rights & rights) != rights)
            return false;
        address = areas[i].end;
    }
    return true;
}

/* Fills a new frame with what the area shows there, from the file or, once it was changed, from the page before. */
static uint64_t new_page(const struct area *area, uint64_t page)
{
    uint64_t frame = frame_take(), offset = page - area->start, bytes = 0;

    if (frame == 0)
        give_up("out of memory: all %u KiB are in use", frames_total_bytes() / 1024);
    if (area->file != NULL && area->file_bytes > offset)
        bytes = area->file_bytes - offset < PAGE ? area->file_bytes - offset : PAGE;
    if (bytes > 0)
        memcpy(direct(frame), area->file + offset, bytes);
    memset((char *)direct(frame) + bytes, 0, PAGE - bytes);
    return frame;
}

/* Shows of the area's file all that lies in the table of the entry for `page`: the bytes are in memory in any case, and every
   page shown now is a fault less later. */
static void show_file(const struct area *area, uint64_t page, uint64_t *entry)
{
    uint64_t start = page & ~(uint64_t)(TABLE_SPAN - 1), end = start + TABLE_SPAN;
    uint64_t file_end = area->start + page_down(area->file_bytes); /* may be beyond the area, of which the rest was cut off */

    start = start > area->start ? start : area->start;
    end = end < area->end ? end : area->end;
    end = end < file_end ? end : file_end;
    for (entry -= (page - start) / PAGE; start < end; start += PAGE, entry++)
        if (*entry == 0)
            *entry = entry_with_rights(((uint64_t)area->file - DIRECT_MAP + start - area->start) | ENTRY_OF_FILE,
                                       area->rights);
}

bool area_fault(uint64_t address, uint64_t error)
{
    size_t i = find(address);
    uint64_t page = page_down(address), needed = (error & FAULT_WRITE) ? WRITE : (error & FAULT_FETCH) ? EXECUTE : READ;
    uint64_t *entry;
    const struct area *area = &areas[i];
    bool was_present;

    if (address >= ADDRESS_END || i == count || area->start > address)
        return false;
    /* Writable and executable memory can be read as well: the CPU knows no other way. */
    if (area->rights == 0 || (needed != READ && (area->rights & needed) == 0))
        return false;
    entry = page_entry(page, true);
    if (entry == NULL)
        give_up("out of memory for page tables: %u KiB in all", frames_total_bytes() / 1024);
    if (*entry != 0 && (needed != WRITE || (*entry & ENTRY_OF_FILE) == 0))
        return false;
    if (needed != WRITE && area->file != NULL && area->file_bytes >= page - area->start + PAGE) {
        show_file(area, page, entry);
        return true;
    }
    was_present = *entry != 0;
    *entry = entry_with_rights(new_page(area, page), area->rights);
    if (was_present) /* otherwise there is nothing that the CPU could remember */
        page_forget(page);
    return true;
}
