/* The CPU's own interrupt controller, and the second I/O APIC, which QEMU's microvm has for its virtio devices. */
#ifndef APIC_H
#define APIC_H

#include <stdint.h>

/* Lets the old controllers reach the CPU, with or without its own in between. */
void apic_start(void);

/* Has a pin of the second I/O APIC raise that vector from now on. */
void apic_open(unsigned pin, unsigned vector);
void apic_end_of_interrupt(void);

#endif
