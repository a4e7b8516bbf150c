/* The Linux system calls the program makes; there is no libc, so that one file runs on any x86-64 Linux.
 *
 * Each returns what the kernel returns: a result, or an error number below zero.
 */
#ifndef GUESTWORK_SYSCALLS_H
#define GUESTWORK_SYSCALLS_H

#include <stddef.h>
#include <stdint.h>

/* Any program's. */
enum { SYS_READ = 0, SYS_WRITE = 1, SYS_MMAP = 9, SYS_MUNMAP = 11, SYS_GETPID = 39 };
enum { SYS_CLOCK_GETTIME = 228, SYS_EXIT_GROUP = 231 };
/* A server's. */
enum { SYS_CLOSE = 3, SYS_POLL = 7, SYS_NANOSLEEP = 35, SYS_SOCKET = 41, SYS_SENDTO = 44, SYS_SHUTDOWN = 48 };
enum { SYS_BIND = 49, SYS_LISTEN = 50, SYS_SETSOCKOPT = 54, SYS_ACCEPT4 = 288 };
/* The first process's. */
enum { SYS_OPEN = 2, SYS_IOCTL = 16, SYS_REBOOT = 169, SYS_FINIT_MODULE = 313 };

enum { EINTR = 4, EAGAIN = 11, ENODEV = 19 };

struct timespec {
    int64_t seconds;
    int64_t nanoseconds;
};

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long syscall3(long number, long a, long b, long c)
{
    return syscall6(number, a, b, c, 0, 0, 0);
}

static inline long sys_read(int fd, void *buffer, size_t size)
{
    return syscall3(SYS_READ, fd, (long)buffer, (long)size);
}

static inline long sys_write(int fd, const void *buffer, size_t size)
{
    return syscall3(SYS_WRITE, fd, (long)buffer, (long)size);
}

static inline long sys_close(int fd)
{
    return syscall3(SYS_CLOSE, fd, 0, 0);
}

static inline long sys_ioctl(int fd, unsigned long request, void *argument)
{
    return syscall3(SYS_IOCTL, fd, (long)request, (long)argument);
}

static inline void sys_sleep_ms(int64_t milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    syscall3(SYS_NANOSLEEP, (long)&time, 0, 0);
}

#endif
