/* The serial console: COM1, 16550, bytes as they are. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

void console_start(void);

/* Sends all bytes; returns when the last is in the transmitter. */
void console_write(const void *bytes, size_t size);

/* %s text, %u unsigned decimal, %x hexadecimal with 0x (both of 64 bits), and nothing else. */
void console_print(const char *format, ...);
void console_vprint(const char *format, va_list arguments);

/* Sends a newline unless the last byte was one. */
void console_fresh_line(void);

/* Waits for input and reads up to `size` bytes, at most a line. Returns the count, or 0 where the input was ended with
   Ctrl-D at the beginning of a line. A carriage return is read as a newline; nothing is echoed. */
size_t console_read(void *bytes, size_t size);

/* Whether a byte can be read without waiting. */
bool console_has_input(void);

/* Has the next byte interrupt, or the one that is there already, once. */
void console_expect(void);

#endif
