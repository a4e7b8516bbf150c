/* Physical frames, page tables, and the areas of the program's address space. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- frames.c: physical memory in frames of 4 KiB. No frame is touched before it is handed out. ---- */

/* Adds the whole frames in [start, end) to those that can be had. At most 24 ranges; more are left unused. */
void frames_add(uint64_t start, uint64_t end);

/* Physical address of a frame, contents undefined; 0 where none is left. */
uint64_t frame_take(void);

/* `count` frames one after the other, contents undefined. Gives up where there are not enough. For the start only. */
uint64_t frames_take_together(uint64_t count);

void frame_give_back(uint64_t frame);

/* Bytes of memory in all ranges, taken or not. */
uint64_t frames_total_bytes(void);

/* Bytes of frames that were handed out and not given back. */
uint64_t frames_taken_bytes(void);

/* ---- paging.c: page tables. Every page is a supervisor page, as program and kernel both run in ring 0. ---- */

#define IMAGE_PHYSICAL 0x100000ull /* as link.ld and boot.S have it */
#define DIRECT_MAP 0xffff800000000000

enum { ENTRY_PRESENT = 1, ENTRY_WRITABLE = 2, ENTRY_UNCACHED = 0x18, ENTRY_LARGE = 0x80 };
/* A bit that the CPU leaves to software: the frame belongs to a file, so it must be copied before it is written. */
enum { ENTRY_OF_FILE = 0x200 };
#define ENTRY_NO_EXECUTE (1ull << 63)
#define ENTRY_FRAME 0x000ffffffffff000

/* The address at which all physical memory is mapped, never executable. */
static inline void *direct(uint64_t physical) { return (void *)(DIRECT_MAP + physical); }

extern char image_start[], image_end[]; /* link.ld: the kernel, wherever it runs */

/* Where something of the kernel's own lies in memory. */
static inline uint64_t physical(const void *kernel_address)
{
    return (uint64_t)((const char *)kernel_address - image_start) + IMAGE_PHYSICAL;
}

/* Maps physical memory up to `end`, takes the rights that the kernel does not need from its own pages and from those
   the first 2 MiB at address 0, and turns on SMEP, SMAP and the extended state where the CPU has them. */
void paging_start(uint64_t end);

/* Maps one page of device registers, uncached; returns its address. A 33rd takes the place of the first. */
volatile char *map_device(uint64_t physical);

/* Takes the right to write to all pages of [start, end) from their addresses in the direct map. */
void paging_make_read_only(uint64_t start, uint64_t end);

/* The entry for that address of the program; NULL where it has no table, or with `create` where no frame is left. */
uint64_t *page_entry(uint64_t address, bool create);

static inline void page_forget(uint64_t address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }

/* ---- areas.c: what each stretch of the program's address space is for. Pages come when they are first touched. ---- */

enum { READ = 1, WRITE = 2, EXECUTE = 4 };

#define LOWEST_ADDRESS 0x10000ull
#define ADDRESS_END 0x7ffffffff000ull

struct area {
    uint64_t start, end;   /* whole pages, start < end */
    const uint8_t *file;   /* what `start` shows, in the direct map; NULL for zeros */
    uint64_t file_bytes;   /* from `start` on; beyond them are zeros */
    uint8_t rights, ever;  /* the rights now; all that it ever had, which never include both WRITE and EXECUTE */
};

void areas_start(void);

/* Replaces what is in [start, end) by a new area. 0, or -ENOMEM (table full), -EACCES (writable and executable). */
int area_map(struct area area);

/* Removes what is in [start, end). 0, or -ENOMEM (table full). */
int area_unmap(uint64_t start, uint64_t end);

/* Changes rights. 0, or -ENOMEM (a gap, or table full), -EACCES (would have had both WRITE and EXECUTE). */
int area_protect(uint64_t start, uint64_t end, uint8_t rights);

/* Gives the frames in [start, end) back; the pages begin anew at the next touch. 0, or -ENOMEM (a gap). */
int area_renew(uint64_t start, uint64_t end);

/* Lets an area without a file end at new_end, at the same place or, with `may_move`, elsewhere with its pages (no copy).
   Returns the start, or -EFAULT (not one area), -EINVAL (shows a file), -ENOMEM (no room). */
int64_t area_resize(uint64_t start, uint64_t end, uint64_t new_end, bool may_move);

/* The highest free stretch of that many bytes below the top that areas_set_top set; 0 where there is none. */
uint64_t area_find_room(uint64_t size);
void areas_set_top(uint64_t top);

/* Whether nothing lies in [start, end). */
bool area_is_free(uint64_t start, uint64_t end);

/* Whether the program itself may use all of [address, address + size) in that way: for pointers in system calls. */
bool area_allows(uint64_t address, uint64_t size, uint8_t rights);

/* Resolves a page fault (`error` as the CPU pushes it). False where it is the program's mistake. Gives up when no
   frame is left. Touches nothing but the direct map and the kernel's own memory, so it cannot fault itself. */
bool area_fault(uint64_t address, uint64_t error);

#endif
