/* How the registers of a virtio network device are reached: over PCI, or mapped in memory where a machine has no PCI. */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include <stdint.h>

/* The legacy interface (Virtual I/O Device 1.0, the parts on legacy devices), which is the same over either. */
struct transport {
    void (*set_status)(uint8_t status);
    uint32_t (*features)(void);
    void (*accept)(uint32_t features);
    uint32_t (*queue_size)(uint16_t queue); /* 0 where there is none */
    void (*set_queue)(uint16_t queue, uint32_t size, uint64_t frame);
    void (*notify)(uint16_t queue);
    uint8_t (*configuration)(unsigned offset);
    void (*take_back)(void); /* the request for an interrupt */
    void (*interrupts_to)(void (*handler)(void));
};

/* NULL where there is no such device on that bus. */
const struct transport *virtio_pci_find(void);
const struct transport *virtio_mmio_find(void);

#endif
