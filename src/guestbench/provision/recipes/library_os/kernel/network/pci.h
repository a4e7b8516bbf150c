/* Configuration space of PCI bus 0, and the ports wider than a byte that its devices have. */
#ifndef PCI_H
#define PCI_H

#include <stdint.h>

static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint16_t in16(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

enum { PCI_ADDRESS = 0xCF8, PCI_DATA = 0xCFC, PCI_SLOTS = 32 };
enum { PCI_ID = 0x00, PCI_COMMAND = 0x04, PCI_BAR_0 = 0x10, PCI_INTERRUPT = 0x3C }; /* offsets of words of 4 bytes */
enum { PCI_IO_SPACE = 1, PCI_BUS_MASTER = 4 }; /* bits of the command */

static inline uint32_t pci_read(unsigned slot, unsigned offset)
{
    out32(PCI_ADDRESS, 0x80000000 | slot << 11 | offset);
    return in32(PCI_DATA);
}

static inline void pci_write(unsigned slot, unsigned offset, uint32_t value)
{
    out32(PCI_ADDRESS, 0x80000000 | slot << 11 | offset);
    out32(PCI_DATA, value);
}

#endif
