/* The virtio network device on PCI bus 0. */
#include "events.h"
#include "machine.h"
#include "pci.h"
#include "transport.h"

enum { VENDOR_AND_DEVICE = 0x10001AF4 }; /* the transitional network device */
enum { DEVICE_FEATURES = 0, DRIVER_FEATURES = 4, QUEUE_PAGE = 8, QUEUE_SIZE = 12, QUEUE_SELECT = 14, QUEUE_NOTIFY = 16,
       STATUS = 18, INTERRUPT_STATUS = 19, CONFIGURATION = 20 };

static uint16_t port;
static unsigned line;

static void set_status(uint8_t status) { out8(port + STATUS, status); }
static uint32_t features(void) { return in32(port + DEVICE_FEATURES); }
static void accept(uint32_t some) { out32(port + DRIVER_FEATURES, some); }

static uint32_t queue_size(uint16_t queue)
{
    out16(port + QUEUE_SELECT, queue);
    return in16(port + QUEUE_SIZE);
}

static void set_queue(uint16_t queue, uint32_t size, uint64_t frame)
{
    (void)size; /* the device decides */
    out16(port + QUEUE_SELECT, queue);
    out32(port + QUEUE_PAGE, (uint32_t)(frame / PAGE));
}

static void notify(uint16_t queue) { out16(port + QUEUE_NOTIFY, queue); }
static uint8_t configuration(unsigned offset) { return in8((uint16_t)(port + CONFIGURATION + offset)); }
static void take_back(void) { in8(port + INTERRUPT_STATUS); }
static void interrupts_to(void (*handler)(void)) { interrupts_handle(line, handler); }

const struct transport *virtio_pci_find(void)
{
    static const struct transport pci = {set_status, features, accept,    queue_size,   set_queue,
                                         notify,     configuration, take_back, interrupts_to};
    unsigned slot = 0;
    uint32_t bar;

    while (slot < PCI_SLOTS && pci_read(slot, PCI_ID) != VENDOR_AND_DEVICE)
        slot++;
    if (slot == PCI_SLOTS)
        return NULL;
    bar = pci_read(slot, PCI_BAR_0);
    line = pci_read(slot, PCI_INTERRUPT) & 0xFF;
    if ((bar & 1) == 0 || line == 0 || line > 15)
        return NULL;
    pci_write(slot, PCI_COMMAND, PCI_IO_SPACE | PCI_BUS_MASTER);
    port = (uint16_t)(bar & ~3u);
    return &pci;
}
