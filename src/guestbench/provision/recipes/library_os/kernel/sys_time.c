/* Time as the program sees it. A system call for each question: there is no vDSO. */
#include "clock.h"
#include "errors.h"
#include "events.h"
#include "machine.h"
#include "memory.h"
#include "syscalls.h"

enum { SECOND_NS = 1000000000, REALTIME = 0, REALTIME_COARSE = 5, TAI = 11 };

struct time { int64_t seconds, rest; }; /* the rest in nanoseconds, or in microseconds for the older calls */

static bool is_realtime(int64_t clock) { return clock == REALTIME || clock == REALTIME_COARSE; }

static int64_t put_time(int64_t address, uint64_t ns, unsigned unit_ns)
{
    if (!area_allows((uint64_t)address, sizeof(struct time), WRITE))
        return -EFAULT;
    *(struct time *)address = (struct time){(int64_t)(ns / SECOND_NS), (int64_t)(ns % SECOND_NS / unit_ns)};
    return 0;
}

/* The clocks of the process are the monotonic one: it has the machine to itself. */
int64_t sys_clock_gettime(const int64_t *a)
{
    if (a[0] < 0 || a[0] > TAI)
        return -EINVAL;
    return put_time(a[1], is_realtime(a[0]) ? clock_realtime_ns() : clock_monotonic_ns(), 1);
}

int64_t sys_gettimeofday(const int64_t *a) { return a[0] == 0 ? 0 : put_time(a[0], clock_realtime_ns(), 1000); }

int64_t sys_time(const int64_t *a)
{
    int64_t seconds = (int64_t)(clock_realtime_ns() / SECOND_NS);

    if (a[0] != 0 && !area_allows((uint64_t)a[0], sizeof seconds, WRITE))
        return -EFAULT;
    if (a[0] != 0)
        *(int64_t *)a[0] = seconds;
    return seconds;
}

int64_t sys_getrusage(const int64_t *a)
{
    enum { USAGE_BYTES = 144 };

    if (!area_allows((uint64_t)a[1], USAGE_BYTES, WRITE))
        return -EFAULT;
    memset((void *)a[1], 0, USAGE_BYTES);
    return put_time(a[1], clock_monotonic_ns(), 1000);
}

static int64_t sleep(int64_t address, uint64_t from_ns)
{
    const struct time *time = (const struct time *)address;
    uint64_t until_ns = INT64_MAX; /* signed, as one that is over may lie before the start */

    if (!area_allows((uint64_t)address, sizeof *time, READ))
        return -EFAULT;
    if (time->seconds < 0 || time->rest < 0 || time->rest >= SECOND_NS)
        return -EINVAL;
    /* More than 68 years is for ever: it would overflow. */
    if (time->seconds <= INT32_MAX)
        until_ns = from_ns + (uint64_t)time->seconds * SECOND_NS + (uint64_t)time->rest;
    while ((int64_t)clock_monotonic_ns() < (int64_t)until_ns)
        events_wait(until_ns, false);
    return 0;
}

int64_t sys_nanosleep(const int64_t *a) { return sleep(a[0], clock_monotonic_ns()); }

int64_t sys_clock_nanosleep(const int64_t *a)
{
    enum { ABSOLUTE = 1 };

    if ((a[1] & ABSOLUTE) == 0)
        return sleep(a[2], clock_monotonic_ns());
    /* Against the clock that is asked for: the wait itself is on the monotonic one. */
    return sleep(a[2], is_realtime(a[0]) ? clock_monotonic_ns() - clock_realtime_ns() : 0);
}
