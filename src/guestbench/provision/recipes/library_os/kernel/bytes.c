/* Bytes and strings, in words of 8 bytes where that is possible: under emulation, string instructions cost tenfold. */
#include "machine.h"

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

void *memcpy(void *to, const void *from, size_t size)
{
    char *t = to;
    const char *f = from;

    for (; size >= 8; size -= 8, t += 8, f += 8)
        *(word *)t = *(const word *)f;
    while (size-- > 0)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int value, size_t size)
{
    char *t = to;
    uint64_t pattern = 0x0101010101010101 * (uint8_t)value;

    for (; size >= 8; size -= 8, t += 8)
        *(word *)t = pattern;
    while (size-- > 0)
        *t++ = (char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a, *y = b;

    for (; size > 0; size--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *text)
{
    size_t size = 0;

    while (text[size] != '\0')
        size++;
    return size;
}

bool same_text(const char *a, const char *b)
{
    size_t size = strlen(a);

    return size == strlen(b) && memcmp(a, b, size) == 0;
}
