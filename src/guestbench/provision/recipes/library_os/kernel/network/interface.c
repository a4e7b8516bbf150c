/* The one network interface: device below, lwIP above, and the time that its protocols need. */
#include "clock.h"
#include "console.h"
#include "events.h"
#include "machine.h"
#include "parts.h"

#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"
#include "netif/ethernet.h"

enum { MS = 1000000, LEASE_WAIT_MS = 5000, LARGEST_PACKET = 1500, SMALLEST_FRAME = 42 };

static struct netif interface;
/* What QEMU's user network gives a guest, where nothing else is asked for. */
static struct network_options options = {NETWORK_FIXED, 0x0F02000A, 0x00FFFFFF, 0x0202000A};
static enum { UNTRIED, RUNNING, ABSENT } state;

/* Puts right what lwIP leaves: the timer of its window probes goes on where an answer took the last byte that waited, which
   it does not bear, and a peer that answers slowly can bring it to wait for hours until it sends again. */
static void tcp_tick(void)
{
    enum { LONGEST_WAIT = 60 * 1000 / TCP_SLOW_INTERVAL };

    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb->unsent == NULL || pcb->unacked != NULL)
            pcb->persist_backoff = 0;
        if (pcb->rto > LONGEST_WAIT)
            pcb->rto = LONGEST_WAIT;
    }
    tcp_tmr();
}

/* lwIP's timers. Without a connection and without DHCP nothing they do is urgent, and the machine is not woken for them. */
static struct { uint64_t period_ns, due_ns; void (*tick)(void); } timers[] = {
    {(uint64_t)TCP_TMR_INTERVAL * MS, 0, tcp_tick},
    {(uint64_t)ARP_TMR_INTERVAL * MS, 0, etharp_tmr},
    {(uint64_t)DHCP_FINE_TIMER_MSECS * MS, 0, dhcp_fine_tmr},
    {(uint64_t)DHCP_COARSE_TIMER_MSECS * MS, 0, dhcp_coarse_tmr},
};
enum { TIMERS = sizeof timers / sizeof *timers, TIMERS_WITHOUT_DHCP = 2 };

uint32_t network_random(void)
{
    uint32_t value;

    random_bytes(&value, sizeof value);
    return value;
}

uint32_t network_address(void) { return interface.ip_addr.addr; }

static err_t send(struct netif *netif, struct pbuf *frame)
{
    (void)netif;
    return device_send(frame) ? ERR_OK : ERR_MEM;
}

static err_t describe(struct netif *netif)
{
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->mtu = LARGEST_PACKET;
    netif->hwaddr_len = 6;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = etharp_output;
    netif->linkoutput = send;
    return ERR_OK;
}

void network_frame(struct pbuf *frame)
{
    /* An ARP packet, or IP with 8 bytes in it. In anything shorter lwIP would read beyond the end. */
    if (frame->tot_len < SMALLEST_FRAME || ethernet_input(frame, &interface) != ERR_OK)
        pbuf_free(frame);
}

void network_work(void)
{
    uint64_t now;

    if (state != RUNNING)
        return;
    device_work();
    now = clock_monotonic_ns();
    for (unsigned i = 0; i < TIMERS; i++)
        if (now >= timers[i].due_ns) {
            timers[i].due_ns = now + timers[i].period_ns;
            timers[i].tick();
        }
    device_flush();
}

uint64_t network_before_sleep(void)
{
    unsigned count = options.mode == NETWORK_DHCP ? TIMERS : TIMERS_WITHOUT_DHCP;
    uint64_t due_ns = NEVER;

    if (state != RUNNING)
        return NEVER;
    if (device_interrupts(true))
        return 0;
    if (tcp_active_pcbs == NULL && tcp_tw_pcbs == NULL && options.mode != NETWORK_DHCP)
        return NEVER;
    for (unsigned i = 0; i < count; i++)
        if (timers[i].due_ns < due_ns)
            due_ns = timers[i].due_ns;
    return due_ns;
}

void network_after_sleep(void)
{
    if (state == RUNNING)
        device_interrupts(false);
}

/* A server on QEMU's user network answers in a millisecond. One that does not answer keeps the program waiting, not away. */
static void wait_for_lease(void)
{
    uint64_t until = clock_monotonic_ns() + (uint64_t)LEASE_WAIT_MS * MS;

    while (network_address() == 0 && clock_monotonic_ns() < until)
        events_wait(until, false);
}

static void print_address(void)
{
    const uint8_t *byte = (const uint8_t *)&interface.ip_addr.addr;

    console_fresh_line();
    if (network_address() == 0)
        console_print("[refuk: network: no address yet]\n");
    else
        console_print("[refuk: network %u.%u.%u.%u]\n", (uint64_t)byte[0], (uint64_t)byte[1], (uint64_t)byte[2],
                      (uint64_t)byte[3]);
}

bool network_start(void)
{
    const ip4_addr_t address = {options.address}, mask = {options.mask}, gateway = {options.gateway};

    if (state != UNTRIED)
        return state == RUNNING;
    state = ABSENT;
    if (options.mode == NETWORK_OFF || !device_start(interface.hwaddr))
        return false;
    state = RUNNING;
    lwip_init();
    netif_add(&interface, &address, &mask, &gateway, NULL, describe, ethernet_input);
    netif_set_default(&interface);
    netif_set_up(&interface);
    if (options.mode == NETWORK_DHCP && dhcp_start(&interface) == ERR_OK)
        wait_for_lease();
    device_flush();
    return true;
}

void network_configure(const char *option)
{
    const char *wrong = network_options_parse(option, &options);

    if (wrong != NULL)
        give_up("refuk.net is %s: %s", wrong, option);
    if (options.mode == NETWORK_OFF)
        return;
    if (network_start()) {
        print_address();
    } else {
        console_fresh_line();
        console_print("[refuk: network: no device]\n");
    }
}
