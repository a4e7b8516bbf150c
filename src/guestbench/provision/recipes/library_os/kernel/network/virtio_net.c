/* virtio-net by its legacy interface (Virtual I/O Device 1.0, the parts on legacy devices). What the device writes into the
   rings is checked; what it does wrong ends its use. */
#include "console.h"
#include "machine.h"
#include "memory.h"
#include "parts.h"
#include "transport.h"

#include "lwip/pbuf.h"

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4 };
enum { HAS_ADDRESS = 1 << 5, ANY_LAYOUT = 1 << 27 }; /* features: the latter lets header and frame be one piece */
enum { TO_DEVICE, FROM_DEVICE = 2 };                  /* flags of a descriptor: the device writes */
enum { RECEIVE, SEND, SLOTS = 128, RECEIVE_SLOTS = 64, LARGEST_QUEUE = 1024 };
enum { HEADER = 10, BUFFER = 2048, SMALLEST_FRAME = 14, LARGEST_FRAME = 1514, PADDING = 8 };

_Static_assert(HEADER == PBUF_LINK_ENCAPSULATION_HLEN, "lwIP leaves room for the header");

struct descriptor { uint64_t address; uint32_t size; uint16_t flags, next; };
struct offered { uint16_t flags, index, slots[]; };
struct used { uint16_t flags, index; struct { uint32_t slot, size; } done[]; };

/* A descriptor is always of the same number as the slot that describes the buffer in it. */
struct queue {
    struct descriptor *descriptors;
    volatile struct offered *offered;
    volatile struct used *used;
    uint16_t number, size, offered_index, seen;
    bool unannounced; /* something was offered since the device was last told */
};

/* A receive buffer as lwIP sees it while it holds one. */
struct received { struct pbuf_custom packet; void *bytes; bool with_device; };

static struct queue queues[2];
static struct received *received;
static struct pbuf *sent[SLOTS]; /* NULL: free */
static const struct transport *device;
static uint16_t next_slot;
static bool broken;

static void barrier(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

static void give_up_device(const char *why)
{
    broken = true;
    console_fresh_line();
    console_print("[refuk: network device not used any more: %s]\n", why);
}

static void offer(struct queue *queue, uint16_t slot, uint64_t address, uint32_t size, uint16_t flags)
{
    queue->descriptors[slot] = (struct descriptor){.address = address, .size = size, .flags = flags};
    queue->offered->slots[queue->offered_index % queue->size] = slot;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    queue->offered->index = ++queue->offered_index;
    queue->unannounced = true;
}

static void offer_buffer(struct received *buffer)
{
    buffer->with_device = true;
    offer(&queues[RECEIVE], (uint16_t)(buffer - received), physical_address(buffer->bytes), BUFFER, FROM_DEVICE);
}

/* lwIP is done with a packet: its buffer goes back to the device. */
static void packet_freed(struct pbuf *packet) { offer_buffer((struct received *)packet); }

/* Whether there is one more that the device is done with; if so, what it says about it. */
static bool next_done(struct queue *queue, uint32_t *slot, uint32_t *size)
{
    uint16_t index = queue->used->index;

    if (broken || queue->seen == index)
        return false;
    if ((uint16_t)(index - queue->seen) > queue->size) {
        give_up_device("it did more than it was asked");
        return false;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    *slot = queue->used->done[queue->seen % queue->size].slot;
    *size = queue->used->done[queue->seen % queue->size].size;
    queue->seen++;
    return true;
}

static void release_sent(void)
{
    uint32_t slot, size;

    while (next_done(&queues[SEND], &slot, &size)) {
        if (slot >= SLOTS || sent[slot] == NULL) {
            give_up_device("it sent what it was not given");
            return;
        }
        pbuf_free(sent[slot]);
        sent[slot] = NULL;
    }
}

static void take_received(uint32_t slot, uint32_t size)
{
    struct received *buffer = &received[slot];
    struct pbuf *packet;

    if (slot >= RECEIVE_SLOTS || !buffer->with_device) {
        give_up_device("it received into what it was not given");
        return;
    }
    if (size < HEADER + SMALLEST_FRAME || size > HEADER + LARGEST_FRAME) {
        offer_buffer(buffer);
        return;
    }
    buffer->with_device = false;
    /* lwIP looks one or two bytes beyond a TCP option that ends too early: they are no part of an older frame. */
    memset((char *)buffer->bytes + size, 0, PADDING);
    packet = pbuf_alloced_custom(PBUF_RAW, (uint16_t)(size - HEADER), PBUF_REF, &buffer->packet,
                                 (char *)buffer->bytes + HEADER, BUFFER - HEADER);
    network_frame(packet);
}

void device_work(void)
{
    uint32_t slot, size;

    release_sent();
    for (unsigned i = 0; i < RECEIVE_SLOTS && next_done(&queues[RECEIVE], &slot, &size); i++)
        take_received(slot, size);
}

/* The packet in one piece with room for the header in front: itself, or a copy. NULL where no memory is left. */
static struct pbuf *in_one_piece(struct pbuf *frame)
{
    struct pbuf *copy;

    if (frame->next == NULL && (frame->type_internal & PBUF_TYPE_FLAG_STRUCT_DATA_CONTIGUOUS) != 0 &&
        (char *)frame->payload - HEADER >= (char *)frame + sizeof *frame) {
        pbuf_ref(frame);
        return frame;
    }
    copy = pbuf_alloc(PBUF_RAW_TX, frame->tot_len, PBUF_RAM);
    if (copy != NULL)
        pbuf_copy(copy, frame);
    return copy;
}

bool device_send(struct pbuf *frame)
{
    struct pbuf *whole;
    char *start;

    if (sent[next_slot] != NULL)
        release_sent();
    /* The device answers in order, or nearly so: where the oldest is not sent yet, the ring is full. */
    if (broken || sent[next_slot] != NULL)
        return false;
    whole = in_one_piece(frame);
    if (whole == NULL)
        return false;
    start = (char *)whole->payload - HEADER;
    memset(start, 0, HEADER); /* no checksum left to do, no large segment */
    sent[next_slot] = whole;
    offer(&queues[SEND], next_slot, physical_address(start), HEADER + whole->tot_len, TO_DEVICE);
    next_slot = (uint16_t)((next_slot + 1) % SLOTS);
    return true;
}

void device_flush(void)
{
    for (struct queue *queue = queues; queue < queues + 2; queue++) {
        if (!queue->unannounced)
            continue;
        queue->unannounced = false;
        barrier();
        if ((queue->used->flags & 1) == 0) /* it may say that it looks by itself */
            device->notify(queue->number);
    }
}

bool device_interrupts(bool on)
{
    queues[RECEIVE].offered->flags = !on;
    barrier();
    return queues[RECEIVE].used->index != queues[RECEIVE].seen && !broken;
}

/* What there is to do is seen in the rings. */
static void interrupted(void) { device->take_back(); }

static bool start_queue(uint16_t number)
{
    struct queue *queue = &queues[number];
    uint64_t size, second, frame;

    size = device->queue_size(number);
    if (size < SLOTS || size > LARGEST_QUEUE || (size & (size - 1)) != 0)
        return false;
    second = page_up(size * sizeof(struct descriptor) + sizeof(struct offered) + (size + 1) * sizeof(uint16_t));
    frame = frames_take_together((second + page_up(sizeof(struct used) + size * 8 + sizeof(uint16_t))) / PAGE);
    *queue = (struct queue){.number = number, .size = (uint16_t)size, .descriptors = direct(frame)};
    queue->offered = direct(frame + size * sizeof(struct descriptor));
    queue->used = direct(frame + second);
    *(volatile uint32_t *)queue->offered = *(volatile uint32_t *)queue->used = 0; /* flags and index */
    queue->offered->flags = 1; /* no interrupts: the receiver's are allowed before each sleep */
    device->set_queue(number, (uint32_t)size, frame);
    return true;
}

static void offer_all_buffers(void)
{
    char *bytes = direct(frames_take_together(RECEIVE_SLOTS * BUFFER / PAGE));

    received = direct(frames_take_together(page_up(RECEIVE_SLOTS * sizeof *received) / PAGE));
    for (unsigned i = 0; i < RECEIVE_SLOTS; i++) {
        received[i].packet.custom_free_function = packet_freed;
        received[i].bytes = bytes + i * BUFFER;
        offer_buffer(&received[i]);
    }
}

bool device_start(uint8_t hardware_address[6])
{
    uint32_t features;

    device = virtio_pci_find();
    if (device == NULL)
        device = virtio_mmio_find();
    if (device == NULL)
        return false;
    device->set_status(0);
    device->set_status(ACKNOWLEDGE | DRIVER);
    features = device->features() & (HAS_ADDRESS | ANY_LAYOUT);
    device->accept(features);
    if (features != (HAS_ADDRESS | ANY_LAYOUT) || !start_queue(RECEIVE) || !start_queue(SEND))
        return false;
    for (unsigned i = 0; i < 6; i++)
        hardware_address[i] = device->configuration(i);
    offer_all_buffers();
    device->set_status(ACKNOWLEDGE | DRIVER | DRIVER_OK);
    device_flush();
    device->interrupts_to(interrupted);
    return true;
}
