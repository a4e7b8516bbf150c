/* Exceptions, interrupts, and the entry of system calls. */
#ifndef TRAPS_H
#define TRAPS_H

#include <stdint.h>

/* Loads the tables of the CPU: descriptors, task state with its stacks, interrupts, and the system call's entry. */
void traps_start(void);

#endif
