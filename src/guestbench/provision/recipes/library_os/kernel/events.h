/* Interrupts, and waiting for them: the only place where the machine sleeps. */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#define NEVER UINT64_MAX

/* Has that line of the interrupt controllers, 0 to 15, interrupt from now on, and the function called when it does. It has
   to take back the device's request, and no more: it may interrupt the program anywhere. */
void interrupts_handle(unsigned line, void (*handler)(void));

/* The same for a pin of the second I/O APIC, of machines that have one. One pin at most. */
void interrupts_handle_pin(unsigned pin, void (*handler)(void));

/* Called by the trap of that line; 16 is the pin's. */
void interrupt(unsigned line);

/* Has the first wait print how much memory there is and how much is taken: what this system knows of itself when idle. */
void events_report_memory(void);

/* Lets the timer interrupt `hertz` times a second, 19 to 1,193,182, once the program's flags allow interrupts. */
void timer_start(uint64_t hertz);

/* Sleeps until something may have happened, at most until clock_monotonic_ns() is about `until_ns`; with `console`, input is
   something. Does the network's work then. Returns for any reason: look again at what is waited for. */
void events_wait(uint64_t until_ns, bool console);

#endif
