/* A Linux program that keeps words in the 128 bytes below its stack pointer, which are its own by the System V ABI for
 * x86-64, and looks at them again and again. Prints `[kept]`, or `[lost]` and exits with status 1. */
#include <stdint.h>
#include <unistd.h>

enum { ROUNDS = 40000000 };

int main(void)
{
    uint64_t changed, rounds = ROUNDS;

    __asm__ volatile("    lea    -128(%%rsp), %%rdi\n"
                     "    mov    $16, %%ecx\n"
                     "1:  mov    %%rcx, -8(%%rdi, %%rcx, 8)\n"
                     "    dec    %%ecx\n"
                     "    jnz    1b\n"
                     "2:  dec    %1\n"
                     "    jnz    2b\n"
                     "    xor    %0, %0\n"
                     "    mov    $16, %%ecx\n"
                     "3:  mov    -8(%%rdi, %%rcx, 8), %%rax\n"
                     "    xor    %%rcx, %%rax\n"
                     "    or     %%rax, %0\n"
                     "    dec    %%ecx\n"
                     "    jnz    3b\n"
                     : "=&r"(changed), "+r"(rounds)
                     :
                     : "rax", "rcx", "rdi", "memory", "cc");
    if (changed != 0)
        (void)!write(1, "[lost]\n", 7);
    else
        (void)!write(1, "[kept]\n", 7);
    return changed != 0;
}
