/* A Linux program that does one thing it must not, and says before what should come of it. As it runs in ring 0 on the
 * reference unikernel, some of it cannot even be tried on Linux.
 *
 *     protection ACT [ADDRESS]
 *
 * prints `[attempt ACT address=LOW-HIGH ip=LOW-HIGH]`, where the fault should say that it happened, and goes ahead; HIGH is
 * included. `[refused ERRNO]` comes before it where a system call refused what had to be refused. What goes well prints
 * `[done ACT]`. ADDRESS is hexadecimal; with `kernel-` before the act it is counted from the kernel's entry for system
 * calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RETURN 0xC3 /* an instruction of one byte */
enum { PAGE = 4096, STACK_BYTES = 8 << 20 };

static const char constant[] = "a constant";
static char in_data[16] = {(char)RETURN};
static const char *act;

extern char load_here[], store_here[], opcode_here[], divide_here[], text_start[] __asm__("__executable_start");

/* ---- the offences, each one instruction at a label ---- */

static void attempt(uint64_t address, uint64_t last, uint64_t ip, uint64_t last_ip)
{
    printf("[attempt %s address=0x%lx-0x%lx ip=0x%lx-0x%lx]\n", act, address, last, ip, last_ip);
}

__attribute__((noinline)) static void load(uint64_t at)
{
    attempt(at, at, (uint64_t)load_here, (uint64_t)load_here);
    __asm__ volatile("load_here: movb (%0), %%al" : : "r"(at) : "rax", "memory");
}

__attribute__((noinline)) static void store(uint64_t at)
{
    attempt(at, at, (uint64_t)store_here, (uint64_t)store_here);
    __asm__ volatile("store_here: movb $1, (%0)" : : "r"(at) : "memory");
}

static void execute(uint64_t at)
{
    attempt(at, at, at, at);
    ((void (*)(void))at)();
}

/* A fault that is not a page fault has no address. */
__attribute__((noinline)) static void bad_opcode(void)
{
    attempt(0, 0, (uint64_t)opcode_here, (uint64_t)opcode_here);
    __asm__ volatile("opcode_here: ud2");
}

__attribute__((noinline)) static void divide(void)
{
    attempt(0, 0, (uint64_t)divide_here, (uint64_t)divide_here);
    __asm__ volatile("divide_here: div %%ecx" : : "a"(1), "d"(0), "c"(0));
}

/* Goes too deep long before it is at the bottom. */
__attribute__((noinline)) static long deeper(long n)
{
    volatile char frame[PAGE];

    frame[0] = (char)n;
    return n == 0 ? 0 : deeper(n - 1) + frame[0];
}

/* ---- where to ---- */

static char *page(int rights) { return mmap(NULL, PAGE, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

static void refused(int result)
{
    if (result == 0)
        printf("[granted]\n");
    else
        printf("[refused %d]\n", errno);
}

static uint64_t kernel_entry(void)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xC0000082));
    return (uint64_t)high << 32 | low;
}

/* The second address of the frame that shows the address: found as the CPU finds it, by the page tables. */
static uint64_t alias(const volatile char *address)
{
    const uint64_t direct_map = 0xffff800000000000, frame_bits = 0x000ffffffffff000;
    uint64_t entry, at = (uint64_t)address;

    (void)*address; /* so that the page is there */
    __asm__ volatile("mov %%cr3, %0" : "=r"(entry));
    for (int shift = 39; shift >= 12; shift -= 9)
        entry = ((const volatile uint64_t *)(direct_map + (entry & frame_bits)))[at >> shift & 511];
    return direct_map + (entry & frame_bits) + at % PAGE;
}

static void flip_to_execute(void)
{
    char *code = page(PROT_READ | PROT_WRITE);

    code[0] = (char)RETURN;
    refused(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
    execute((uint64_t)code);
}

static void flip_to_write(void)
{
    refused(mprotect((void *)((uint64_t)flip_to_write & -PAGE), PAGE, PROT_READ | PROT_WRITE));
    store((uint64_t)flip_to_write);
}

static void map_both(void)
{
    refused(page(PROT_READ | PROT_WRITE | PROT_EXEC) == MAP_FAILED ? -1 : 0);
}

static void load_none(void)
{
    char *none = page(PROT_READ | PROT_WRITE);

    none[1] = 1;
    mprotect(none, PAGE, PROT_NONE);
    load((uint64_t)none + 1);
}

static void load_unmapped(void)
{
    char *gone = page(PROT_READ | PROT_WRITE);

    gone[2] = 1;
    munmap(gone, PAGE);
    load((uint64_t)gone + 2);
}

static void overflow_stack(void)
{
    char here;
    uint64_t highest = (uint64_t)&here;

    attempt(highest - STACK_BYTES - PAGE, highest - STACK_BYTES + 8 * PAGE, (uint64_t)deeper, (uint64_t)deeper + 200);
    printf("%ld\n", deeper(1L << 40));
}

static void use_all_memory(void)
{
    for (char *block; (block = malloc(1 << 20)) != NULL;)
        memset(block, 1, 1 << 20);
    printf("[no more]\n");
}

static void do_at(const char *name, uint64_t address)
{
    if (strcmp(name, "load") == 0)
        load(address);
    if (strcmp(name, "store") == 0)
        store(address);
    if (strcmp(name, "execute") == 0)
        execute(address);
}

int main(int count, char **words)
{
    char on_stack[16] = {(char)RETURN}, *on_heap = malloc(16);
    const char *name = act = count > 1 ? words[1] : "";
    uint64_t address = count > 2 ? strtoull(words[2], NULL, 16) : 0;
    const struct { const char *name; void (*at)(uint64_t); uint64_t address; } places[] = {
        {"store-text", store, (uint64_t)main}, {"store-constant", store, (uint64_t)constant},
        {"execute-stack", execute, (uint64_t)on_stack}, {"execute-data", execute, (uint64_t)in_data},
        {"execute-heap", execute, (uint64_t)on_heap}, {"store-below-stack", store, (uint64_t)on_stack - STACK_BYTES - PAGE},
    };
    static const struct { const char *name; void (*act)(void); } acts[] = {
        {"overflow-stack", overflow_stack}, {"load-none", load_none}, {"load-unmapped", load_unmapped},
        {"flip-to-execute", flip_to_execute}, {"flip-to-write", flip_to_write}, {"map-both", map_both},
        {"bad-opcode", bad_opcode}, {"divide", divide}, {"use-all-memory", use_all_memory},
    };

    setvbuf(stdout, NULL, _IONBF, 0);
    on_heap[0] = (char)RETURN;
    if (strncmp(name, "kernel-", 7) == 0)
        do_at(name + 7, kernel_entry() + address);
    else
        do_at(name, address);
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
        if (strcmp(name, places[i].name) == 0)
            places[i].at(places[i].address);
    for (unsigned i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strcmp(name, acts[i].name) == 0)
            acts[i].act();
    if (strcmp(name, "store-text-alias") == 0)
        store(alias(text_start));
    printf("[done %s]\n", name);
    return 0;
}
