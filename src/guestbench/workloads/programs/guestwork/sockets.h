/* Socket addresses and constants of Linux, as far as they are used. */
#ifndef GUESTWORK_SOCKETS_H
#define GUESTWORK_SOCKETS_H

#include <stdint.h>

enum { INTERNET = 2, STREAM = 1, DATAGRAM = 2, NONBLOCK = 0x800 };

/* The kernel's struct sockaddr_in; address and port are in the order of the network. */
struct socket_address {
    uint16_t family;
    uint16_t port;
    uint32_t address;
    uint8_t unused[8];
};

static inline struct socket_address internet_address(uint32_t address, uint16_t port)
{
    return (struct socket_address){INTERNET, __builtin_bswap16(port), address, {0}};
}

#endif
