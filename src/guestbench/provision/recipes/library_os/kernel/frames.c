/* Physical memory: frames never used yet lie in ranges, those given back in a list threaded through themselves. */
#include "machine.h"
#include "memory.h"

enum { RANGES = 24 };

static struct { uint64_t next, end; } ranges[RANGES];
static unsigned range_count;
static uint64_t total, taken, first_returned;

void frames_add(uint64_t start, uint64_t end)
{
    start = page_up(start);
    end = page_down(end);
    if (start >= end || range_count == RANGES)
        return;
    ranges[range_count].next = start;
    ranges[range_count++].end = end;
    total += end - start;
}

uint64_t frame_take(void)
{
    uint64_t frame = first_returned;

    /* One that was used before, first: it costs the host no new page. */
    if (frame != 0) {
        first_returned = *(uint64_t *)direct(frame);
        taken += PAGE;
        return frame;
    }
    for (unsigned i = 0; i < range_count; i++)
        if (ranges[i].next < ranges[i].end) {
            frame = ranges[i].next;
            ranges[i].next += PAGE;
            taken += PAGE;
            return frame;
        }
    return 0;
}

uint64_t frames_take_together(uint64_t count)
{
    for (unsigned i = 0; i < range_count; i++)
        if (ranges[i].end - ranges[i].next >= count * PAGE) {
            uint64_t first = ranges[i].next;

            ranges[i].next += count * PAGE;
            taken += count * PAGE;
            return first;
        }
    give_up("not enough memory to start: %u KiB", total / 1024);
}

void frame_give_back(uint64_t frame)
{
    *(uint64_t *)direct(frame) = first_returned;
    first_returned = frame;
    taken -= PAGE;
}

uint64_t frames_total_bytes(void) { return total; }
uint64_t frames_taken_bytes(void) { return taken; }
