/* Signals as far as runtimes ask for them at their start. None is delivered: no one else could send one, a fault ends the
   run with its diagnostic line, and one that the program sends to itself does what it does by default. */
#include "console.h"
#include "errors.h"
#include "machine.h"
#include "memory.h"
#include "syscalls.h"

enum { SIGNALS = 64, KILL = 9, CHILD = 17, CONTINUE = 18, STOP = 19, URGENT = 23, WINDOW = 28 };
enum { BY_DEFAULT = 0, IGNORE = 1, STATUS_OF_SIGNAL = 128 };

struct action { uint64_t handler, flags, restorer, mask; };

static struct action actions[SIGNALS + 1];

/* Stores what was, and takes what is to be, both where the addresses are not 0. */
static int64_t exchange(void *kept, uint64_t size, int64_t new, int64_t old)
{
    if ((old != 0 && !area_allows((uint64_t)old, size, WRITE)) || (new != 0 && !area_allows((uint64_t)new, size, READ)))
        return -EFAULT;
    char before[sizeof(struct action)];

    memcpy(before, kept, size);
    if (new != 0)
        memcpy(kept, (const void *)new, size);
    if (old != 0)
        memcpy((void *)old, before, size);
    return 0;
}

int64_t sys_rt_sigaction(const int64_t *a)
{
    if (a[0] < 1 || a[0] > SIGNALS || a[3] != 8 || (a[1] != 0 && (a[0] == KILL || a[0] == STOP)))
        return -EINVAL;
    return exchange(&actions[a[0]], sizeof *actions, a[1], a[2]);
}

/* None is delivered, so none needs to be held back: nothing was blocked, whatever the program asked for. */
int64_t sys_rt_sigprocmask(const int64_t *a)
{
    static const uint64_t none;

    if (a[2] != 0 && !area_allows((uint64_t)a[2], sizeof none, WRITE))
        return -EFAULT;
    if (a[2] != 0)
        *(uint64_t *)a[2] = none;
    return 0;
}

int64_t sys_sigaltstack(const int64_t *a)
{
    static struct { uint64_t base, flags, size; } stack = {.flags = 2}; /* SS_DISABLE */

    return exchange(&stack, sizeof stack, a[0], a[1]);
}

static int64_t send(int64_t process, int64_t signal)
{
    uint64_t handler;

    if (process != PROCESS && process != 0)
        return -ESRCH;
    if (signal < 0 || signal > SIGNALS)
        return -EINVAL;
    handler = actions[signal].handler;
    if (signal == 0 || handler == IGNORE)
        return 0;
    if (handler == BY_DEFAULT && (signal == CHILD || signal == CONTINUE || signal == URGENT || signal == WINDOW))
        return 0;
    if (handler != BY_DEFAULT) {
        console_fresh_line();
        console_print("[refuk: signal %u not delivered to its handler]\n", (uint64_t)signal);
    }
    power_off(STATUS_OF_SIGNAL + (int)signal);
}

int64_t sys_kill(const int64_t *a) { return send(a[0], a[1]); }
int64_t sys_tgkill(const int64_t *a) { return a[0] == PROCESS ? send(a[1], a[2]) : -ESRCH; }
