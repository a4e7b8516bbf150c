/* Interrupts by the two 8259, and by an I/O APIC where they do not reach; the alarm by channel 0 of the 8254. Interrupts are off in system calls but for the one
   instruction that sleeps; what they tell is read from the devices afterwards. */
#include "events.h"

#include "apic.h"
#include "clock.h"
#include "console.h"
#include "machine.h"
#include "memory.h"
#include "network.h"

enum { LINES = 16, PIN_LINE = LINES, TIMER_LINE = 0, CASCADE_LINE = 2, FIRST_VECTOR = 32 };
enum { PIC1 = 0x20, PIC1_DATA = 0x21, PIC2 = 0xA0, PIC2_DATA = 0xA1, END_OF_INTERRUPT = 0x20 };
enum { PIT_CHANNEL_0 = 0x40, PIT_COMMAND = 0x43, PIT_HERTZ = 1193182, PERIODIC = 0x34, ONCE = 0x30, LONGEST = 0xFFFF };

static void (*handlers[LINES + 1])(void);
static uint16_t closed_lines; /* a bit each; 0 until the controllers are set up */
static bool is_periodic, reports_memory;
static uint64_t alarm_ns; /* when the one that is set goes off; long past where none is */

static void controllers_start(void)
{
    apic_start();
    out8(PIC1, 0x11); /* initialise; then the first vector, the wiring, 8086 mode */
    out8(PIC2, 0x11);
    out8(PIC1_DATA, FIRST_VECTOR);
    out8(PIC2_DATA, FIRST_VECTOR + 8);
    out8(PIC1_DATA, 1 << CASCADE_LINE);
    out8(PIC2_DATA, CASCADE_LINE);
    out8(PIC1_DATA, 1);
    out8(PIC2_DATA, 1);
    closed_lines = 0xFFFF & ~(1 << CASCADE_LINE);
}

static void nothing(void) { }

void interrupts_handle(unsigned line, void (*handler)(void))
{
    if (closed_lines == 0)
        controllers_start();
    handlers[line] = handler;
    closed_lines &= (uint16_t)~(1u << line);
    out8(PIC1_DATA, (uint8_t)closed_lines);
    out8(PIC2_DATA, (uint8_t)(closed_lines >> 8));
}

void interrupts_handle_pin(unsigned pin, void (*handler)(void))
{
    if (closed_lines == 0)
        controllers_start();
    handlers[PIN_LINE] = handler;
    apic_open(pin, FIRST_VECTOR + PIN_LINE);
}

void interrupt(unsigned line)
{
    if (line == PIN_LINE) {
        handlers[PIN_LINE]();
        apic_end_of_interrupt();
        return;
    }
    /* The last line of either controller without a handler: a request that was gone before the CPU asked which it was. The
       first controller, which saw the second's, wants its answer all the same. */
    if (handlers[line] != NULL)
        handlers[line]();
    else if (line == 7)
        return;
    if (line >= 8 && handlers[line] != NULL)
        out8(PIC2, END_OF_INTERRUPT);
    out8(PIC1, END_OF_INTERRUPT);
}

static void set_timer(uint8_t mode, uint64_t count)
{
    /* First, since a controller that is only then set up forgets a request that has come: on a host that lets the guest wait
       in between, nobody would ever be woken. */
    if (handlers[TIMER_LINE] == NULL)
        interrupts_handle(TIMER_LINE, nothing);
    out8(PIT_COMMAND, mode);
    out8(PIT_CHANNEL_0, (uint8_t)count);
    out8(PIT_CHANNEL_0, (uint8_t)(count >> 8));
}

void timer_start(uint64_t hertz)
{
    if (hertz < 19 || hertz > PIT_HERTZ)
        give_up("refuk.timer is %u Hz: the timer can do 19 to %u", hertz, (uint64_t)PIT_HERTZ);
    is_periodic = true;
    set_timer(PERIODIC, PIT_HERTZ / hertz);
}

/* Sees to it that an interrupt comes no later than at that time, or after 55 ms: one set for earlier will do. False where
   the time has come. */
static bool set_alarm(uint64_t until_ns)
{
    uint64_t now = clock_monotonic_ns(), count;

    if (now >= until_ns)
        return false;
    if (is_periodic || (alarm_ns > now && alarm_ns <= until_ns))
        return true;
    count = LONGEST;
    if (until_ns - now < (uint64_t)LONGEST * 1000000000 / PIT_HERTZ)
        count = (until_ns - now) * PIT_HERTZ / 1000000000 + 1;
    alarm_ns = now + count * 1000000000 / PIT_HERTZ;
    set_timer(ONCE, count);
    return true;
}

void events_report_memory(void) { reports_memory = true; }

void events_wait(uint64_t until_ns, bool console)
{
    uint64_t network_ns = network_before_sleep();

    if (reports_memory) {
        reports_memory = false;
        console_fresh_line();
        console_print("[refuk: memory total=%u KiB used=%u KiB]\n", frames_total_bytes() / 1024, frames_taken_bytes() / 1024);
    }
    if (console)
        console_expect();
    if (network_ns < until_ns)
        until_ns = network_ns;
    /* No interrupt can come between the first instruction and the second. */
    if (until_ns == NEVER || (until_ns != 0 && set_alarm(until_ns)))
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    network_after_sleep();
    network_work();
}
