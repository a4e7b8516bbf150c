/* The network's memory: pages, and blocks within pages, up to a part of the machine's memory. A block never crosses a page,
   so the device can be given its address; a page without blocks in use goes back. */
#include "parts.h"

#include "machine.h"
#include "memory.h"

enum { CLASSES = 6, PART_OF_MEMORY = 4 };

struct block { struct block *next; };

/* The beginning of a page of blocks. Pages with a free block are in the list of their class. */
struct blocks {
    struct blocks *next, *before;
    struct block *returned;
    uint16_t fresh, used;   /* offset of the first block never taken; how many are in use */
    uint16_t size, class;
};

static struct blocks *open_pages[CLASSES];
static uint64_t pages_taken;

void *network_page_take(void)
{
    uint64_t frame = pages_taken < frames_total_bytes() / PAGE / PART_OF_MEMORY ? frame_take() : 0;

    if (frame == 0)
        return NULL;
    pages_taken++;
    return direct(frame);
}

void network_page_give_back(void *page)
{
    pages_taken--;
    frame_give_back(physical_address(page));
}

/* 2, 4, 8 ... 64 blocks in a page, after its beginning: of 2,032 to 48 bytes. */
static uint16_t block_size(unsigned class)
{
    return (uint16_t)((PAGE - sizeof(struct blocks)) / (2u << class) & ~15u);
}

static void put_first(struct blocks *page)
{
    page->before = NULL;
    page->next = open_pages[page->class];
    if (page->next != NULL)
        page->next->before = page;
    open_pages[page->class] = page;
}

static void take_out(struct blocks *page)
{
    if (page->before != NULL)
        page->before->next = page->next;
    else
        open_pages[page->class] = page->next;
    if (page->next != NULL)
        page->next->before = page->before;
}

static bool is_full(const struct blocks *page)
{
    return page->returned == NULL && page->fresh + page->size > PAGE;
}

void *heap_take(size_t size)
{
    unsigned class = 0;
    struct blocks *page;
    void *block;

    if (size > block_size(0))
        return NULL;
    while (class + 1 < CLASSES && size <= block_size(class + 1))
        class++;
    page = open_pages[class];
    if (page == NULL) {
        page = network_page_take();
        if (page == NULL)
            return NULL;
        *page = (struct blocks){.fresh = sizeof *page, .size = block_size(class), .class = (uint16_t)class};
        put_first(page);
    }
    block = page->returned;
    if (block != NULL) {
        page->returned = page->returned->next;
    } else {
        block = (char *)page + page->fresh;
        page->fresh += page->size;
    }
    page->used++;
    if (is_full(page))
        take_out(page);
    return block;
}

void *heap_take_zeroed(size_t count, size_t size)
{
    void *block = size == 0 || count <= PAGE / size ? heap_take(count * size) : NULL;

    if (block != NULL)
        memset(block, 0, count * size);
    return block;
}

void heap_give_back(void *block)
{
    struct blocks *page = (struct blocks *)page_down((uint64_t)block);
    struct block *returned = block;

    if (block == NULL)
        return;
    if (is_full(page))
        put_first(page);
    returned->next = page->returned;
    page->returned = returned;
    if (--page->used == 0) {
        take_out(page);
        network_page_give_back(page);
    }
}
