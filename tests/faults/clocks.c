/* Clocks that jump, for processes that load this by LD_PRELOAD.

   The wall clock steps an hour ahead and back, in turns of 0.2 s, where STEP_WALL is set. The clock that goes on
   while a host sleeps (CLOCK_BOOTTIME) has gone on by a minute once the file named by SLEPT is there.  */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    const char *slept = getenv("SLEPT");
    if (clock == CLOCK_REALTIME && getenv("STEP_WALL")) {
        struct timespec steady;
        real(CLOCK_MONOTONIC, &steady);
        now->tv_sec += (steady.tv_sec * 5 + steady.tv_nsec / 200000000) % 2 ? 3600 : -3600;
    }
    if (clock == CLOCK_BOOTTIME && slept && access(slept, F_OK) == 0)
        now->tv_sec += 60;
    return status;
}

int gettimeofday(struct timeval *now, void *zone)
{
    (void)zone;
    struct timespec precise;
    int status = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return status;
}

time_t time(time_t *into)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (into)
        *into = precise.tv_sec;
    return precise.tv_sec;
}
