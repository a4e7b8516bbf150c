/* What lwIP wants to know about compiler and machine. */
#ifndef ARCH_CC_H
#define ARCH_CC_H

#include <stddef.h>
#include <stdint.h>

#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_LIMITS_H 1
#define LWIP_NO_CTYPE_H 1
#define LWIP_NO_UNISTD_H 1
#define SSIZE_MAX INT64_MAX /* lwIP's sign that there is a ssize_t; its own would not be that of Linux */
typedef long ssize_t;

/* From the kernel, declared here so that lwIP's own files see nothing else of it. */
_Noreturn void give_up(const char *format, ...);
uint32_t network_random(void);
uint16_t network_checksum(const void *bytes, int size);
void *heap_take(size_t size);
void *heap_take_zeroed(size_t count, size_t size);
void heap_give_back(void *block);

#define LWIP_PLATFORM_DIAG(arguments) do { } while (0)
#define LWIP_PLATFORM_ASSERT(text) give_up("lwIP: %s", text)
#define LWIP_RAND() network_random()
#define LWIP_CHKSUM network_checksum

#endif
