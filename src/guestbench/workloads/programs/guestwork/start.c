/* Where the kernel enters the program, and what the compiler takes for granted. */

#include "guestwork.h"

_Noreturn void start(long *stack);
double sqrt(double x);

/* The kernel puts argc and argv on the stack; the stack is aligned to 16 bytes, as `start` expects it. */
__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    call start\n");

/* Compilers use the instruction for every number but a negative one, for which the library must set errno:
 * the branch to it is part of the work of a program in C, so it is kept, and its end must exist. */
double sqrt(double x)
{
    return x;
}
