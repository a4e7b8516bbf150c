/* Text without a libc: lines to print, numbers and addresses to read. */

#include "guestwork.h"

void add_text(struct line *line, const char *text)
{
    while (*text && line->length < sizeof line->text - 1)
        line->text[line->length++] = *text++;
}

void add_number(struct line *line, uint64_t number)
{
    char digits[21];
    size_t at = sizeof digits - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    add_text(line, digits + at);
}

void add_hex(struct line *line, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        char pair[3] = {digits[bytes[i] >> 4], digits[bytes[i] & 15], '\0'};
        add_text(line, pair);
    }
}

void write_line(int fd, const struct line *line)
{
    size_t written = 0;

    /* A terminal takes it whole; a full pipe may not. */
    while (written < line->length) {
        long result = sys_write(fd, line->text + written, line->length - written);
        if (result == -EINTR)
            continue;
        if (result <= 0)
            return;
        written += (size_t)result;
    }
}

void complain(const char *what, const char *subject)
{
    struct line line = {0};

    add_text(&line, "error: ");
    add_text(&line, what);
    if (*subject) {
        add_text(&line, " ");
        add_text(&line, subject);
    }
    /* A subject may be longer than the line: the newline must not be what is dropped. */
    if (line.length == sizeof line.text - 1)
        line.length--;
    add_text(&line, "\n");
    write_line(2, &line);
}

bool same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

bool take_word(const char **text, const char *word)
{
    const char *at = *text;

    while (*word && *word == *at)
        word++, at++;
    if (*word)
        return false;
    *text = at;
    return true;
}

bool take_number(const char **text, uint64_t *number)
{
    const char *at = *text;

    *number = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
            return false;
    if (at == *text)
        return false;
    *text = at;
    return true;
}

bool take_size(const char **text, uint64_t *size)
{
    unsigned shift = 0;

    if (!take_number(text, size))
        return false;
    if (**text == 'K')
        shift = 10;
    else if (**text == 'M')
        shift = 20;
    else if (**text == 'G')
        shift = 30;
    if (shift)
        ++*text;
    return !__builtin_mul_overflow(*size, (uint64_t)1 << shift, size);
}

bool take_address(const char **text, uint32_t *address)
{
    uint8_t bytes[4];

    for (int i = 0; i < 4; i++) {
        uint64_t number;
        if (i > 0 && *(*text)++ != '.')
            return false;
        if (!take_number(text, &number) || number > 255)
            return false;
        bytes[i] = (uint8_t)number;
    }
    memcpy(address, bytes, sizeof bytes);
    return true;
}

/* The compiler calls these two by itself. Timed work gives them no large amounts: they are not fast. */

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *target = to;
    const unsigned char *source = from;

    while (size--)
        *target++ = *source++;
    return to;
}

void *memset(void *to, int byte, size_t size)
{
    unsigned char *target = to;

    while (size--)
        *target++ = (unsigned char)byte;
    return to;
}
