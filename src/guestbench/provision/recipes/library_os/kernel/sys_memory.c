/* The system calls that change the address space. */
#include "errors.h"
#include "machine.h"
#include "memory.h"
#include "sys_files.h"
#include "syscalls.h"

/* Whole pages, not empty, at or above the lowest address, below the end of the program's half. */
static bool is_span(uint64_t start, uint64_t size)
{
    return start % PAGE == 0 && start >= LOWEST_ADDRESS && start <= ADDRESS_END && size > 0 && size <= ADDRESS_END - start;
}

int64_t sys_mmap(const int64_t *a)
{
    enum { PRIVATE = 2, TYPE = 0x0F, FIXED = 0x10, ANONYMOUS = 0x20, FIXED_NOREPLACE = 0x100000 };
    uint64_t start = (uint64_t)a[0], size = page_up((uint64_t)a[1]), offset = (uint64_t)a[5];
    bool fixed = (a[3] & (FIXED | FIXED_NOREPLACE)) != 0;
    struct area area = {.rights = (uint8_t)(a[2] & (READ | WRITE | EXECUTE))};
    int error;

    if (size == 0 || (a[3] & TYPE) == 0)
        return -EINVAL;
    /* More than there is can only fail later, where the program could not be told. */
    if (size > ADDRESS_END || ((area.rights & WRITE) != 0 && size > frames_total_bytes()))
        return -ENOMEM;
    if ((a[3] & ANONYMOUS) == 0) {
        const struct file *file = file_of((int)a[4]);

        if (file == NULL || offset % PAGE != 0)
            return file == NULL ? -EBADF : -EINVAL;
        if ((a[3] & TYPE) != PRIVATE && (area.rights & WRITE) != 0)
            return -EACCES; /* a change would have to reach the file */
        if (offset < file->size) {
            area.file = file->bytes + offset;
            area.file_bytes = file->size - offset;
        }
    }
    if (!fixed)
        start = area_find_room(size); /* the address is a hint only */
    else if (!is_span(start, size))
        return start < LOWEST_ADDRESS ? -EPERM : -EINVAL;
    else if ((a[3] & FIXED_NOREPLACE) != 0 && !area_is_free(start, start + size))
        return -EEXIST;
    if (start == 0)
        return -ENOMEM;
    area.start = start;
    area.end = start + size;
    error = area_map(area);
    return error != 0 ? error : (int64_t)start;
}

int64_t sys_mprotect(const int64_t *a)
{
    uint64_t start = (uint64_t)a[0], size = page_up((uint64_t)a[1]);

    if (a[1] == 0)
        return 0;
    if (!is_span(start, size))
        return start % PAGE != 0 ? -EINVAL : -ENOMEM;
    return area_protect(start, start + size, (uint8_t)(a[2] & (READ | WRITE | EXECUTE)));
}

int64_t sys_munmap(const int64_t *a)
{
    uint64_t start = (uint64_t)a[0], size = page_up((uint64_t)a[1]);

    return is_span(start, size) ? area_unmap(start, start + size) : -EINVAL;
}

int64_t sys_madvise(const int64_t *a)
{
    enum { DONTNEED = 4 };
    uint64_t start = (uint64_t)a[0], size = page_up((uint64_t)a[1]);

    if (a[2] != DONTNEED || a[1] == 0) /* all others are hints */
        return 0;
    return is_span(start, size) ? area_renew(start, start + size) : -EINVAL;
}

int64_t sys_mremap(const int64_t *a)
{
    enum { MAY_MOVE = 1 };
    uint64_t start = (uint64_t)a[0], size = page_up((uint64_t)a[1]), new_size = page_up((uint64_t)a[2]);

    if (!is_span(start, size) || new_size == 0 || (a[3] & ~MAY_MOVE) != 0)
        return -EINVAL;
    if (new_size > frames_total_bytes())
        return -ENOMEM;
    return area_resize(start, start + size, start + new_size, a[3] == MAY_MOVE);
}

/* Returns the end of the heap: the new one, or the old one where it could not be moved. */
int64_t sys_brk(const int64_t *a)
{
    static uint64_t end; /* 0 until the first call; the heap is [program_end(), page_up(end)) */
    uint64_t wanted = (uint64_t)a[0], start = program_end(), mapped, new_mapped = page_up(wanted);
    int error = 0;

    if (end == 0)
        end = start;
    mapped = page_up(end);
    if (wanted < start || wanted > ADDRESS_END || wanted - start > frames_total_bytes())
        return (int64_t)end;
    if (new_mapped > mapped) {
        if (!area_is_free(mapped, new_mapped))
            return (int64_t)end;
        error = area_map((struct area){.start = mapped, .end = new_mapped, .rights = READ | WRITE});
    } else if (new_mapped < mapped) {
        error = area_unmap(new_mapped, mapped);
    }
    if (error == 0)
        end = wanted;
    return (int64_t)end;
}
