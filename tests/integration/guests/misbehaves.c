/*
 * A guest that misbehaves on purpose: what a probe of the attack surface has to find, exactly.
 *
 * It runs in 32-bit protected mode with PAE paging (CR4.PAE, EFER.NXE, CR0.WP), identity-mapped in 4 KiB pages
 * from 0x100000 to `data_end`, and nothing else is mapped: not page 0, no device, no firmware.
 *
 *   text_start .. text_end      R-X
 *   text_end   .. wx_start      R--   (constants)
 *   wx_start   .. +4 KiB        RWX   the one page that is writable and executable
 *   data_start .. stack_start   RW-
 *   stack_start.. stack_end     RW-   16 KiB; the page below it is mapped and writable: there is no guard page
 *
 * The addresses depend on the compiler; the guest prints them in one line before `[ready]`:
 *   text=0x100000-0x102000 wx=0x103000 data=0x104000 stack=0x155000-0x159000
 * (ends are exclusive; `data` ends where the stack begins).
 *
 * On the network it is 10.0.2.15/24 on a legacy or transitional virtio-net device. It answers ARP for that
 * address and accepts TCP connections on port 4242 alone: SYN-ACK there, RST from all other ports. It answers
 * no ICMP and no UDP. It goes on polling for ever, with interrupts off.
 */
#include <stdint.h>

#define OPEN_PORT 4242
#define PAGE 4096u

__asm__(".section .multiboot, \"ax\"\n"
        "        .align 4\n"
        "        .long  0x1BADB002, 0, -0x1BADB002\n"
        "        .text\n"
        "        .globl start\n"
        "start:  cli\n"
        "        cld\n"
        "        mov    $stack_end, %esp\n"
        "        call   run\n"
        "1:      hlt\n"
        "        jmp    1b\n");

extern char text_start[], text_end[], wx_start[], data_start[], data_end[], stack_start[], stack_end[];

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline uint16_t in16(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline uint32_t in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* gcc may call these itself. */
void *memcpy(void *to, const void *from, uint32_t size)
{
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size)::"memory");
    return to;
}
void *memset(void *to, int value, uint32_t size)
{
    void *at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return to;
}

/* --- the console ----------------------------------------------------------------------------------------- */

static void say(const char *text)
{
    for (; *text; text++) {
        while (!(in8(0x3FD) & 0x20))
            ;
        out8(0x3F8, (uint8_t)*text);
    }
}

static void say_hex(const char *name, const void *address)
{
    char text[] = "0x00000000";
    uint32_t value = (uint32_t)address;
    int last = 9, first = 2;
    for (int i = last; i >= first; i--, value >>= 4)
        text[i] = "0123456789abcdef"[value & 15];
    while (first < last && text[first] == '0')
        first++;
    text[first - 1] = 'x';
    text[first - 2] = '0';
    say(name);
    say(text + first - 2);
}

/* --- pages ----------------------------------------------------------------------------------------------- */

#define PRESENT 1ull
#define WRITABLE 2ull
#define NO_EXECUTE (1ull << 63)

static uint64_t tables[4] __attribute__((aligned(32)));
static uint64_t directory[512] __attribute__((aligned(4096)));
static uint64_t pages[512] __attribute__((aligned(4096)));

static void map(const char *from, const char *to, uint64_t flags)
{
    for (uint32_t at = (uint32_t)from; at < (uint32_t)to; at += PAGE)
        pages[at / PAGE] = at | PRESENT | flags;
}

static void turn_paging_on(void)
{
    map(text_start, text_end, 0);
    map(text_end, wx_start, NO_EXECUTE);
    map(wx_start, wx_start + PAGE, WRITABLE);
    map(data_start, data_end, WRITABLE | NO_EXECUTE);
    directory[0] = (uint32_t)pages | PRESENT | WRITABLE;
    tables[0] = (uint32_t)directory | PRESENT;
    uint32_t cr0, cr4, low, high;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 1 << 5)); /* PAE */
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xC0000080));
    __asm__ volatile("wrmsr" ::"a"(low | 1 << 11), "d"(high), "c"(0xC0000080)); /* EFER.NXE */
    __asm__ volatile("mov %0, %%cr3" ::"r"(tables) : "memory");
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | 1u << 31 | 1 << 16) : "memory"); /* PG, WP */
}

static volatile uint8_t wx_page[PAGE] __attribute__((section(".wx"))) = {0xF4}; /* hlt, until it is overwritten */

/* Writes code and runs it, as the page's permissions allow. */
static uint32_t use_wx_page(void)
{
    wx_page[0] = 0xB8; /* mov $42, %eax; ret */
    wx_page[1] = 42;
    wx_page[2] = wx_page[3] = wx_page[4] = 0;
    wx_page[5] = 0xC3;
    return ((uint32_t(*)(void))(uint32_t)wx_page)();
}

/* --- a legacy virtio-net device (virtio 1.2, 4.1.4.8 and 2.7) -------------------------------------------- */

#define QUEUE_MOST 256
#define BUFFERS 64
#define BUFFER_BYTES 2048
#define HEADER_BYTES 10
#define RX 0
#define TX 1

struct descriptor {
    uint64_t address;
    uint32_t size;
    uint16_t flags, next;
};
struct queue {
    uint8_t ring[3 * PAGE] __attribute__((aligned(4096)));
    uint8_t buffers[BUFFERS][BUFFER_BYTES];
    uint16_t count, offered, taken;
};
static struct queue queues[2];
static uint16_t device;
static uint8_t mac[6];

static struct descriptor *descriptors(struct queue *q) { return (struct descriptor *)q->ring; }
static volatile uint16_t *available(struct queue *q) { return (uint16_t *)(q->ring + 16 * q->count); }
static volatile uint32_t *used(struct queue *q)
{
    uint32_t end = 16 * q->count + 6 + 2 * q->count;
    return (uint32_t *)(q->ring + (end + PAGE - 1) / PAGE * PAGE);
}
static uint16_t used_index(struct queue *q) { return *used(q) >> 16; }

static void offer(struct queue *q, uint16_t number, uint32_t size)
{
    volatile uint16_t *ring = available(q);
    descriptors(q)[number].size = size;
    ring[2 + q->offered % q->count] = number;
    __asm__ volatile("" ::: "memory"); /* x86 keeps stores in order */
    ring[1] = ++q->offered;
}

static uint32_t pci_read(uint32_t slot, uint32_t at)
{
    out32(0xCF8, 1u << 31 | slot << 11 | at);
    return in32(0xCFC);
}

static int find_device(void)
{
    for (uint32_t slot = 0; slot < 32; slot++)
        if (pci_read(slot, 0) == 0x10001AF4) {
            device = pci_read(slot, 0x10) & ~3u;
            uint32_t command = pci_read(slot, 4) & 0xFFFF;
            out32(0xCFC, command | 5); /* I/O, bus master */
            return device != 0;
        }
    return 0;
}

static int start_queue(int which)
{
    struct queue *q = &queues[which];
    out16(device + 14, which);
    q->count = in16(device + 12);
    if (q->count < BUFFERS || q->count > QUEUE_MOST)
        return 0;
    for (int i = 0; i < BUFFERS; i++)
        descriptors(q)[i] = (struct descriptor){(uint32_t)q->buffers[i], BUFFER_BYTES, which == RX ? 2 : 0, 0};
    available(q)[0] = 1; /* no interrupts */
    out32(device + 8, (uint32_t)q->ring / PAGE);
    for (int i = 0; which == RX && i < BUFFERS; i++)
        offer(q, i, BUFFER_BYTES);
    return 1;
}

static int start_network(void)
{
    if (!find_device())
        return 0;
    out8(device + 18, 0);
    out8(device + 18, 1 | 2);
    out32(device + 4, in32(device) & (1 << 5 | 1 << 27)); /* its MAC address; header and frame in one buffer */
    for (int i = 0; i < 6; i++)
        mac[i] = in8(device + 20 + i);
    if (!start_queue(RX) || !start_queue(TX))
        return 0;
    out8(device + 18, 1 | 2 | 4);
    out16(device + 16, RX);
    return 1;
}

/* Where to write the next frame to be sent; waits until the device has sent what was there. */
static uint8_t *next_frame(void)
{
    struct queue *q = &queues[TX];
    while ((uint16_t)(q->offered - used_index(q)) >= BUFFERS)
        out16(device + 16, TX);
    uint8_t *buffer = q->buffers[q->offered % BUFFERS];
    memset(buffer, 0, HEADER_BYTES + 60);
    return buffer + HEADER_BYTES;
}

static void send_frame(void) { offer(&queues[TX], queues[TX].offered % BUFFERS, HEADER_BYTES + 60); }

/* --- ARP and TCP ----------------------------------------------------------------------------------------- */

static const uint8_t address[4] = {10, 0, 2, 15};
static const uint8_t everyone[6] = {255, 255, 255, 255, 255, 255};

static uint32_t get16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return get16(at) << 16 | get16(at + 2); }
static void put16(uint8_t *at, uint32_t value)
{
    at[0] = value >> 8;
    at[1] = value;
}
static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}
static int same(const uint8_t *a, const uint8_t *b, int size)
{
    while (size && *a++ == *b++)
        size--;
    return !size;
}
static uint32_t checksum(const uint8_t *data, int size, uint32_t sum)
{
    for (; size > 0; data += 2, size -= 2)
        sum += get16(data);
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return ~sum & 0xFFFF;
}

static void send_arp(int operation, const uint8_t *to_mac, const uint8_t *to)
{
    uint8_t *frame = next_frame();
    memcpy(frame, to_mac, 6);
    memcpy(frame + 6, mac, 6);
    memcpy(frame + 12, "\x08\x06\x00\x01\x08\x00\x06\x04", 8);
    put16(frame + 20, operation);
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 28, address, 4);
    memcpy(frame + 32, to_mac, 6);
    memcpy(frame + 38, to, 4);
    send_frame();
}

#define SYN 2
#define RST 4
#define ACK 16

/* Answers the TCP segment `tcp` of `size` bytes, of the packet in `request`. */
static void answer_tcp(const uint8_t *request, const uint8_t *tcp, uint32_t size)
{
    uint32_t flags = tcp[13], sequence = 0, acknowledge = 0, answer;
    if (flags & RST)
        return;
    if ((flags & (SYN | ACK)) == SYN && get16(tcp + 2) == OPEN_PORT) {
        answer = SYN | ACK;
        acknowledge = get32(tcp + 4) + 1;
    } else if (flags & ACK) {
        answer = RST;
        sequence = get32(tcp + 8);
    } else {
        answer = RST | ACK;
        acknowledge = get32(tcp + 4) + size - (tcp[12] >> 4) * 4 + (flags & 1) + (flags >> 1 & 1);
    }
    uint8_t *frame = next_frame(), *ip = frame + 14, *reply = ip + 20;
    memcpy(frame, request + 6, 6);
    memcpy(frame + 6, mac, 6);
    put16(frame + 12, 0x0800);
    put16(ip, 0x4500);
    put16(ip + 2, 40);
    put16(ip + 8, 64 << 8 | 6);
    memcpy(ip + 12, address, 4);
    memcpy(ip + 16, request + 26, 4);
    put16(ip + 10, checksum(ip, 20, 0));
    put16(reply, get16(tcp + 2));
    put16(reply + 2, get16(tcp));
    put32(reply + 4, sequence);
    put32(reply + 8, acknowledge);
    put16(reply + 12, 0x5000 | answer);
    put16(reply + 14, 0xFFFF);
    put16(reply + 16, checksum(ip + 12, 28, 6 + 20)); /* addresses and segment, and the pseudo-header's rest */
    send_frame();
}

static void answer(const uint8_t *frame, uint32_t size)
{
    if (size >= 42 && get16(frame + 12) == 0x0806 && get16(frame + 20) == 1 && same(frame + 38, address, 4))
        send_arp(2, frame + 22, frame + 28);
    if (size < 54 || get16(frame + 12) != 0x0800 || frame[23] != 6 || !same(frame + 30, address, 4))
        return;
    uint32_t head = (frame[14] & 15) * 4, total = get16(frame + 16);
    if (frame[14] >> 4 == 4 && head >= 20 && total >= head + 20 && total <= size - 14)
        answer_tcp(frame, frame + 14 + head, total - head);
}

static void poll(void)
{
    struct queue *q = &queues[RX];
    uint16_t sent = queues[TX].offered;
    if (q->taken == used_index(q))
        return;
    for (; q->taken != used_index(q); q->taken++) {
        volatile uint32_t *entry = used(q) + 1 + 2 * (q->taken % q->count);
        uint32_t number = entry[0], size = entry[1];
        if (size > HEADER_BYTES)
            answer(q->buffers[number] + HEADER_BYTES, size - HEADER_BYTES);
        offer(q, number, BUFFER_BYTES);
    }
    out16(device + 16, RX);
    if (sent != queues[TX].offered)
        out16(device + 16, TX);
}

void run(void)
{
    turn_paging_on();
    if (use_wx_page() != 42 || !start_network()) {
        say("PANIC: no page or no network\r\n");
        return;
    }
    send_arp(1, everyone, address); /* an announcement (RFC 5227) */
    out16(device + 16, TX);
    say_hex("text=", text_start);
    say_hex("-", text_end);
    say_hex(" wx=", wx_start);
    say_hex(" data=", data_start);
    say_hex(" stack=", stack_start);
    say_hex("-", stack_end);
    say("\r\n[ready]\r\n");
    for (;;)
        poll();
}
