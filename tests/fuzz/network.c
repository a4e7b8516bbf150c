/* Fuzzes the network: frames through the rings of a device that is played here, driver, lwIP and sockets, with the
   program's calls in between. Whatever comes in, no memory is touched that does not hold what is asked for, streams arrive
   byte for byte, what goes out is well-formed, and at the end all memory is back. An input is a sequence of steps. */
#include <sanitizer/asan_interface.h>

#include "fuzz.h"

/* Physical memory is an array here, and the device below is reached by a transport of its own. */
#define direct direct_of_the_machine
#define page_forget page_forget_of_the_machine
#include "memory.h"
#include "machine.h"
#undef direct
#undef page_forget
#undef DIRECT_MAP
#define DIRECT_MAP ((uint64_t)memory)
static uint8_t memory[320 * 4096] __attribute__((aligned(4096)));
static void *direct(uint64_t physical);

#include "frames.c"
/* The blocks of the heap are given out by the functions below, which tell the sanitizer what of a page is in use. */
#include "network/parts.h"
#define heap_take heap_take_unseen
#define heap_take_zeroed heap_take_zeroed_unseen
#define heap_give_back heap_give_back_unseen
#include "network/heap.c"
#undef heap_take
#undef heap_take_zeroed
#undef heap_give_back
#include "network/virtio_net.c"
#define SMALLEST_FRAME SMALLEST_OF_INTERFACE
#include "network/interface.c"
#undef SMALLEST_FRAME

#include "lwip/priv/tcp_priv.h"

enum { SOCKETS = 8, CLIENTS = 4, SERVER = 3, PORT = 7, CLIENT_PORT = 40000, SERVER_PORT = 80 };
enum { QUEUE_SLOTS = 256 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

/* The other ends, all at one address. Numbers of bytes are those of TCP; what a stream holds is a function of them. */
struct client {
    uint32_t first, acknowledged, sent;    /* its own numbers: of SYN; by the guest; beyond all that was sent */
    uint32_t guest_first, guest_next;      /* the guest's: of SYN; beyond all that came */
    uint16_t guest_port;
};
struct open_socket { struct socket *socket; int client; uint32_t read, written; };

static struct client clients[CLIENTS];
static struct open_socket sockets[SOCKETS];
static const uint8_t *input, *input_end;
static uint64_t now_ns, random_state;
static uint32_t dhcp_transaction;
static uint64_t queue_base[2];
static uint16_t queue_taken[2];
static bool is_tampered, is_device_bad, is_device_slow;

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56}, host_mac[6] = {0x52, 0x55, 10, 0, 2, 2};

static uint8_t next(void) { return input < input_end ? *input++ : 0; }

/* ---- the rest of the kernel ---- */

static void *direct(uint64_t physical)
{
    CHECK(physical < sizeof memory);
    return memory + physical;
}

uint64_t clock_monotonic_ns(void) { return now_ns += 1000; }
void random_bytes(void *bytes, size_t size)
{
    for (uint8_t *byte = bytes; size-- > 0; byte++)
        *byte = (uint8_t)((random_state = random_state * 6364136223846793005 + 1442695040888963407) >> 56);
}
void console_print(const char *format, ...) { (void)format; }
void console_fresh_line(void) { }

bool same_text(const char *a, const char *b) { return strlen(a) == strlen(b) && memcmp(a, b, strlen(a)) == 0; }

void *heap_take(size_t size)
{
    char *block = heap_take_unseen(size);
    struct blocks *page = (struct blocks *)page_down((uint64_t)block);

    if (block == NULL)
        return NULL;
    if (page->used == 1) /* none of the others is in use */
        for (char *other = (char *)(page + 1); other + page->size <= (char *)page + PAGE; other += page->size)
            ASAN_POISON_MEMORY_REGION(other + 8, page->size - 8);
    ASAN_UNPOISON_MEMORY_REGION(block, page->size);
    if (size < page->size)
        ASAN_POISON_MEMORY_REGION(block + size, page->size - size);
    memset(block, 0xA5, size);
    return block;
}

void *heap_take_zeroed(size_t count, size_t size)
{
    void *block = size == 0 || count <= PAGE / size ? heap_take(count * size) : NULL;

    return block != NULL ? memset(block, 0, count * size) : NULL;
}

void heap_give_back(void *block)
{
    struct blocks *page = (struct blocks *)page_down((uint64_t)block);

    if (block == NULL)
        return;
    CHECK(page->used > 0);
    if (page->used == 1)
        ASAN_UNPOISON_MEMORY_REGION(page, PAGE);
    ASAN_UNPOISON_MEMORY_REGION(block, 8);
    ASAN_POISON_MEMORY_REGION((char *)block + 8, page->size - 8);
    if (page->used == 1)
        ASAN_UNPOISON_MEMORY_REGION(page, PAGE);
    heap_give_back_unseen(block);
}

/* ---- the device ---- */

static void set_status(uint8_t status) { CHECK(status <= 7); }
static uint32_t device_features(void) { return ~0u; }
static void accept_features(uint32_t features) { CHECK(features == (HAS_ADDRESS | ANY_LAYOUT)); }
static uint32_t queue_size(uint16_t queue) { return queue < 2 ? QUEUE_SLOTS : 0; }

static void set_queue(uint16_t queue, uint32_t size, uint64_t frame)
{
    CHECK(queue < 2 && size == QUEUE_SLOTS && frame % PAGE == 0);
    queue_base[queue] = frame;
}

static void notify(uint16_t queue) { CHECK(queue < 2); }
static uint8_t configuration(unsigned offset) { return guest_mac[offset]; }
static void take_back(void) { }
static void interrupts_to(void (*handler)(void)) { CHECK(handler != NULL); }

const struct transport *virtio_pci_find(void)
{
    static const struct transport here = {set_status, device_features, accept_features, queue_size, set_queue,
                                          notify,     configuration,   take_back,       interrupts_to};

    return &here;
}

const struct transport *virtio_mmio_find(void) { return NULL; }

static struct offered *offered_of(unsigned queue)
{
    return direct(queue_base[queue] + QUEUE_SLOTS * sizeof(struct descriptor));
}

static struct used *used_of(unsigned queue) { return direct(queue_base[queue] + 2 * PAGE); }

/* The next descriptor that the driver offered; NULL where there is none. */
static struct descriptor *device_take(unsigned queue, uint16_t *slot, unsigned flags)
{
    struct descriptor *descriptors = direct(queue_base[queue]);
    struct offered *offered = offered_of(queue);

    if (queue_base[queue] == 0 || offered->index == queue_taken[queue])
        return NULL;
    CHECK((uint16_t)(offered->index - queue_taken[queue]) <= QUEUE_SLOTS);
    *slot = offered->slots[queue_taken[queue]++ % QUEUE_SLOTS];
    CHECK(*slot < QUEUE_SLOTS && descriptors[*slot].flags == flags);
    descriptors += *slot;
    CHECK(descriptors->address < sizeof memory && descriptors->size <= sizeof memory - descriptors->address);
    return descriptors;
}

static void device_done(unsigned queue, uint16_t slot, uint32_t size)
{
    struct used *used = used_of(queue);

    used->done[used->index % QUEUE_SLOTS].slot = slot;
    used->done[used->index % QUEUE_SLOTS].size = size;
    used->index++;
}

/* What lies behind the frame in its buffer is not to be looked at, but for the padding that the driver puts there. */
static void device_receive(const uint8_t *frame, unsigned size)
{
    uint16_t slot;
    struct descriptor *descriptor = device_take(RECEIVE, &slot, FROM_DEVICE);
    uint8_t *bytes;

    if (descriptor == NULL)
        return;
    CHECK(descriptor->size == BUFFER);
    bytes = direct(descriptor->address);
    ASAN_UNPOISON_MEMORY_REGION(bytes, BUFFER);
    memset(bytes, 0, HEADER);
    memcpy(bytes + HEADER, frame, size);
    if (!is_device_bad)
        ASAN_POISON_MEMORY_REGION(bytes + HEADER + size + PADDING, BUFFER - HEADER - size - PADDING);
    device_done(RECEIVE, slot, HEADER + size);
}

/* ---- what goes out ---- */

static uint16_t get16(const uint8_t *bytes) { return (uint16_t)(bytes[0] << 8 | bytes[1]); }
static uint32_t get32(const uint8_t *bytes) { return (uint32_t)get16(bytes) << 16 | get16(bytes + 2); }
static void put16(uint8_t *bytes, unsigned value) { bytes[0] = (uint8_t)(value >> 8), bytes[1] = (uint8_t)value; }
static void put32(uint8_t *bytes, uint32_t value) { put16(bytes, value >> 16), put16(bytes + 2, value & 0xFFFF); }

UNTRACED static uint32_t sum(uint32_t so_far, const uint8_t *bytes, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        so_far += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
    return so_far;
}

static uint16_t fold(uint32_t so_far)
{
    while (so_far >> 16 != 0)
        so_far = (so_far & 0xFFFF) + (so_far >> 16);
    return (uint16_t)~so_far;
}

/* Of TCP and UDP, with the addresses that belong to it. */
static uint16_t checksum(const uint8_t *ip, const uint8_t *segment, unsigned size)
{
    return fold(sum(sum(ip[9] + size, ip + 12, 8), segment, size));
}

static uint8_t stream_byte(uint32_t number) { return (uint8_t)(number * 31 + (number >> 8) * 7 + 1); }

UNTRACED static void check_stream(const uint8_t *bytes, uint32_t size, uint32_t number)
{
    for (uint32_t i = 0; i < size && !is_tampered; i++)
        CHECK(bytes[i] == stream_byte(number + i));
}

static struct client *client_of(unsigned client_port, unsigned guest_port)
{
    unsigned number = client_port == SERVER_PORT ? SERVER : client_port - CLIENT_PORT;

    if (number >= CLIENTS || (number != SERVER && guest_port != PORT))
        return NULL;
    return &clients[number];
}

static void look_at_tcp(const uint8_t *segment, unsigned size)
{
    unsigned header = segment[12] / 16 * 4, flags = segment[13];
    struct client *client = client_of(get16(segment + 2), get16(segment));
    uint32_t number = get32(segment + 4), end = number + size - header + (flags & SYN) / SYN + (flags & FIN);

    CHECK(header >= 20 && header <= size);
    if (client == NULL || (flags & RST) != 0)
        return;
    if (client == &clients[SERVER] && (flags & SYN) != 0)
        client->guest_port = get16(segment);
    if (client->guest_port != get16(segment)) /* a connection before the last */
        return;
    if ((flags & SYN) != 0)
        client->guest_first = client->guest_next = number;
    if ((int32_t)(end - client->guest_next) > 0)
        client->guest_next = end;
    if ((flags & ACK) != 0)
        client->acknowledged = get32(segment + 8);
    check_stream(segment + header, size - header, number - client->guest_first - 1);
}

static void look_at_frame(const uint8_t *frame, unsigned size)
{
    const uint8_t *ip = frame + 14;
    unsigned header = (ip[0] & 15) * 4u, whole;

    CHECK(size >= 42 && memcmp(frame + 6, guest_mac, 6) == 0);
    if (get16(frame + 12) != 0x0800) {
        CHECK(get16(frame + 12) == 0x0806);
        return;
    }
    whole = get16(ip + 2);
    CHECK(ip[0] == 0x45 && whole >= header && whole <= size - 14 && fold(sum(0, ip, header)) == 0);
    if (ip[9] == 6 || (ip[9] == 17 && get16(ip + header + 6) != 0))
        CHECK(checksum(ip, ip + header, whole - header) == 0);
    if (ip[9] == 6)
        look_at_tcp(ip + header, whole - header);
    if (ip[9] == 17 && get16(ip + header) == 68)
        dhcp_transaction = get32(ip + header + 12);
}

static void device_send_all(void)
{
    uint16_t slot;
    struct descriptor *descriptor;

    while ((descriptor = device_take(SEND, &slot, TO_DEVICE)) != NULL) {
        const uint8_t *bytes = direct(descriptor->address);
        static const uint8_t zeros[HEADER];

        CHECK(descriptor->size > HEADER + SMALLEST_FRAME && descriptor->size <= HEADER + LARGEST_FRAME);
        CHECK(memcmp(bytes, zeros, HEADER) == 0);
        look_at_frame(bytes + HEADER, descriptor->size - HEADER);
        device_done(SEND, slot, 0);
    }
}

static void work(void)
{
    network_work();
    if (!is_device_slow && !is_device_bad)
        device_send_all();
}

/* ---- what comes in ---- */

/* The beginning of an IP packet from the other end; what is behind it has to be there already. */
static void send_ip(uint8_t *frame, uint8_t protocol, unsigned size, bool right)
{
    uint8_t *ip = frame + 14;

    memcpy(frame, guest_mac, 6);
    memcpy(frame + 6, host_mac, 6);
    put16(frame + 12, 0x0800);
    memcpy(ip, "\x45\0\0\0\0\1\x40\0\x40\0\0\0\x0a\0\2\2\x0a\0\2\x0f", 20);
    ip[9] = protocol;
    put16(ip + 2, 20 + size);
    put16(ip + 10, fold(sum(0, ip, 20)));
    if (protocol == 6 || protocol == 17) {
        uint8_t *field = ip + 20 + (protocol == 6 ? 16 : 6);

        put16(field, 0);
        put16(field, checksum(ip, ip + 20, size) ^ !right);
    } else if (protocol == 1) {
        put16(ip + 22, 0);
        put16(ip + 22, fold(sum(0, ip + 20, size)) ^ !right);
    }
    device_receive(frame, 34 + size < 60 ? 60 : 34 + size);
}

static void step_tcp(void)
{
    uint8_t frame[1600] = {0}, *segment = frame + 34, who = next(), flags = next(), how = next();
    struct client *client = &clients[who % CLIENTS];
    unsigned option_bytes = (who >> 2 & 3) == 3 ? next() % 11 * 4 : 0, header = 20 + option_bytes, size = 0;
    uint32_t base = how & 1 ? client->sent : client->acknowledged, number = base, answer = client->guest_next;

    if (how & 2)
        number += (uint32_t)(int8_t)next() * (how & 4 ? 300 : 1);
    if (how & 8)
        answer += (uint32_t)(int8_t)next() * (how & 4 ? 300 : 1);
    if (how & 16)
        size = how & 32 ? 1460 - option_bytes : next();
    if (flags & SYN) {
        number = client->first;
        size = 0; /* lwIP 2.1 loses a byte where a SYN that comes again has data, which no honest one has */
    }
    put16(segment, who % CLIENTS == SERVER ? SERVER_PORT : CLIENT_PORT + who % CLIENTS);
    put16(segment + 2, client->guest_port);
    put32(segment + 4, number);
    put32(segment + 8, answer);
    segment[12] = (uint8_t)(header / 4 << 4);
    segment[13] = flags;
    put16(segment + 14, how & 64 ? next() * 257u : 64240);
    for (unsigned i = 0; i < option_bytes; i++)
        segment[20 + i] = next();
    for (unsigned i = 0; i < size; i++)
        segment[header + i] = stream_byte(number + i - client->first - 1);
    if ((int32_t)(number + size - client->sent) > 0)
        client->sent = number + size;
    client->sent += (flags & (SYN | FIN)) != 0 && client->sent == number + size;
    send_ip(frame, 6, header + size, how < 128 || next() != 0);
}

static void step_icmp_or_udp(void)
{
    uint8_t frame[1600] = {0}, how = next();
    unsigned size = how & 1 ? next() * 5u : next() % 64;

    for (unsigned i = 0; i < size && i < 64; i++)
        frame[34 + i] = next();
    size += 8;
    if (how & 2)
        put16(frame + 34, 0x0800); /* an echo is asked for */
    else
        put16(frame + 38, size);
    send_ip(frame, how & 2 ? 1 : 17, size, how < 128);
}

/* A DHCP server's answer, its options as the input has them. */
static void step_dhcp(void)
{
    uint8_t frame[1600] = {0}, *udp = frame + 34, *dhcp = udp + 8, count = next();

    put16(udp, 67);
    put16(udp + 2, 68);
    put16(udp + 4, 8u + 240 + count);
    memcpy(dhcp, "\2\1\6", 3);
    put32(dhcp + 4, dhcp_transaction);
    memcpy(dhcp + 16, "\x0a\0\2\x0f", 4);
    memcpy(dhcp + 28, guest_mac, 6);
    put32(dhcp + 236, 0x63825363);
    for (unsigned i = 0; i < count; i++)
        dhcp[240 + i] = next();
    send_ip(frame, 17, 8u + 240 + count, true);
}

static void send_arp(uint8_t operation)
{
    uint8_t frame[60] = {0};

    memcpy(frame, guest_mac, 6);
    memcpy(frame + 6, host_mac, 6);
    memcpy(frame + 12, "\x08\x06\0\1\x08\0\6\4\0", 9);
    frame[21] = operation;
    memcpy(frame + 22, host_mac, 6);
    memcpy(frame + 28, "\x0a\0\2\2", 4);
    memcpy(frame + 32, guest_mac, 6);
    memcpy(frame + 38, "\x0a\0\2\x0f", 4);
    device_receive(frame, sizeof frame);
}

/* Any bytes, of any length that a device can hand over; the streams may then be anyone's. */
static void step_raw(void)
{
    uint8_t frame[LARGEST_FRAME] = {0}, how = next();
    unsigned size = (unsigned)(next() | (how & 7) << 8) % (LARGEST_FRAME + 1);

    for (unsigned i = 0; i < size; i++)
        frame[i] = next();
    if ((how & 8) != 0 && size >= 34)
        put16(frame + 24, 0), put16(frame + 24, fold(sum(0, frame + 14, 20)));
    if (how & 16)
        memcpy(frame, guest_mac, 6);
    is_tampered = true;
    device_receive(frame, size);
}

/* ---- the program ---- */

static struct open_socket *free_socket(void)
{
    for (unsigned i = 0; i < SOCKETS; i++)
        if (sockets[i].socket == NULL)
            return &sockets[i];
    return NULL;
}

static void open_socket_step(struct open_socket *open, uint8_t how)
{
    int64_t result;

    *open = (struct open_socket){.socket = socket_new(), .client = -1};
    if (open->socket == NULL)
        return;
    if (how % 2 == 0) {
        socket_bind(open->socket, (struct end_point){0, lwip_htons(PORT)});
        socket_listen(open->socket, how / 2 % 8);
    } else {
        result = socket_connect(open->socket, (struct end_point){0x0202000A, lwip_htons(SERVER_PORT)});
        open->client = result == -115 ? SERVER : -1;
    }
}

static void accept_step(struct open_socket *listener)
{
    struct open_socket *open = free_socket();
    struct socket *accepted;
    struct end_point peer;

    if (open == NULL || socket_accept(listener->socket, &accepted) != 0)
        return;
    socket_name(accepted, true, &peer);
    *open = (struct open_socket){accepted, (int)lwip_ntohs(peer.port) - CLIENT_PORT, 0, 0};
}

static void receive_step(struct open_socket *open, unsigned most, bool keep)
{
    static uint8_t bytes[65536];
    uint32_t held = socket_held(open->socket);
    int64_t count = socket_receive(open->socket, bytes, most, keep);

    CHECK(count <= (int64_t)most && (most == 0 || count != 0 || held == 0));
    if (count <= 0)
        return;
    if (open->client >= 0 && open->client < CLIENTS)
        check_stream(bytes, (uint32_t)count, open->read);
    open->read += keep ? 0 : (uint32_t)count;
}

UNTRACED static void send_step(struct open_socket *open, unsigned most, bool more)
{
    static uint8_t bytes[65536];
    int64_t count;

    for (unsigned i = 0; i < most; i++)
        bytes[i] = stream_byte(open->written + i);
    count = socket_send(open->socket, bytes, most, more);
    CHECK(count <= (int64_t)most);
    open->written += count > 0 ? (uint32_t)count : 0;
}

static void step_program(void)
{
    uint8_t which = next(), how = next();
    struct open_socket *open = &sockets[which % SOCKETS];
    unsigned most = how < 200 ? how : (how - 199u) * 1170;

    if (open->socket == NULL) {
        open_socket_step(open, how);
        return;
    }
    switch (which / SOCKETS % 8) {
    case 0: case 1: receive_step(open, most, false); break;
    case 2: receive_step(open, most, true); break;
    case 3: case 4: send_step(open, most, how & 1); break;
    case 5: accept_step(open); break;
    case 6: socket_shut_down(open->socket, how & 1, how & 2); break;
    default: socket_close(open->socket); open->socket = NULL; return;
    }
    socket_events(open->socket);
    if (how == 7)
        socket_set(open->socket, how / 8 % 3, how & 1), socket_get(open->socket, how / 8 % 3);
}

/* The device says whatever it likes. It may only be turned away from, and nothing is promised any more. */
static void step_bad_device(void)
{
    unsigned queue = next() % 2;
    struct used *used = used_of(queue);

    is_tampered = is_device_bad = true;
    ASAN_UNPOISON_MEMORY_REGION(received[0].bytes, RECEIVE_SLOTS * BUFFER);
    used->done[used->index % QUEUE_SLOTS].slot = next() % 64 == 0 ? ~0u : next();
    used->done[used->index % QUEUE_SLOTS].size = next() * 8u;
    used->index += next() % 4 == 0 ? next() * 257 : 1;
}

/* ---- one input ---- */

static void step(bool waits)
{
    uint8_t what = next() % 32;

    if (what < 12)
        step_tcp();
    else if (what < 20)
        waits ? (void)0 : step_program();
    else if (what < 22)
        step_icmp_or_udp();
    else if (what < 23)
        step_dhcp();
    else if (what < 24)
        send_arp(1 + next() % 2);
    else if (what < 26)
        step_raw();
    else if (what < 29)
        now_ns += (uint64_t)next() * (what == 28 ? 400000000 : 5000000);
    else if (what == 29)
        is_device_slow = next() & 1;
    else if (what == 30 && next() == 77)
        step_bad_device();
    work();
}

/* The program waits, for a lease: the world goes on. */
void events_wait(uint64_t until_ns, bool console)
{
    (void)until_ns, (void)console;
    device_send_all();
    now_ns += 100000000;
    step(true);
}

UNTRACED static void start(uint8_t how)
{
    ASAN_UNPOISON_MEMORY_REGION(memory, sizeof memory);
    range_count = 0;
    total = first_returned = pages_taken = 0;
    memset(open_pages, 0, sizeof open_pages);
    memset(queues, 0, sizeof queues);
    memset(sent, 0, sizeof sent);
    memset(queue_base, 0, sizeof queue_base);
    memset(queue_taken, 0, sizeof queue_taken);
    memset(&interface, 0, sizeof interface);
    memset(sockets, 0, sizeof sockets);
    for (unsigned i = 0; i < TIMERS; i++)
        timers[i].due_ns = 0;
    next_slot = 0;
    broken = is_tampered = is_device_bad = is_device_slow = false;
    now_ns = 1000000000;
    random_state = 1;
    for (uint32_t i = 0; i < CLIENTS; i++)
        clients[i] = (struct client){.first = 0xFFFFF000 + i * 0x500, .acknowledged = 0xFFFFF000 + i * 0x500,
                                     .sent = 0xFFFFF000 + i * 0x500, .guest_port = i == SERVER ? 0 : PORT};
    frames_add(PAGE, how & 2 ? sizeof memory : 150 * PAGE);
    options = (struct network_options){NETWORK_FIXED, 0x0F02000A, 0x00FFFFFF, 0x0202000A};
    if (how & 1)
        options = (struct network_options){.mode = NETWORK_DHCP};
    state = UNTRIED;
    CHECK(network_start());
    if ((how & 4) == 0) {
        send_arp(1);
        open_socket_step(&sockets[0], 8);
        work();
    }
}

/* All is closed and ended: every buffer is with the device again, and every page of memory back. */
UNTRACED static void finish(void)
{
    for (unsigned i = 0; i < SOCKETS; i++)
        if (sockets[i].socket != NULL)
            socket_close(sockets[i].socket);
    if (options.mode == NETWORK_DHCP) {
        dhcp_stop(&interface);
        dhcp_cleanup(&interface);
    }
    while (tcp_active_pcbs != NULL)
        tcp_abort(tcp_active_pcbs);
    while (tcp_tw_pcbs != NULL)
        tcp_abort(tcp_tw_pcbs);
    netif_remove(&interface);
    if (is_device_bad)
        return;
    device_send_all();
    release_sent();
    CHECK(!broken);
    /* What was not looked at yet. */
    for (uint32_t slot, size; next_done(&queues[RECEIVE], &slot, &size);)
        offer_buffer(&received[slot]);
    for (unsigned i = 0; i < RECEIVE_SLOTS; i++)
        CHECK(received[i].with_device);
    CHECK(tcp_bound_pcbs == NULL && tcp_listen_pcbs.listen_pcbs == NULL);
    CHECK(pages_taken == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    input_end = data + size;
    /* Nothing that comes in may make the system give up: lwIP's assertions do. */
    CHECK(setjmp(fuzz_given_up) == 0);
    start(next());
    while (input < input_end)
        step(false);
    finish();
    return 0;
}
