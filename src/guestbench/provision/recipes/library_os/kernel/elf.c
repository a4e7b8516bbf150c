/* The ELF loader. The file is hostile until elf_parse has accepted it: every sum is checked before it is made. */
#include "elf.h"

#include "machine.h"
#include "memory.h"

enum { TYPE_EXEC = 2, TYPE_DYN = 3, MACHINE_X86_64 = 62, LOAD = 1, INTERPRETER = 3 };
/* Leaves room above for the distance by which a movable program is moved, and for the stack. */
#define HIGHEST_END 0x200000000000ull
enum { FLAG_EXECUTE = 1, FLAG_WRITE = 2, FLAG_READ = 4 };

struct file_header {
    uint8_t magic[4], class, order, version, abi, padding[8];
    uint16_t type, machine;
    uint32_t version_again;
    uint64_t entry, program_headers, section_headers;
    uint32_t flags;
    uint16_t size, program_header_size, program_header_count, section_header_size, section_header_count, names;
};

struct program_header {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_size, size, alignment;
};

static const char *check_header(const struct file_header *header, uint64_t size)
{
    static const uint8_t wanted[7] = {0x7F, 'E', 'L', 'F', 2, 1, 1};

    if (size < sizeof *header || memcmp(header->magic, wanted, sizeof wanted) != 0)
        return "is not a 64-bit little-endian ELF file";
    if (header->machine != MACHINE_X86_64)
        return "is not for x86-64";
    if (header->type != TYPE_EXEC && header->type != TYPE_DYN)
        return "is not a program";
    if (header->program_header_size != sizeof(struct program_header))
        return "has program headers of a strange size";
    if (header->program_headers % 8 != 0 || header->program_headers > size ||
        header->program_header_count > (size - header->program_headers) / sizeof(struct program_header))
        return "has its program headers outside of the file";
    return NULL;
}

static const char *add_segment(struct elf_program *program, const struct program_header *header, uint64_t size)
{
    struct elf_segment *segment = &program->segments[program->segment_count];

    if (program->segment_count == ELF_SEGMENTS)
        return "has too many segments";
    if (header->offset > size || header->file_size > size - header->offset || header->file_size > header->size)
        return "has a segment outside of the file";
    if (header->address >= HIGHEST_END || header->size > HIGHEST_END - header->address)
        return "has a segment outside of the address space";
    if (header->address % PAGE != header->offset % PAGE)
        return "has a segment that lies in its page otherwise than in the file";
    if ((header->flags & FLAG_WRITE) != 0 && (header->flags & FLAG_EXECUTE) != 0)
        return "has a segment both writable and executable";
    if (program->segment_count == 0)
        program->start = page_down(header->address);
    else if (page_down(header->address) < program->end)
        return "has segments out of order, or two in one page";
    segment->address = header->address;
    segment->size = header->size;
    segment->file_offset = header->offset;
    segment->file_size = header->file_size;
    segment->rights = (uint8_t)((header->flags & FLAG_READ ? READ : 0) | (header->flags & FLAG_WRITE ? WRITE : 0) |
                                (header->flags & FLAG_EXECUTE ? EXECUTE : 0));
    program->end = page_up(header->address + header->size);
    program->segment_count++;
    return NULL;
}

const char *elf_parse(const uint8_t *file, uint64_t size, struct elf_program *program)
{
    const struct file_header *header = (const void *)file;
    const char *wrong = check_header(header, size);
    const struct program_header *headers;
    uint64_t table_size;

    if (wrong != NULL)
        return wrong;
    memset(program, 0, sizeof *program);
    program->movable = header->type == TYPE_DYN;
    program->entry = header->entry;
    program->header_size = header->program_header_size;
    program->header_count = header->program_header_count;
    headers = (const void *)(file + header->program_headers);
    table_size = (uint64_t)header->program_header_count * sizeof *headers;
    for (unsigned i = 0; i < header->program_header_count; i++) {
        const struct program_header *h = &headers[i];

        if (h->type == INTERPRETER)
            return "is dynamically linked: only static programs run here";
        if (h->type != LOAD || h->size == 0)
            continue;
        wrong = add_segment(program, h, size);
        if (wrong != NULL)
            return wrong;
        /* The C library finds its thread-local storage by these headers, so they have to be in memory. */
        if (header->program_headers >= h->offset && table_size <= h->file_size &&
            header->program_headers - h->offset <= h->file_size - table_size)
            program->headers = h->address + (header->program_headers - h->offset);
    }
    if (program->segment_count == 0)
        return "has nothing to load";
    if (!program->movable && program->start < LOWEST_ADDRESS)
        return "wants memory at address 0, which stays unmapped";
    return NULL;
}

int elf_map(const struct elf_program *program, const uint8_t *file, uint64_t bias)
{
    for (unsigned i = 0; i < program->segment_count; i++) {
        const struct elf_segment *segment = &program->segments[i];
        uint64_t start = page_down(segment->address), end = page_up(segment->address + segment->size);
        uint64_t in_page = segment->address - start, shown = in_page + segment->file_size;
        uint64_t middle = segment->file_size > 0 ? page_up(start + shown) : start;
        int error = 0;

        /* Nothing sees the rest of a page that is only read, so it may be the file's as it is, and need not be copied. */
        if ((segment->rights & WRITE) == 0 && segment->file_size == segment->size)
            shown = middle - start;
        if (middle > start)
            error = area_map((struct area){.start = start + bias, .end = middle + bias, .rights = segment->rights,
                                           .file = file + segment->file_offset - in_page, .file_bytes = shown});
        if (error == 0 && end > middle)
            error = area_map((struct area){.start = middle + bias, .end = end + bias, .rights = segment->rights});
        if (error != 0)
            return error;
    }
    return 0;
}
