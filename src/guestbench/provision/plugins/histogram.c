// A TCG plugin that counts how often each block of code is executed, cut where the guest's console says something.
// Where loops that wait are counted, it also counts all instructions, in groups that are run to the end or not at all: a
// block may end early, by a fault, or by an access to a device where the guest's clock goes on with its instructions, and
// what is left of it is run later.
//
// Arguments: histogram=FILE receives the counts; console=FILE is what QEMU keeps of the serial console (logfile= of its
// character device); text=HEX, repeatable, is a text in whose last byte there is a cut; entry=HEX is the address at which
// the guest's own code begins; waits=on counts loops that wait; blocks=off leaves the lines of blocks out.
//
// The file has lines `ADDRESS INSTRUCTIONS EXECUTIONS`, of what ran since the cut before, and behind them the cut:
// `# console BYTES` when the console held so many, `# upper` before the upper half of the address space is run for the
// first time, `# entry` before the entry is, `# end` at the end. Where loops that wait are counted, before a cut stand
// `# total INSTRUCTIONS`, all so far, and `# waited INSTRUCTIONS`, how many of them were in such loops.
//
// A loop waits if a block with `in`, `rdtsc`, `pause` or `hlt` in it comes again within NEAR instructions, MANY times in a
// row; then all that ran from the first time to the last counts. So does one whose way round is longer, up to FAR, if it
// is steady: VERY_MANY times in a row it has one of few lengths. Linux collects entropy so, and does nothing else meanwhile.
//
// Debian ships no header of the plugin interface, so what is used of it is declared here: of its versions 1 (QEMU 7 and 8)
// to 7 (11). What only some of them have is weak, and is looked for when the plugin is loaded.
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "instructions.h"

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;
#define WEAK __attribute__((weak))
enum { ADD_U64 = 0, NO_REGISTERS = 0 };

int qemu_plugin_version;
int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);
// Two functions under two names each: up to version 6 they hand over the plugin's id, in version 7 data of its own.
void on_translation(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *))
    __asm__("qemu_plugin_register_vcpu_tb_trans_cb");
void on_translation_7(qemu_plugin_id_t id, void (*cb)(struct qemu_plugin_tb *, void *), void *data)
    __asm__("qemu_plugin_register_vcpu_tb_trans_cb");
void on_exit_of(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void *data)
    __asm__("qemu_plugin_register_atexit_cb");
void on_exit_7(qemu_plugin_id_t id, void (*cb)(void *), void *data) __asm__("qemu_plugin_register_atexit_cb");
void WEAK qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter, uint64_t operand);
void WEAK qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb, int op, qemu_plugin_u64 counter,
                                                            uint64_t operand);
struct qemu_plugin_scoreboard *WEAK qemu_plugin_scoreboard_new(size_t size);
uint64_t WEAK qemu_plugin_u64_sum(qemu_plugin_u64 counter);
void WEAK qemu_plugin_register_vcpu_tb_exec_cond_cb(void);   // from version 3 on
bool WEAK qemu_plugin_read_memory_vaddr(uint64_t, void *, size_t); // from version 4 on
void WEAK qemu_plugin_set_pc(uint64_t);                      // in version 7
void WEAK qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *counter, uint64_t operand);
void WEAK qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn, int op, qemu_plugin_u64 counter,
                                                              uint64_t operand);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*cb)(unsigned, void *), int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t number);
// One function under two names: up to version 2 it gives a pointer, from version 3 on it copies.
const void *point_to_code(const struct qemu_plugin_insn *insn) __asm__("qemu_plugin_insn_data");
size_t copy_code(const struct qemu_plugin_insn *insn, void *to, size_t length) __asm__("qemu_plugin_insn_data");
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

enum { NEAR = 256, MANY = 16, FAR = 8192, VERY_MANY = 1000, LENGTHS = 8, STRAY = 3 };
enum { BUCKETS = 1 << 16, MOST_TEXTS = 64, LONGEST_TEXT = 512, MOST_CUTS = 16, READ_BYTES = 4096 };

// A number that is added to without a call: one for all CPUs, or, from version 2 on, one for each.
struct counter {
    uint64_t number;
    struct qemu_plugin_scoreboard *score;
};

// How a block came again so far: its last ways round, how often one of them came again, and how often none did since.
struct rounds {
    uint64_t last, waited; // when it came last, of all
    uint64_t pending, before; // in rounds that do not count yet, and what had been waited before them
    uint16_t lengths[LENGTHS];
    unsigned steady, strays, oldest;
};

struct block {
    uint64_t address, instructions, written;
    struct counter executions;
    struct rounds rounds;
    struct block *next;
};

// The loop that may be one that waits: the block that closes it, when that came last, how often it came again in a row,
// and the instructions since it came first that do not count yet.
struct loop {
    struct block *block, *rival; // another such block that came since
    uint64_t last, rival_last, pending;
    unsigned again;
};

struct text {
    uint8_t bytes[LONGEST_TEXT];
    size_t length;
    int cuts;
};

static struct block *blocks[BUCKETS];
static struct text texts[MOST_TEXTS];
static int text_count;
static FILE *output;
static int console = -1;
static off_t console_bytes;
static uint8_t tail[LONGEST_TEXT + READ_BYTES]; // the last bytes of the console, for texts that come in several parts
static size_t tail_length;
static bool moved_up, entered, counts_waits, tells_blocks = true;
static uint64_t entry = UINT64_MAX;
static struct counter total;
static uint64_t waited;
static uint64_t wrote_at, wrote_waited; // both when something was last written to a port
static struct loop loop;
static struct block *steady; // the block of the longer loop that waits, while it does

// Before QEMU asks for the version.
__attribute__((constructor)) static void choose_version(void)
{
    qemu_plugin_version = 1;
    if (qemu_plugin_set_pc)
        qemu_plugin_version = 7;
    else if (qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu)
        qemu_plugin_version = qemu_plugin_read_memory_vaddr ? 4 : qemu_plugin_register_vcpu_tb_exec_cond_cb ? 3 : 2;
}

static void make_counter(struct counter *counter)
{
    if (qemu_plugin_version > 1)
        counter->score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
}

static uint64_t read_counter(const struct counter *counter)
{
    return counter->score ? qemu_plugin_u64_sum((qemu_plugin_u64){.score = counter->score}) : counter->number;
}

// Counts a block.
static void count_block(struct qemu_plugin_tb *tb, struct counter *counter)
{
    if (counter->score)
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, ADD_U64, (qemu_plugin_u64){.score = counter->score}, 1);
    else
        qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &counter->number, 1);
}

// Counts an instruction, and with it as many behind it as make `count`.
static void count_instructions(struct qemu_plugin_insn *insn, struct counter *counter, uint64_t count)
{
    if (counter->score)
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, ADD_U64, (qemu_plugin_u64){.score = counter->score}, count);
    else
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &counter->number, count);
}

static void write_blocks(void)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct block *b = blocks[i]; b; b = b->next)
        {
            uint64_t executions = read_counter(&b->executions);
            if (executions == b->written)
                continue;
            fprintf(output, "%llx %llu %llu\n", (unsigned long long)b->address, (unsigned long long)b->instructions,
                    (unsigned long long)(executions - b->written));
            b->written = executions;
        }
}

static void cut(const char *what, long long bytes)
{
    if (tells_blocks)
        write_blocks();
    // What the console holds was written then, however late it is seen.
    if (counts_waits)
        fprintf(output, "# total %llu\n# waited %llu\n", (unsigned long long)(bytes >= 0 ? wrote_at : read_counter(&total)),
                (unsigned long long)(bytes >= 0 ? wrote_waited : waited));
    if (bytes >= 0)
        fprintf(output, "# %s %lld\n", what, bytes);
    else
        fprintf(output, "# %s\n", what);
}

static bool remember(struct rounds *rounds, uint16_t length)
{
    for (int i = 0; i < LENGTHS; i++)
        if (rounds->lengths[i] == length)
            return true;
    rounds->lengths[rounds->oldest++ % LENGTHS] = length;
    return false;
}

// Whether a block is that of a longer loop which waits. An interrupt makes a round longer, and does not end it.
static void come_round(struct block *block, uint64_t now)
{
    struct rounds *rounds = &block->rounds;
    uint64_t since = now - rounds->last, waited_then = rounds->waited;

    rounds->last = now;
    rounds->waited = waited;
    bool near = since <= FAR;
    if (near && remember(rounds, (uint16_t)since)) {
        rounds->strays = 0;
        rounds->steady++;
    } else if (++rounds->strays > STRAY) {
        rounds->steady = 0;
        if (steady == block)
            steady = NULL;
    }
    if (near && rounds->steady) {
        if (rounds->steady == 1) {
            rounds->pending = 0;
            rounds->before = waited_then;
        }
        rounds->pending += since;
        bool left = !steady || now - steady->rounds.last > 8 * FAR;
        if (left && rounds->steady >= VERY_MANY)
            steady = block;
        if (steady == block) {
            // What another loop was found to wait in the same rounds is counted already.
            uint64_t counted = waited - rounds->before;
            waited += rounds->pending > counted ? rounds->pending - counted : 0;
            rounds->pending = 0;
            rounds->before = waited;
        }
    }
}

// A block with an instruction in it that waiting loops have is run.
static void come_by(unsigned cpu, void *data)
{
    (void)cpu;
    uint64_t now = read_counter(&total), since = now - loop.last;
    come_round(data, now);
    if (loop.block != data) {
        if (loop.rival != data) {
            loop.rival = data;
            loop.rival_last = now;
            return;
        }
        // It came again and the other did not, whose loop is over.
        loop = (struct loop){.block = data, .last = loop.rival_last};
        since = now - loop.last;
    }
    loop.rival = NULL;
    loop.last = now;
    if (since > NEAR) {
        loop.again = 0;
        loop.pending = 0;
        return;
    }
    loop.pending += since;
    if (++loop.again >= MANY) {
        waited += loop.pending;
        loop.pending = 0;
    }
}

// Whether any text ends in one of the last `fresh` bytes of the tail. One that comes again and again stops counting.
static bool find_text(size_t fresh)
{
    bool found = false;
    for (int i = 0; i < text_count; i++) {
        struct text *text = &texts[i];
        size_t from = tail_length - fresh;
        from = from >= text->length ? from - text->length + 1 : 0;
        if (text->cuts < MOST_CUTS && memmem(tail + from, tail_length - from, text->bytes, text->length)) {
            text->cuts++;
            found = true;
        }
    }
    return found;
}

// Looks at what the console has got since the last look.
static void look(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    for (;;) {
        if (tail_length > LONGEST_TEXT) {
            memmove(tail, tail + tail_length - LONGEST_TEXT, LONGEST_TEXT);
            tail_length = LONGEST_TEXT;
        }
        ssize_t got = pread(console, tail + tail_length, READ_BYTES, console_bytes);
        if (got <= 0)
            return;
        tail_length += (size_t)got;
        console_bytes += got;
        if (find_text((size_t)got))
            cut("console", (long long)console_bytes);
    }
}

// Something is about to be written to a port, by an instruction that does not count yet.
static void write_port(unsigned cpu, void *data)
{
    (void)data;
    look(cpu, NULL);
    wrote_at = read_counter(&total) + 1;
    wrote_waited = waited;
}

enum { PAGE_BYTES = 4096 };

// The first bytes of an instruction; how many there are.
static size_t read_code(const struct qemu_plugin_insn *insn, uint8_t code[LONGEST_INSTRUCTION])
{
    size_t length = qemu_plugin_insn_size(insn);
    length = length < LONGEST_INSTRUCTION ? length : LONGEST_INSTRUCTION;
    if (qemu_plugin_version > 2)
        return copy_code(insn, code, length);
    memcpy(code, point_to_code(insn), length);
    return length;
}

// An instruction that may reach into the next page. QEMU up to 8.0 shows such a one at the end of a block, and leaves it to
// the next block.
static bool may_be_left(const struct qemu_plugin_insn *insn)
{
    return qemu_plugin_insn_vaddr(insn) % PAGE_BYTES > PAGE_BYTES - LONGEST_INSTRUCTION;
}

static struct block *find_block(uint64_t address, uint64_t instructions)
{
    struct block **bucket = &blocks[(address * 0x9E3779B97F4A7C15u) >> 48], *block = *bucket;
    while (block && (block->address != address || block->instructions != instructions))
        block = block->next;
    if (!block) {
        block = calloc(1, sizeof *block);
        if (!block)
            abort();
        *block = (struct block){.address = address, .instructions = instructions, .next = *bucket};
        make_counter(&block->executions);
        *bucket = block;
    }
    return block;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    uint64_t address = qemu_plugin_tb_vaddr(tb);
    size_t count = qemu_plugin_tb_n_insns(tb);
    if (!moved_up && address >> 63) {
        // A block is translated just before it is run for the first time.
        moved_up = true;
        cut("upper", -1);
    }
    if (!entered && address == entry) {
        entered = true;
        cut("entry", -1);
    }
    // Looking a block up takes as long as all else that is done here, where there are a million.
    if (tells_blocks) {
        struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, count - 1);
        bool apart = count > 1 && may_be_left(last);
        count_block(tb, &find_block(address, count - apart)->executions);
        if (apart)
            count_instructions(last, &find_block(qemu_plugin_insn_vaddr(last), 1)->executions, 1);
    }
    uint8_t kinds[count], code[LONGEST_INSTRUCTION];
    int all = 0;
    for (size_t i = 0; i < count; i++)
        all |= kinds[i] = (uint8_t)classify(code, read_code(qemu_plugin_tb_get_insn(tb, i), code));
    if (counts_waits && all & MAY_WAIT)
        qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, 0), come_by, NO_REGISTERS, find_block(address, count));
    // The byte that an out has written is there before the next instruction. Where that is in another block, the next out
    // finds it.
    bool wrote = false;
    size_t counted = 0;
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        bool writes = kinds[i] & WRITES_PORT;
        if (console >= 0 && (wrote || writes))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, writes ? write_port : look, NO_REGISTERS, NULL);
        wrote = writes;
        if (!counts_waits || i < counted)
            continue;
        // Behind the calls, which see what came before: an instruction that makes one is the first of its group.
        counted = i + 1;
        while (counted < count && kinds[counted - 1] & GOES_ON && !(kinds[counted] & WRITES_PORT) &&
               !may_be_left(qemu_plugin_tb_get_insn(tb, counted)))
            counted++;
        count_instructions(insn, &total, counted - i);
    }
}

static void end(qemu_plugin_id_t id, void *data)
{
    (void)id;
    (void)data;
    if (console >= 0)
        look(0, NULL);
    cut("end", -1);
    fclose(output);
}

static void translate_7(struct qemu_plugin_tb *tb, void *data)
{
    (void)data;
    translate(0, tb);
}

static void end_7(void *data)
{
    end(0, data);
}

static bool add_text(const char *hex)
{
    struct text *text = &texts[text_count];
    unsigned byte;
    if (text_count == MOST_TEXTS || strlen(hex) / 2 > LONGEST_TEXT)
        return false;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        text->bytes[text->length++] = (uint8_t)byte;
    text_count += text->length > 0;
    return true;
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "histogram=", 10))
            output = fopen(argv[i] + 10, "w");
        else if (!strncmp(argv[i], "console=", 8))
            console = open(argv[i] + 8, O_RDONLY);
        else if (!strncmp(argv[i], "entry=", 6))
            entry = strtoull(argv[i] + 6, NULL, 16);
        else if (!strncmp(argv[i], "waits=", 6))
            counts_waits = !strcmp(argv[i] + 6, "on");
        else if (!strncmp(argv[i], "blocks=", 7))
            tells_blocks = strcmp(argv[i] + 7, "off");
        else if (strncmp(argv[i], "text=", 5) || !add_text(argv[i] + 5))
            return -1;
    }
    if (!output)
        return -1;
    make_counter(&total);
    if (qemu_plugin_version < 7) {
        on_translation(id, translate);
        on_exit_of(id, end, NULL);
    } else {
        on_translation_7(id, translate_7, NULL);
        on_exit_7(id, end_7, NULL);
    }
    return 0;
}
