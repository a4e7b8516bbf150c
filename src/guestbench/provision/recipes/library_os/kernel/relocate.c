/* Moves the kernel to a random address. This runs before the rest, while the kernel is still where the loader put it. */
#include "clock.h"
#include "memory.h"

#define REGION 0xffffffff80000000 /* of 1 GiB, shown by kernel_directory */
enum { STRETCH = 2 << 20, STRETCHES = 512 };

/* As the linker lists them, all of one type: eight bytes of data that hold an address of the kernel. */
struct relocation { uint64_t place, type, address; };

extern const struct relocation relocations[], relocations_end[]; /* link.ld */
extern uint64_t direct_directory[STRETCHES], kernel_directory[STRETCHES]; /* boot.S */

uint64_t relocate(void);

/* Called by boot.S. Shows the first 2 MiB of memory at the new place too, and corrects the addresses in the kernel's data.
   Returns the distance. */
uint64_t relocate(void)
{
    uint64_t stretch, distance;

    random_bytes(&stretch, sizeof stretch);
    stretch %= STRETCHES;
    distance = REGION + stretch * STRETCH;
    kernel_directory[stretch] = direct_directory[0];
    for (const struct relocation *r = relocations; r < relocations_end; r++)
        *(uint64_t *)r->place = r->address + distance;
    return distance;
}
