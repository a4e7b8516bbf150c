/* The Internet checksum (RFC 1071) in words of 8 bytes: under emulation, the number of loads is what it costs. */
#include "parts.h"

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

uint16_t network_checksum(const void *bytes, int size)
{
    const uint8_t *next = bytes;
    uint64_t sum = 0, last = 0;

    for (; size >= 8; size -= 8, next += 8) {
        uint64_t value = *(const word *)next;

        sum += value;
        sum += sum < value; /* the carry comes in again below */
    }
    for (int i = 0; i < size; i++)
        last |= (uint64_t)next[i] << 8 * i;
    sum += last;
    sum += sum < last;
    sum = (sum >> 32) + (uint32_t)sum;
    sum = (sum >> 32) + (uint32_t)sum;
    sum = (sum >> 16) + (uint16_t)sum;
    sum = (sum >> 16) + (uint16_t)sum;
    return (uint16_t)((sum >> 16) + (uint16_t)sum);
}
