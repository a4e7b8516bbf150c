/* Fuzzes the ELF loader: whatever the file, elf_parse refuses it or keeps all that elf.h promises, and elf_map shows each
   byte where the program's headers say. */
#include "elf.h"

#include <stdlib.h>

#include "fuzz.h"
#include "machine.h"
#include "memory.h"

#define HIGHEST_END 0x200000000000ull       /* 32 TiB, as elf.h promises for programs that may be moved */
#define LARGEST_BIAS (0x550000000000ull + ((1ull << 22) - 1) * PAGE) /* the farthest that program.c moves one */

static struct area shown[2 * ELF_SEGMENTS];
static unsigned shown_count, fails_at;

/* Stands in for areas.c: takes down what elf_map wants, or refuses. */
int area_map(struct area area)
{
    CHECK(shown_count < sizeof shown / sizeof *shown);
    if (shown_count == fails_at)
        return -12;
    shown[shown_count++] = area;
    return 0;
}

static uint64_t last_page(uint64_t size) { return (size + PAGE - 1) / PAGE * PAGE; }

static void check_segment(const struct elf_segment *segment, uint64_t file_size)
{
    CHECK(segment->size > 0 && segment->file_size <= segment->size);
    CHECK(segment->address < HIGHEST_END && segment->size <= HIGHEST_END - segment->address);
    CHECK(segment->file_offset <= file_size && segment->file_size <= file_size - segment->file_offset);
    CHECK(segment->address % PAGE == segment->file_offset % PAGE);
    CHECK((segment->rights & ~(READ | WRITE | EXECUTE)) == 0);
    CHECK((segment->rights & (WRITE | EXECUTE)) != (WRITE | EXECUTE));
}

static void check_program(const struct elf_program *program, uint64_t file_size)
{
    uint64_t end = 0, headers_size = (uint64_t)program->header_size * program->header_count;
    bool headers_shown = program->headers == 0;

    CHECK(program->segment_count > 0 && program->segment_count <= ELF_SEGMENTS);
    for (unsigned i = 0; i < program->segment_count; i++) {
        const struct elf_segment *segment = &program->segments[i];
        uint64_t from_segment = program->headers - segment->address;

        check_segment(segment, file_size);
        CHECK(i == 0 || page_down(segment->address) >= end);
        end = page_up(segment->address + segment->size);
        headers_shown = headers_shown || (program->headers >= segment->address && from_segment <= segment->file_size &&
                                          headers_size <= segment->file_size - from_segment);
    }
    CHECK(headers_shown);
    CHECK(program->header_size == 56 && headers_size <= file_size);
    CHECK(program->start == page_down(program->segments[0].address) && program->end == end);
    CHECK(program->movable || program->start >= LOWEST_ADDRESS);
}

/* What the program would read at the address: the file's byte, NULL for a zero. The address must be shown. */
static const uint8_t *byte_at(uint64_t address, uint8_t rights)
{
    for (unsigned i = 0; i < shown_count; i++)
        if (shown[i].start <= address && address < shown[i].end) {
            CHECK(shown[i].rights == rights);
            return shown[i].file != NULL && address - shown[i].start < shown[i].file_bytes
                       ? shown[i].file + (address - shown[i].start)
                       : NULL;
        }
    CHECK(!"every byte of a segment is shown");
    return NULL;
}

static void check_areas(const uint8_t *file, uint64_t file_size)
{
    uint64_t end = LOWEST_ADDRESS;

    for (unsigned i = 0; i < shown_count; i++) {
        const struct area *area = &shown[i];

        CHECK(area->start % PAGE == 0 && area->end % PAGE == 0);
        CHECK(area->start >= end && area->start < area->end);
        end = area->end;
        if (area->file == NULL)
            continue;
        /* Pages of the file are shown in place, so they begin where pages do, and none lies beyond the file's last. */
        CHECK(((uintptr_t)area->file - (uintptr_t)file) % PAGE == 0 && area->file >= file);
        CHECK(area->file_bytes <= area->end - area->start);
        CHECK((uint64_t)(area->file - file) + area->file_bytes <= last_page(file_size));
        CHECK((area->rights & WRITE) == 0 || (uint64_t)(area->file - file) + area->file_bytes <= file_size);
    }
    CHECK(end <= ADDRESS_END);
}

/* The first and the last byte from the file, and of the zeros behind them. */
static void check_contents(const struct elf_segment *segment, const uint8_t *file, uint64_t bias)
{
    const uint64_t places[] = {0, segment->file_size - 1, segment->file_size, segment->size - 1};

    for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
        if (places[i] < segment->size) {
            const uint8_t *byte = byte_at(segment->address + bias + places[i], segment->rights);

            CHECK(byte == (places[i] < segment->file_size ? file + segment->file_offset + places[i] : NULL));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_program program;
    uint8_t *file = fuzz_copy(data, size);

    if (elf_parse(file, size, &program) == NULL) {
        uint64_t bias = program.movable ? LARGEST_BIAS : 0;

        check_program(&program, size);
        shown_count = 0;
        fails_at = ~0u;
        CHECK(elf_map(&program, file, bias) == 0);
        check_areas(file, size);
        for (unsigned i = 0; i < program.segment_count; i++)
            check_contents(&program.segments[i], file, bias);
        fails_at = shown_count - 1;
        shown_count = 0;
        CHECK(elf_map(&program, file, bias) == -12);
    }
    free(file);
    return 0;
}
