/* Waiting for one of several files. */
#include "clock.h"
#include "console.h"
#include "errors.h"
#include "events.h"
#include "machine.h"
#include "memory.h"
#include "network.h"
#include "sys_files.h"
#include "syscalls.h"

enum { MS = 1000000, SECOND = 1000 * MS };

struct poll_request { int32_t descriptor; int16_t wanted, happened; };

static unsigned events_of(int64_t d, unsigned wanted)
{
    switch (kind_of(d)) {
    case SOCKET:
        return socket_events(socket_of(d));
    case CONSOLE:
        return HAPPENED_OUT | ((wanted & HAPPENED_IN) != 0 && console_has_input() ? HAPPENED_IN : 0);
    case FILE_OF_TREE:
        return HAPPENED_IN | HAPPENED_OUT;
    default:
        return HAPPENED_INVALID;
    }
}

/* Notes what has happened; returns for how many requests something has, and whether the console is waited for. */
static int64_t look(struct poll_request *requests, uint64_t count, bool *console)
{
    int64_t ready = 0;

    for (struct poll_request *request = requests; request < requests + count; request++) {
        unsigned wanted = (uint16_t)request->wanted, always = HAPPENED_ERROR | HAPPENED_HANGUP | HAPPENED_INVALID;

        request->happened = 0;
        if (request->descriptor < 0)
            continue;
        request->happened = (int16_t)(events_of(request->descriptor, wanted) & (wanted | always));
        ready += request->happened != 0;
        *console |= kind_of(request->descriptor) == CONSOLE && (wanted & HAPPENED_IN) != 0;
    }
    return ready;
}

static int64_t poll(int64_t address, uint64_t count, uint64_t until_ns)
{
    struct poll_request *requests = (struct poll_request *)address;
    bool console = false;
    int64_t ready;

    if (count > DESCRIPTORS)
        return -EINVAL;
    if (!area_allows((uint64_t)address, count * sizeof *requests, READ | WRITE))
        return -EFAULT;
    network_work();
    while ((ready = look(requests, count, &console)) == 0 && until_ns != 0 &&
           (until_ns == NEVER || clock_monotonic_ns() < until_ns))
        events_wait(until_ns, console);
    return ready;
}

int64_t sys_poll(const int64_t *a)
{
    int64_t ms = (int32_t)a[2];

    return poll(a[0], (uint64_t)a[1], ms < 0 ? NEVER : ms == 0 ? 0 : clock_monotonic_ns() + (uint64_t)ms * MS);
}

/* The set of signals to let through meanwhile has no meaning here: none is ever delivered. */
int64_t sys_ppoll(const int64_t *a)
{
    const struct { int64_t seconds, rest; } *time = (const void *)a[2];
    uint64_t until_ns = NEVER;

    if (time != NULL && !area_allows((uint64_t)time, sizeof *time, READ))
        return -EFAULT;
    if (time != NULL && (time->seconds < 0 || time->rest < 0 || time->rest >= SECOND))
        return -EINVAL;
    if (time != NULL && time->seconds <= INT32_MAX)
        until_ns = time->seconds + time->rest == 0
                       ? 0 : clock_monotonic_ns() + (uint64_t)time->seconds * SECOND + (uint64_t)time->rest;
    return poll(a[0], (uint64_t)a[1], until_ns);
}
