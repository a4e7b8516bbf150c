/*
 * A workload program that misbehaves on purpose, as its one argument says. It begins as the contract wants it,
 * and with the same line each time:
 *
 *   good     does its work, which is none, and says so
 *   crashes  writes to address 0 after it has begun
 *   lies     ends with another digest than `good` does
 *   fails    ends like `good`, and then with status 3
 *   hangs    never ends
 *   eats     touches one page of memory after the other, without end
 *   silent   ends without a word
 *
 * As the only process of a kernel it turns the machine off where it would end, as a workload has to.
 */

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

enum { WRITE = 1, MMAP = 9, IOCTL = 16, GETPID = 39, REBOOT = 169, EXIT = 231 };

static void say(const char *text)
{
    long length = 0;

    while (text[length])
        length++;
    call(WRITE, 1, (long)text, length, 0, 0, 0);
}

static _Noreturn void finish(long status)
{
    enum { TCSBRK = 0x5409 };

    if (call(GETPID, 0, 0, 0, 0, 0, 0) == 1) {
        /* The last line may still be on its way out of the serial port. */
        call(IOCTL, 1, TCSBRK, 1, 0, 0, 0);
        call(REBOOT, 0xfee1dead, 0x28121969, 0x4321fedc, 0, 0, 0);
    }
    for (;;)
        call(EXIT, status, 0, 0, 0, 0, 0);
}

static _Noreturn void eat(void)
{
    enum { SIZE = 1 << 20, READ_WRITE = 3, PRIVATE_ANONYMOUS = 0x22 };

    for (;;) {
        volatile char *block = (char *)call(MMAP, 0, SIZE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
        if ((long)block < 0 && (long)block > -4096)
            finish(1);
        for (long at = 0; at < SIZE; at += 4096)
            block[at] = 1;
    }
}

_Noreturn void run(char **arguments);
_Noreturn void run(char **arguments)
{
    const char *end = "[work end misworks done=1 digest=00000000000000000000000000000000 guest_ns=1]\n";
    char mode = arguments[1] ? arguments[1][0] : 's';

    if (mode == 's')
        finish(0);
    say("[work begin misworks source=0123456789abcdef compiler=gcc flags=-O2 size=1]\n");
    if (mode == 'c')
        *(volatile char *)0 = 1;
    if (mode == 'h')
        for (;;)
            ;
    if (mode == 'e')
        eat();
    if (mode == 'l')
        end = "[work end misworks done=1 digest=11111111111111111111111111111111 guest_ns=1]\n";
    say(end);
    finish(mode == 'f' ? 3 : 0);
}

__asm__(".globl _start\n"
        "_start: mov %rsp, %rdi\n"
        "        add $8, %rdi\n"
        "        and $-16, %rsp\n"
        "        call run\n");
