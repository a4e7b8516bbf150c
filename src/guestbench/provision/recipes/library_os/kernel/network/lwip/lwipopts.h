/* lwIP as it is used here: IPv4, ARP, ICMP, TCP and DHCP, driven by callbacks from one thread, with no memory of its own. */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
/* interface.c has timers of its own: lwIP's take memory, and end the program where there is none left. */
#define LWIP_TIMERS 0

/* All memory comes from the network's heap when it is needed. */
#define MEM_ALIGNMENT 8
#define MEM_LIBC_MALLOC 1
#define MEMP_MEM_MALLOC 1
#define mem_clib_malloc heap_take
#define mem_clib_calloc heap_take_zeroed
#define mem_clib_free heap_give_back
#define LWIP_SUPPORT_CUSTOM_PBUF 1

/* The driver puts its header in front of each frame, so that a packet is one piece of memory. */
#define PBUF_LINK_ENCAPSULATION_HLEN 10

#define LWIP_ARP 1
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_UDP 1
#define LWIP_DHCP 1
#define DHCP_DOES_ARP_CHECK 0
#define IP_REASSEMBLY 0
#define IP_FRAG 0
#define LWIP_STATS 0
#define LWIP_NETIF_LOOPBACK 0

/* 44 segments: just under the 64 KiB that a window can be without scaling, which QEMU's user network does not do. */
#define LWIP_TCP 1
#define TCP_MSS 1460
#define TCP_WND (44 * TCP_MSS)
#define TCP_SND_BUF (44 * TCP_MSS)
#define TCP_SND_QUEUELEN 176
#define TCP_LISTEN_BACKLOG 1
/* A segment out of order is not kept: it would hold a receive buffer for as long as the sender likes. */
#define TCP_QUEUE_OOSEQ 0
/* About 5 minutes for a peer that has gone; what is unsent holds its memory for so long. */
#define TCP_MAXRTX 8
#define SO_REUSE 1
/* Connections that are over keep their ports for 5 s and not, as the standard has it, for 4 minutes: each costs memory. */
#define TCP_MSL 2500
#define LWIP_HOOK_TCP_ISN(local_address, local_port, remote_address, remote_port) ((void)(local_address), network_random())

struct pbuf;
struct tcp_hdr;
struct tcp_pcb;
/* Has the last word on a segment before lwIP uses it: see sockets.c. */
signed char check_segment(struct tcp_pcb *pcb, struct tcp_hdr *header, unsigned options, unsigned options_1, void *options_2,
                          const struct pbuf *data);
#define LWIP_HOOK_TCP_INPACKET_PCB check_segment

#endif
