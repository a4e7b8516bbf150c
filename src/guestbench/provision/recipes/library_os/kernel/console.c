/* The serial console; it knows no files and no system calls. */
#include "console.h"

#include <stdint.h>

#include "events.h"
#include "machine.h"

enum { DATA = 0x3F8, INTERRUPTS = 0x3F9, FIFO = 0x3FA, LINE = 0x3FB, MODEM = 0x3FC, STATUS = 0x3FD };
enum { RECEIVED = 0x01, TRANSMITTER_EMPTY = 0x20, FIFO_BYTES = 16, CONTROL_D = 4, INTERRUPT_LINE = 4 };

static bool at_line_start = true;
static int early_byte = -1; /* one that came before the FIFO was on; turning it on loses it */

void console_start(void)
{
    if ((in8(STATUS) & RECEIVED) != 0)
        early_byte = in8(DATA);
    out8(INTERRUPTS, 0);
    out8(LINE, 0x80); /* the divisor: 115,200 baud */
    out8(DATA, 1);
    out8(INTERRUPTS, 0);
    out8(LINE, 0x03); /* 8 bits, no parity, 1 stop bit */
    out8(FIFO, 0x07); /* on, and both emptied */
    out8(MODEM, 0x0B); /* the last of the bits lets interrupts through */
}

void console_write(const void *bytes, size_t size)
{
    const uint8_t *next = bytes;

    if (size == 0)
        return;
    at_line_start = next[size - 1] == '\n';
    while (size > 0) {
        /* An empty transmitter takes a whole FIFO: one look at the status for 16 bytes, as each look is an exit. */
        size_t burst = size < FIFO_BYTES ? size : FIFO_BYTES;

        while ((in8(STATUS) & TRANSMITTER_EMPTY) == 0)
            ;
        for (size -= burst; burst > 0; burst--)
            out8(DATA, *next++);
    }
}

void console_fresh_line(void)
{
    if (!at_line_start)
        console_write("\n", 1);
}

static void print_number(uint64_t value, unsigned base)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    console_write(digits + at, sizeof digits - at);
}

void console_vprint(const char *format, va_list arguments)
{
    for (; *format != '\0'; format++) {
        size_t plain = 0;

        while (format[plain] != '\0' && format[plain] != '%')
            plain++;
        console_write(format, plain);
        format += plain;
        if (*format == '\0')
            return;
        format++;
        if (*format == 's') {
            const char *text = va_arg(arguments, const char *);
            console_write(text, strlen(text));
        } else if (*format == 'x') {
            console_write("0x", 2);
            print_number(va_arg(arguments, uint64_t), 16);
        } else if (*format == 'u') {
            print_number(va_arg(arguments, uint64_t), 10);
        } else {
            return;
        }
    }
}

void console_print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    console_vprint(format, arguments);
    va_end(arguments);
}

bool console_has_input(void) { return early_byte >= 0 || (in8(STATUS) & RECEIVED) != 0; }

/* One is enough: the byte stays where it is until it is read. */
static void interrupted(void) { out8(INTERRUPTS, 0); }

void console_expect(void)
{
    static bool handled;

    if (!handled)
        interrupts_handle(INTERRUPT_LINE, interrupted);
    handled = true;
    out8(INTERRUPTS, 1);
}

static char read_byte(void)
{
    int byte = early_byte;

    early_byte = -1;
    if (byte >= 0)
        return (char)byte;
    while (!console_has_input())
        events_wait(NEVER, true);
    return (char)in8(DATA);
}

size_t console_read(void *bytes, size_t size)
{
    char *next = bytes;

    for (size_t count = 0; count < size; count++) {
        char byte = read_byte();

        if (byte == CONTROL_D)
            return count;
        next[count] = byte == '\r' ? '\n' : byte;
        if (next[count] == '\n')
            return count + 1;
    }
    return size;
}
