/* Behaviours on request: known quantities, against which an instrument that watches this system can be checked. */
#ifndef CALIBRATION_H
#define CALIBRATION_H

#include <stdint.h>

/* The options that ask for them are in command_line.c. */
enum behaviour {
    READY_AFTER_MS, READY_AFTER_INSTRUCTIONS, TOUCH_MIB, WRITE_BYTES, HANG, HALT, HOSTILE, REPORT_MEMORY,
    FAULT_NULL, FAULT_TEXT, FAULT_RODATA, FAULT_STACK_EXEC, FAULT_DATA_EXEC, FAULT_GUARD, FAULT_DIVIDE, FAULT_OPCODE,
    FAULT_GENERAL
};

struct request {
    enum behaviour behaviour;
    uint64_t amount; /* of those that have one: what the option's name says it counts */
};

/* Does it. Needs memory, traps, and the console. Does not return from HANG, HALT, and the faults. */
void perform(const struct request *request);

#endif
