/* What the parts of the network see of one another: options, memory, device, interface. */
#ifndef PARTS_H
#define PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "network.h"
#include "memory.h"

struct pbuf;

/* What a device has to be given for an address in the direct map. */
static inline uint64_t physical_address(const void *address) { return (uint64_t)address - DIRECT_MAP; }

/* ---- network_options.c ---- */

enum network_mode { NETWORK_FIXED, NETWORK_DHCP, NETWORK_OFF };

/* Addresses with their first byte in the lowest bits, as they are in memory. */
struct network_options {
    enum network_mode mode;
    uint32_t address, mask, gateway; /* of NETWORK_FIXED; gateway 0: none */
};

/* Reads `off`, `dhcp` or ADDRESS/BITS[,GATEWAY]. NULL, or what is wrong with it. */
const char *network_options_parse(const char *text, struct network_options *options);

/* ---- interface.c ---- */

/* Takes a frame in, behind which 8 bytes of zeros can be read; the packet is lwIP's from here on. */
void network_frame(struct pbuf *frame);

uint32_t network_random(void);
uint16_t network_checksum(const void *bytes, int size);
uint32_t network_address(void);

/* ---- heap.c ---- */

/* A page, contents undefined; NULL where the network has had its part of the memory. */
void *network_page_take(void);
void network_page_give_back(void *page);

/* A block of up to 2,032 bytes, at a multiple of 16; NULL where there is none. */
void *heap_take(size_t size);
void *heap_take_zeroed(size_t count, size_t size);
void heap_give_back(void *block);

/* ---- virtio_net.c ---- */

/* Finds the device and starts it. False where there is none that can be used. */
bool device_start(uint8_t hardware_address[6]);

/* Hands every frame received to network_frame, at most a ring full of them; gives back what has been sent. */
void device_work(void);

/* Queues a frame; the packet is kept until it is sent. False where the ring is full. */
bool device_send(struct pbuf *frame);

/* Tells the device what was queued. */
void device_flush(void);

/* Whether the device is to interrupt. Returns whether there is work already. */
bool device_interrupts(bool on);

#endif
