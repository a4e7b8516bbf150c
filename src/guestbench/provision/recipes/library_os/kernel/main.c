/* The order in which the machine starts; what the boot loader left is read here and nowhere else. */
#include "console.h"
#include "events.h"
#include "machine.h"
#include "memory.h"
#include "network.h"
#include "program.h"
#include "syscalls.h"
#include "traps.h"

enum { LOWEST_FRAME = 0x10000, USABLE = 1 }; /* the firmware's data lie below */
enum { RANGES = 16 };

/* ---- Multiboot: everything is behind the kernel, and its information points to it. ---- */

enum { MULTIBOOT_MAGIC = 0x2BADB002, HAS_COMMAND_LINE = 4, HAS_MODULES = 8, HAS_MEMORY_MAP = 64 };

struct multiboot {
    uint32_t flags, memory_lower, memory_upper, boot_device, command_line, module_count, modules, symbols[4];
    uint32_t map_size, map;
};
struct multiboot_module { uint32_t start, end, name, reserved; };
struct __attribute__((packed)) multiboot_memory { uint32_t size; uint64_t start, length; uint32_t type; };

/* ---- PVH: the same in a list of its own, anywhere in memory. ---- */

enum { PVH_MAGIC = 0x336EC578 };

struct pvh {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, acpi, map;
    uint32_t map_count, reserved;
};
struct pvh_module { uint64_t start, size, name, reserved; };
struct pvh_memory { uint64_t start, length; uint32_t type, reserved; };

/* ---- What main goes by, whichever it was. ---- */

struct range { uint64_t start, end; };

static struct {
    char *command_line;
    struct range memory[RANGES], used[RANGES]; /* the used ones may overlap, and lie outside of memory */
    struct file files[FILES];
    unsigned memory_count, used_count, file_count;
} loaded;

static struct command_line line;

_Noreturn void main(uint64_t loader_address, uint32_t magic);

static uint64_t higher(uint64_t a, uint64_t b) { return a > b ? a : b; }

static void add_memory(uint64_t start, uint64_t length, uint32_t type)
{
    if (type == USABLE && loaded.memory_count < RANGES)
        loaded.memory[loaded.memory_count++] = (struct range){start, start + length};
}

static void add_used(uint64_t start, uint64_t size)
{
    loaded.used[loaded.used_count++] = (struct range){start, start + size};
}

static const char *base_name(char *path)
{
    const char *name = path;

    for (; *path != '\0' && *path != ' '; path++)
        if (*path == '/')
            name = path + 1;
    *path = '\0'; /* the rest are arguments of the module, which have no meaning here */
    return name;
}

static void add_file(uint64_t start, uint64_t size, const char *name)
{
    if (loaded.file_count == FILES)
        give_up("-initrd names more than %u files", (uint64_t)FILES);
    if (start % PAGE != 0)
        give_up("the loader put a file at %x, not on a page of its own", start);
    loaded.files[loaded.file_count++] = (struct file){name, direct(start), size};
}

static void read_multiboot(const struct multiboot *loader)
{
    const struct multiboot_module *modules = direct(loader->modules);
    const char *at = direct(loader->map), *map_end = at + loader->map_size;
    uint64_t end = physical(image_end);

    if ((loader->flags & HAS_COMMAND_LINE) == 0 || (loader->flags & HAS_MEMORY_MAP) == 0)
        give_up("the boot loader gave no command line or no memory map");
    while (at < map_end) {
        const struct multiboot_memory *memory = (const void *)at;

        add_memory(memory->start, memory->length, memory->type);
        at += memory->size + sizeof memory->size;
    }
    loaded.command_line = direct(loader->command_line);
    end = higher(end, loader->command_line + strlen(loaded.command_line) + 1);
    while (*loaded.command_line != '\0' && *loaded.command_line != ' ') /* the name of the kernel */
        loaded.command_line++;
    if ((loader->flags & HAS_MODULES) != 0) {
        end = higher(end, loader->modules + loader->module_count * sizeof *modules);
        for (const struct multiboot_module *m = modules; m < modules + loader->module_count; m++) {
            end = higher(end, higher(m->end, m->name + strlen(direct(m->name)) + 1));
            add_file(m->start, m->end - m->start, base_name(direct(m->name)));
        }
    }
    add_used(IMAGE_PHYSICAL, end - IMAGE_PHYSICAL);
}

static void read_pvh(const struct pvh *loader)
{
    const struct pvh_memory *map = direct(loader->map);
    const struct pvh_module *modules = direct(loader->modules);

    if (loader->version < 1 || loader->command_line == 0)
        give_up("the boot loader gave no command line or no memory map");
    for (unsigned i = 0; i < loader->map_count; i++)
        add_memory(map[i].start, map[i].length, map[i].type);
    loaded.command_line = direct(loader->command_line);
    add_used(loader->command_line, strlen(loaded.command_line) + 1);
    add_used(IMAGE_PHYSICAL, physical(image_end) - IMAGE_PHYSICAL);
    for (unsigned i = 0; i < loader->module_count; i++) {
        add_file(modules[i].start, modules[i].size, "program"); /* QEMU has but one, and gives no name */
        add_used(modules[i].start, modules[i].size);
    }
}

/* Hands out [start, end) without what is in use, of which the first `first` ranges are known not to be in it. */
static void hand_out(uint64_t start, uint64_t end, unsigned first)
{
    for (; first < loaded.used_count && start < end; first++) {
        const struct range *used = &loaded.used[first];

        if (used->start >= end || used->end <= start)
            continue;
        hand_out(start, used->start, first + 1);
        start = page_up(used->end);
    }
    frames_add(start, end);
}

/* Gives up where the loader had too little memory: it then writes to addresses without any, and does not say so. */
static void check_in_memory(const struct range *used)
{
    for (unsigned i = 0; i < loaded.memory_count; i++)
        if (used->start < IMAGE_PHYSICAL || (loaded.memory[i].start <= used->start && used->end <= loaded.memory[i].end))
            return;
    give_up("not enough memory: kernel and files reach up to %u KiB", used->end / 1024);
}

/* Returns where the highest memory ends. */
static uint64_t start_memory(void)
{
    uint64_t highest = 0;

    for (unsigned i = 0; i < loaded.used_count; i++)
        check_in_memory(&loaded.used[i]);
    for (unsigned i = 0; i < loaded.memory_count; i++) {
        highest = higher(highest, loaded.memory[i].end);
        hand_out(higher(loaded.memory[i].start, LOWEST_FRAME), loaded.memory[i].end, 0);
    }
    return highest;
}

void main(uint64_t loader_address, uint32_t magic)
{
    console_start();
    traps_start();
    if (magic == MULTIBOOT_MAGIC)
        read_multiboot(direct(loader_address));
    else if (magic == PVH_MAGIC)
        read_pvh(direct(loader_address));
    else
        give_up("not started by a multiboot or PVH loader");
    paging_start(start_memory());
    areas_start();
    command_line_parse(loaded.command_line, &line);
    for (unsigned i = 0; i < loaded.file_count; i++) {
        uint64_t start = (uint64_t)loaded.files[i].bytes - DIRECT_MAP;

        paging_make_read_only(start, start + loaded.files[i].size);
    }
    for (unsigned i = 0; i < line.request_count; i++)
        perform(&line.requests[i]);
    if (line.argument_count == 0 && line.request_count > 0)
        power_off(0);
    if (line.argument_count == 0 || loaded.file_count == 0)
        give_up("-initrd has to bring the program, and -append to name it");
    files_start(loaded.files, loaded.file_count, &line);
    if (line.network != NULL)
        network_configure(line.network);
    if (line.timer_hertz > 0)
        timer_start(line.timer_hertz);
    program_start(&loaded.files[0], &line);
}
