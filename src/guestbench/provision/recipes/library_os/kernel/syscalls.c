/* The table of system calls, and those too small for a place of their own. */
#include "syscalls.h"

#include "clock.h"
#include "console.h"
#include "errors.h"
#include "machine.h"
#include "memory.h"
#include "sys_files.h"

enum { CALLS = 335 };

static call *const calls[CALLS] = {
    [0] = sys_read, [1] = sys_write, [2] = sys_open, [3] = sys_close, [4] = sys_stat, [5] = sys_fstat, [6] = sys_stat,
    [7] = sys_poll, [8] = sys_lseek, [9] = sys_mmap, [10] = sys_mprotect, [11] = sys_munmap, [12] = sys_brk,
    [13] = sys_rt_sigaction, [14] = sys_rt_sigprocmask, [16] = sys_ioctl, [17] = sys_pread64, [19] = sys_readv, [20] = sys_writev,
    [21] = sys_access, [24] = sys_success, /* sched_yield */
    [25] = sys_mremap, [28] = sys_madvise, [35] = sys_nanosleep, [39] = sys_process, [60] = sys_exit,
    [62] = sys_kill, [63] = sys_uname, [72] = sys_fcntl, [79] = sys_getcwd, [89] = sys_readlink,
    [96] = sys_gettimeofday, [98] = sys_getrusage, [99] = sys_sysinfo,
    [102] = sys_success, [104] = sys_success, [107] = sys_success, [108] = sys_success, /* user and group: 0 */
    [110] = sys_parent, [131] = sys_sigaltstack, [158] = sys_arch_prctl, [186] = sys_process, /* gettid */
    [200] = sys_kill, /* tkill */
    [201] = sys_time, [202] = sys_futex, [218] = sys_process, /* set_tid_address */
    [228] = sys_clock_gettime, [230] = sys_clock_nanosleep, [231] = sys_exit, /* exit_group */
    [234] = sys_tgkill, [257] = sys_openat, [262] = sys_newfstatat, [271] = sys_ppoll,
    [273] = sys_success, /* set_robust_list */
    [302] = sys_prlimit64, [318] = sys_getrandom,
    [334] = sys_not_provided, /* rseq: asked for by every start of glibc, which does without */
    [41] = sys_socket, [42] = sys_connect, [43] = sys_accept, [44] = sys_sendto, [45] = sys_recvfrom, [48] = sys_shutdown,
    [49] = sys_bind, [50] = sys_listen, [51] = sys_getsockname, [52] = sys_getpeername, [54] = sys_setsockopt,
    [55] = sys_getsockopt, [288] = sys_accept4,
};

/* Those that programs ask for most often, of those that are missing. */
static const struct { uint16_t number; char name[14]; } likely[] = {
    {22, "pipe"}, {23, "select"}, {32, "dup"}, {33, "dup2"}, {40, "sendfile"}, {46, "sendmsg"}, {47, "recvmsg"},
    {53, "socketpair"}, {56, "clone"}, {57, "fork"}, {58, "vfork"}, {59, "execve"}, {61, "wait4"}, {77, "ftruncate"},
    {78, "getdents"}, {87, "unlink"}, {157, "prctl"}, {213, "epoll_create"}, {217, "getdents64"},
    {270, "pselect6"}, {290, "eventfd2"}, {291, "epoll_create1"}, {293, "pipe2"}, {332, "statx"}, {435, "clone3"},
};

int64_t system_call(const int64_t arguments[6], uint64_t number);

/* Names a call that is missing, once, as a program may try it again and again. */
static int64_t missing(uint64_t number)
{
    static uint64_t named[8];
    uint64_t bit = number % 64, word = number / 64 % 8;
    const char *name = "";

    if ((named[word] >> bit & 1) == 0) {
        named[word] |= 1ull << bit;
        console_fresh_line();
        for (unsigned i = 0; i < sizeof likely / sizeof *likely; i++)
            if (likely[i].number == number)
                name = likely[i].name;
        console_print(*name != '\0' ? "[refuk: no system call %u (%s)]\n" : "[refuk: no system call %u]\n", number, name);
    }
    return -ENOSYS;
}

/* Called by boot.S, on the kernel's stack. */
int64_t system_call(const int64_t arguments[6], uint64_t number)
{
    if (number >= CALLS || calls[number] == NULL)
        return missing(number);
    return calls[number](arguments);
}

int64_t sys_success(const int64_t *a) { (void)a; return 0; }
int64_t sys_process(const int64_t *a) { (void)a; return PROCESS; }
int64_t sys_parent(const int64_t *a) { (void)a; return 1; }
int64_t sys_not_provided(const int64_t *a) { (void)a; return -ENOSYS; }

int64_t sys_exit(const int64_t *a) { power_off((int)a[0]); }

int64_t sys_uname(const int64_t *a)
{
    /* A release that the C library takes for new enough; the name says what this is. */
    static const char fields[6][65] = {"Linux", "refuk", "6.1.0", "refuk", "x86_64", "(none)"};

    if (!area_allows((uint64_t)a[0], sizeof fields, WRITE))
        return -EFAULT;
    memcpy((void *)a[0], fields, sizeof fields);
    return 0;
}

/* glibc's qsort asks how much memory there is. */
int64_t sys_sysinfo(const int64_t *a)
{
    struct { uint64_t uptime, loads[3], total, free, other[7]; uint32_t unit; } *info = (void *)a[0];

    if (!area_allows((uint64_t)info, sizeof *info, WRITE))
        return -EFAULT;
    memset(info, 0, sizeof *info);
    info->uptime = clock_monotonic_ns() / 1000000000;
    info->total = info->free = frames_total_bytes();
    info->unit = 1;
    return 0;
}

int64_t sys_arch_prctl(const int64_t *a)
{
    enum { SET_GS = 0x1001, SET_FS, GET_FS, GET_GS };
    uint64_t value = (uint64_t)a[1];

    if (a[0] == SET_FS || a[0] == SET_GS) {
        if (value >= ADDRESS_END) /* the CPU faults on some of these */
            return -EPERM;
        write_msr(a[0] == SET_FS ? MSR_FS_BASE : MSR_GS_BASE, value);
        return 0;
    }
    if (a[0] != GET_FS && a[0] != GET_GS)
        return -EINVAL;
    if (!area_allows(value, 8, WRITE))
        return -EFAULT;
    *(uint64_t *)value = read_msr(a[0] == GET_FS ? MSR_FS_BASE : MSR_GS_BASE);
    return 0;
}

int64_t sys_futex(const int64_t *a)
{
    enum { WAIT, WAKE, WAIT_BITSET = 9, WAKE_BITSET = 10, COMMAND = 0x7F };
    int64_t command = a[1] & COMMAND;

    if (!area_allows((uint64_t)a[0], 4, READ))
        return -EFAULT;
    if (command == WAKE || command == WAKE_BITSET)
        return 0;
    if (command != WAIT && command != WAIT_BITSET)
        return -ENOSYS;
    if (*(volatile uint32_t *)a[0] != (uint32_t)a[2])
        return -EAGAIN;
    if (a[3] == 0) /* there is no second thread that could wake this one */
        give_up("the program waits for ever, on a futex at %x", (uint64_t)a[0]);
    return -ETIMEDOUT;
}

int64_t sys_getrandom(const int64_t *a)
{
    if (!area_allows((uint64_t)a[0], (uint64_t)a[1], WRITE))
        return -EFAULT;
    random_bytes((void *)a[0], (size_t)a[1]);
    return a[1];
}

int64_t sys_prlimit64(const int64_t *a)
{
    enum { STACK = 3, OPEN_FILES = 7 };
    uint64_t *limits = (uint64_t *)a[3];

    if (a[2] != 0) /* nothing can be changed */
        return -EPERM;
    if (limits == NULL)
        return 0;
    if (!area_allows((uint64_t)limits, 2 * sizeof *limits, WRITE))
        return -EFAULT;
    limits[0] = limits[1] = a[1] == STACK ? 8u << 20 : a[1] == OPEN_FILES ? DESCRIPTORS : UINT64_MAX;
    return 0;
}
