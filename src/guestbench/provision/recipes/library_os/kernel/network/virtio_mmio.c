/* The virtio network device where QEMU's microvm has its devices, each in a slot of 512 bytes of registers. Linux is told of
   the slots by ACPI; here they are looked for where they are known to be. */
#include "events.h"
#include "machine.h"
#include "memory.h"
#include "transport.h"

#define FIRST_SLOT 0xFEB00000ull
enum { SLOT_BYTES = 0x200, VIRTIO_SLOTS = 24 };
enum { MAGIC = 0x000, VERSION = 0x004, DEVICE = 0x008, DEVICE_FEATURES = 0x010, DRIVER_FEATURES = 0x020, PAGE_SIZE = 0x028,
       QUEUE_SELECT = 0x030, QUEUE_LARGEST = 0x034, QUEUE_SIZE = 0x038, QUEUE_ALIGN = 0x03C, QUEUE_PAGE = 0x040,
       QUEUE_NOTIFY = 0x050, INTERRUPT_STATUS = 0x060, INTERRUPT_TAKE_BACK = 0x064, STATUS = 0x070, CONFIGURATION = 0x100 };
enum { IS_VIRTIO = 0x74726976, LEGACY = 1, NETWORK_DEVICE = 1, LIKE_PCI = 256 };

static volatile char *registers;
static unsigned slot;

static uint32_t get(unsigned offset) { return *(volatile uint32_t *)(registers + offset); }
static void set(unsigned offset, uint32_t value) { *(volatile uint32_t *)(registers + offset) = value; }

static void set_status(uint8_t status) { set(STATUS, status); }
static uint32_t features(void) { return get(DEVICE_FEATURES); }
static void accept(uint32_t some) { set(DRIVER_FEATURES, some); }

/* QEMU allows 1,024 whatever the device has; over PCI it has 256. */
static uint32_t queue_size(uint16_t queue)
{
    uint32_t largest;

    set(QUEUE_SELECT, queue);
    largest = get(QUEUE_LARGEST);
    return largest < LIKE_PCI ? largest : LIKE_PCI;
}

static void set_queue(uint16_t queue, uint32_t size, uint64_t frame)
{
    set(PAGE_SIZE, PAGE);
    set(QUEUE_SELECT, queue);
    set(QUEUE_SIZE, size);
    set(QUEUE_ALIGN, PAGE);
    set(QUEUE_PAGE, (uint32_t)(frame / PAGE));
}

static void notify(uint16_t queue) { set(QUEUE_NOTIFY, queue); }
static uint8_t configuration(unsigned offset) { return *(volatile uint8_t *)(registers + CONFIGURATION + offset); }
static void take_back(void) { set(INTERRUPT_TAKE_BACK, get(INTERRUPT_STATUS)); }
static void interrupts_to(void (*handler)(void)) { interrupts_handle_pin(slot, handler); }

const struct transport *virtio_mmio_find(void)
{
    static const struct transport mmio = {set_status, features, accept,    queue_size,   set_queue,
                                          notify,     configuration, take_back, interrupts_to};
    volatile char *page = NULL;

    for (slot = 0; slot < VIRTIO_SLOTS; slot++) {
        uint64_t at = FIRST_SLOT + slot * SLOT_BYTES;

        if (at % PAGE == 0)
            page = map_device(at);
        registers = page + at % PAGE;
        if (get(MAGIC) == IS_VIRTIO && get(VERSION) == LEGACY && get(DEVICE) == NETWORK_DEVICE)
            return &mmio;
    }
    return NULL;
}
