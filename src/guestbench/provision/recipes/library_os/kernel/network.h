/* The network as the rest of the kernel sees it. Built without NETWORK there is none, and nothing of it is linked. */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "machine.h"

struct socket;

enum { HAPPENED_IN = 0x01, HAPPENED_OUT = 0x04, HAPPENED_ERROR = 0x08, HAPPENED_HANGUP = 0x10, HAPPENED_INVALID = 0x20,
       HAPPENED_PEER_DONE = 0x2000 }; /* as poll has them */

#ifdef NETWORK

/* Takes the option refuk.net and starts the network at once; without it, the first socket does. Gives up on a wrong one. */
void network_configure(const char *option);

/* Starts the device and the protocols, once. False where there is no network. */
bool network_start(void);

/* Handles what was received, and the timers of the protocols, and hands the device what is to be sent. */
void network_work(void);

/* Has the device interrupt from now on. Returns when network_work is needed at the latest: 0 for at once. */
uint64_t network_before_sleep(void);
void network_after_sleep(void);

/* TCP sockets. None of these functions waits: -EAGAIN where the caller would have to. Memory that they are given has been
   checked. Addresses and ports are in the order of the network. */
struct end_point { uint32_t address; uint16_t port; };

struct socket *socket_new(void); /* NULL where no memory is left */
int64_t socket_bind(struct socket *socket, struct end_point where);
int64_t socket_listen(struct socket *socket, int64_t backlog);
int64_t socket_accept(struct socket *socket, struct socket **accepted);
int64_t socket_connect(struct socket *socket, struct end_point where); /* -EINPROGRESS; then -EALREADY until it is done */
int64_t socket_receive(struct socket *socket, void *bytes, size_t size, bool keep);
int64_t socket_send(struct socket *socket, const void *bytes, size_t size, bool more);
int64_t socket_shut_down(struct socket *socket, bool reading, bool writing);
void socket_close(struct socket *socket);

/* What poll would tell of it: HAPPENED_... */
unsigned socket_events(const struct socket *socket);

/* The error that is waiting to be told, as a positive number, or 0; told once. */
int socket_take_error(struct socket *socket);

/* This end, or with `peer` the other: -ENOTCONN where there is none. */
int64_t socket_name(const struct socket *socket, bool peer, struct end_point *name);

uint32_t socket_held(const struct socket *socket); /* bytes that can be received now */
enum socket_option { SOCKET_REUSE_ADDRESS, SOCKET_KEEP_ALIVE, SOCKET_NO_DELAY };
void socket_set(struct socket *socket, enum socket_option option, bool on);
bool socket_get(const struct socket *socket, enum socket_option option);
bool socket_is_listening(const struct socket *socket);

/* recv and send on the descriptor of a socket, with the flags that they have (MSG_...); they wait if the descriptor does. */
int64_t receive_waiting(int64_t descriptor, void *bytes, size_t size, int64_t flags);
int64_t send_waiting(int64_t descriptor, const void *bytes, size_t size, int64_t flags);

#else

static inline void network_configure(const char *option) { give_up("built without network: refuk.net=%s", option); }
static inline void network_work(void) { }
static inline uint64_t network_before_sleep(void) { return UINT64_MAX; }
static inline void network_after_sleep(void) { }
static inline unsigned socket_events(const struct socket *socket) { (void)socket; return 0; }
static inline void socket_close(struct socket *socket) { (void)socket; }
static inline uint32_t socket_held(const struct socket *socket) { (void)socket; return 0; }
static inline int64_t receive_waiting(int64_t d, void *bytes, size_t size, int64_t flags)
{
    (void)d, (void)bytes, (void)size, (void)flags;
    return -ENOTCONN;
}
static inline int64_t send_waiting(int64_t d, const void *bytes, size_t size, int64_t flags)
{
    (void)d, (void)bytes, (void)size, (void)flags;
    return -ENOTCONN;
}

#endif
#endif
