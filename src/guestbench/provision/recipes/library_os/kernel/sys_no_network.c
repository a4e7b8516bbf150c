/* Sockets of a system without a network, as Linux has them without a device: a server can listen, and no one ever comes. */
#ifndef NETWORK
#include "errors.h"
#include "events.h"
#include "network.h"
#include "sys_files.h"
#include "syscalls.h"

enum { INTERNET = 2, STREAM = 1, TYPE = 0x0F, NONBLOCK = 0x800 };

static int64_t if_socket(int64_t d, int64_t answer) { return kind_of(d) == SOCKET ? answer : kind_of(d) == NOT_OPEN ? -EBADF : -ENOTSOCK; }

int64_t sys_socket(const int64_t *a)
{
    return a[0] == INTERNET && (a[1] & TYPE) == STREAM ? open_socket(NULL, (a[1] & NONBLOCK) == 0) : -EAFNOSUPPORT;
}

int64_t sys_accept4(const int64_t *a)
{
    while (kind_of(a[0]) == SOCKET && waits_on(a[0]))
        events_wait(NEVER, false);
    return if_socket(a[0], -EAGAIN);
}

int64_t sys_accept(const int64_t *a) { return sys_accept4(a); }
int64_t sys_bind(const int64_t *a) { return if_socket(a[0], 0); }
int64_t sys_listen(const int64_t *a) { return if_socket(a[0], 0); }
int64_t sys_setsockopt(const int64_t *a) { return if_socket(a[0], 0); }
int64_t sys_connect(const int64_t *a) { return if_socket(a[0], -ENETUNREACH); }
int64_t sys_sendto(const int64_t *a) { return if_socket(a[0], -ENOTCONN); }
int64_t sys_recvfrom(const int64_t *a) { return if_socket(a[0], -ENOTCONN); }
int64_t sys_shutdown(const int64_t *a) { return if_socket(a[0], -ENOTCONN); }
int64_t sys_getpeername(const int64_t *a) { return if_socket(a[0], -ENOTCONN); }
int64_t sys_getsockname(const int64_t *a) { return if_socket(a[0], -EOPNOTSUPP); }
int64_t sys_getsockopt(const int64_t *a) { return if_socket(a[0], -EOPNOTSUPP); }
#endif
