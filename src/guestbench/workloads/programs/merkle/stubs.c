/* The two things that a benchmark asks of Linux and OCaml's standard library does not have. */

#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <caml/mlvalues.h>


/* Nanoseconds of the monotonic clock; OCaml's 63 bits hold 146 years of them. */
value guestbench_clock_ns(value unit)
{
    struct timespec now;

    (void)unit;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return Val_long((long)now.tv_sec * 1000000000L + now.tv_nsec);
}

/* The caller has flushed OCaml's channels. Does not return. */
value guestbench_finish(value status)
{
    if (getpid() != 1)
        _exit(Int_val(status));
    /* What is still in the serial line's buffer would be lost with the machine. */
    tcdrain(STDOUT_FILENO);
    reboot(RB_POWER_OFF);
    /* No power switch that the kernel knows; the end of process 1 would only be a panic. */
    for (;;)
        pause();
}
