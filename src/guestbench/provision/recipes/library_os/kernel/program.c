/* Loads the program and builds the stack that it starts on, as the System V ABI for x86-64 describes it. */
#include "program.h"

#include "clock.h"
#include "elf.h"
#include "machine.h"
#include "memory.h"

#define MOVABLE_BASE 0x550000000000ull /* where static-pie programs lie on Linux, roughly */
enum { STACK_BYTES = 8 << 20, STACK_GUARD_BYTES = 1 << 20, BASE_BITS = 22, GAP_BITS = 22 };
enum { INTERRUPTS_ON = 0x202, INTERRUPTS_OFF = 0x002 };
enum { AT_NULL, AT_PHDR = 3, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY, AT_UID = 11, AT_EUID, AT_GID,
       AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE = 23, AT_RANDOM = 25, AT_EXECFN = 31 };

static uint64_t end_of_program;

uint64_t program_end(void) { return end_of_program; }

static uint64_t random_pages(unsigned bits)
{
    uint64_t value;

    random_bytes(&value, sizeof value);
    return (value & ((1ull << bits) - 1)) * PAGE;
}

/* Puts bytes below `*stack`; returns where they lie. The pages come by fault, as when the program writes. */
static uint64_t put(uint64_t *stack, const void *bytes, uint64_t size)
{
    *stack -= size;
    memcpy((void *)*stack, bytes, size);
    return *stack;
}

static uint64_t put_text(uint64_t *stack, const char *text) { return put(stack, text, strlen(text) + 1); }

/* Returns the stack pointer: argc, the arguments, the environment and the auxiliary vector lie from there upwards. */
static uint64_t build_stack(uint64_t stack, const struct elf_program *program, uint64_t bias,
                            const struct command_line *line)
{
    uint8_t seed[16];
    uint64_t words[2 + 128 + 32 + 2 + 2 * 18], count = 0, file_name;

    random_bytes(seed, sizeof seed);
    words[count++] = line->argument_count;
    for (unsigned i = 0; i < line->argument_count; i++)
        words[count++] = put_text(&stack, line->arguments[i]);
    words[count++] = 0;
    for (unsigned i = 0; i < line->environment_count; i++)
        words[count++] = put_text(&stack, line->environment[i]);
    words[count++] = 0;
    file_name = put_text(&stack, line->arguments[0]);

    const uint64_t vector[] = {
        AT_PHDR, program->headers != 0 ? program->headers + bias : 0, AT_PHENT, program->header_size,
        AT_PHNUM, program->header_count, AT_PAGESZ, PAGE, AT_BASE, 0, AT_FLAGS, 0, AT_ENTRY, program->entry + bias, AT_UID, 0, AT_EUID, 0, AT_GID, 0,
        AT_EGID, 0, AT_PLATFORM, put_text(&stack, "x86_64"), AT_HWCAP, cpuid(1, 0).d, AT_CLKTCK, 100, AT_SECURE, 0,
        AT_RANDOM, put(&stack, seed, sizeof seed), AT_EXECFN, file_name, AT_NULL, 0,
    };
    memcpy(words + count, vector, sizeof vector);
    count += sizeof vector / sizeof *vector;
    /* The ABI wants argc at a multiple of 16. */
    stack = (stack - count * sizeof *words) & ~15ull;
    memcpy((void *)stack, words, count * sizeof *words);
    return stack;
}

void program_start(const struct file *file, const struct command_line *line)
{
    struct elf_program program;
    const char *wrong = elf_parse(file->bytes, file->size, &program);
    uint64_t bias = 0, stack = ADDRESS_END - random_pages(GAP_BITS);

    if (wrong != NULL)
        give_up("%s %s", file->name, wrong);
    if (program.movable)
        bias = MOVABLE_BASE + random_pages(BASE_BITS);
    if (elf_map(&program, file->bytes, bias) != 0)
        give_up("%s cannot be mapped", file->name);
    end_of_program = program.end + bias;
    if (area_map((struct area){.start = stack - STACK_BYTES, .end = stack, .rights = READ | WRITE}) != 0)
        give_up("no room for the program's stack");
    /* Nothing is ever placed in the stretch below the stack: running over its end has to fault. */
    areas_set_top(stack - STACK_BYTES - STACK_GUARD_BYTES - random_pages(GAP_BITS));
    stack = build_stack(stack, &program, bias, line);
    enter_program(program.entry + bias, stack, line->timer_hertz > 0 ? INTERRUPTS_ON : INTERRUPTS_OFF);
}
