/* guestwork: the work that a guest is measured with. It does one thing and prints when that begins and ends.
 *
 * It runs as an ordinary program, and as the only process of a kernel, which it then turns off at the end.
 */

#include "guestwork.h"

_Noreturn void start(long *stack);

static bool first_process;

_Noreturn void finish(int status)
{
    if (first_process) {
        enum { TCSBRK = 0x5409 };
        /* The last line may still be on its way out of the serial port. */
        sys_ioctl(1, TCSBRK, (void *)1);
        syscall3(SYS_REBOOT, 0xfee1dead, 0x28121969, 0x4321fedc);
        /* Here only where there is no machine to turn off: the first process of a container. */
    }
    for (;;)
        syscall3(SYS_EXIT_GROUP, status, 0, 0);
}

_Noreturn void fail(int status, const char *what, const char *subject)
{
    complain(what, subject);
    finish(status);
}

void *allocate(size_t size)
{
    enum { READ_WRITE = 3, PRIVATE_ANONYMOUS = 0x22 };
    long result = syscall6(SYS_MMAP, 0, (long)size, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);

    if (result < 0 && result > -4096) {
        struct line number = {0};
        add_number(&number, size);
        fail(FAILED, "no memory for bytes:", number.text);
    }
    return (void *)result;
}

static bool is_subcommand(const char *word)
{
    return same_text(word, "cpu") || same_text(word, "memory") || same_text(word, "serve");
}

_Noreturn void start(long *stack)
{
    char **arguments = (char **)(stack + 1);
    static char *serve[] = {"serve", NULL};

    /* Some callers give no name of the program either. */
    if (*arguments)
        arguments++;
    first_process = syscall3(SYS_GETPID, 0, 0, 0) == 1;
    if (first_process) {
        /* A kernel hands over all words of its command line that it does not know itself. */
        while (*arguments && !is_subcommand(*arguments))
            complain("not a subcommand, ignored:", *arguments++);
        if (!*arguments)
            arguments = serve;
    }
    if (!*arguments)
        fail(USAGE, "usage: guestwork cpu|memory|serve [KEY=VALUE ...]", "");
    if (same_text(*arguments, "cpu"))
        run_cpu(arguments + 1);
    else if (same_text(*arguments, "memory"))
        run_memory(arguments + 1);
    else if (same_text(*arguments, "serve"))
        run_serve(arguments + 1, first_process);
    else
        fail(USAGE, "no such subcommand (cpu, memory, serve):", *arguments);
    finish(DONE);
}
