/* Static ELF programs: checked and described by elf_parse, which touches nothing but the file's bytes. */
#ifndef ELF_H
#define ELF_H

#include <stdbool.h>
#include <stdint.h>

enum { ELF_SEGMENTS = 16 };

struct elf_segment {
    uint64_t address, size;            /* in memory, before `bias` is added */
    uint64_t file_offset, file_size;   /* file_size <= size; the offset lies in its page as the address does */
    uint8_t rights;                    /* READ, WRITE, EXECUTE of memory.h */
};

struct elf_program {
    struct elf_segment segments[ELF_SEGMENTS]; /* ascending, none sharing a page with another */
    unsigned segment_count;
    bool movable;                  /* static-pie: may lie at any address; its `end` is below 32 TiB */
    uint64_t entry, headers;       /* addresses; headers is 0 where no segment shows them */
    uint16_t header_size, header_count;
    uint64_t start, end;           /* whole pages around all segments */
};

/* Describes the program. NULL when it can run here, otherwise what is wrong with it, as part of a sentence. */
const char *elf_parse(const uint8_t *file, uint64_t size, struct elf_program *program);

/* Maps the program, `bias` (whole pages) added to all addresses. `file` lies at the beginning of a page in the direct map.
   0, or an error of area_map. */
int elf_map(const struct elf_program *program, const uint8_t *file, uint64_t bias);

#endif
