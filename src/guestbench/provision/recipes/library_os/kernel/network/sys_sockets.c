/* The system calls of sockets: what the program passes is checked here, and waited for what sockets.c cannot do at once. */
#include "errors.h"
#include "events.h"
#include "machine.h"
#include "memory.h"
#include "network.h"
#include "sys_files.h"
#include "syscalls.h"

enum { INTERNET = 2, STREAM = 1, TYPE = 0xF, TCP = 6, NONBLOCK = 0x800, CLOSE_ON_EXEC = 0x80000 };
enum { PEEK = 2, DONT_WAIT = 0x40, WAIT_ALL = 0x100, NO_SIGNAL = 0x4000, MORE = 0x8000, BROKEN_PIPE_SIGNAL = 13 };

/* `struct sockaddr_in`. */
struct address { uint16_t family, port; uint32_t address; uint64_t unused; };

static int64_t no_socket(int64_t d) { return kind_of(d) == NOT_OPEN ? -EBADF : -ENOTSOCK; }

static int64_t get_address(int64_t from, int64_t size, struct end_point *to)
{
    const struct address *address = (const struct address *)from;

    if (size < (int64_t)sizeof *address)
        return -EINVAL;
    if (!area_allows((uint64_t)from, sizeof *address, READ))
        return -EFAULT;
    *to = (struct end_point){address->address, address->port};
    return address->family == INTERNET ? 0 : -EAFNOSUPPORT;
}

/* Stores as much of the address as there is room for, and how long it is. */
static int64_t put_address(int64_t to, int64_t size_address, struct end_point from)
{
    const struct address address = {INTERNET, from.port, from.address, 0};
    uint32_t *size = (uint32_t *)size_address, room;

    if (!area_allows((uint64_t)size, sizeof *size, READ | WRITE))
        return -EFAULT;
    room = *size < sizeof address ? *size : sizeof address;
    if (!area_allows((uint64_t)to, room, WRITE))
        return -EFAULT;
    memcpy((void *)to, &address, room);
    *size = sizeof address;
    return 0;
}

int64_t sys_socket(const int64_t *a)
{
    struct socket *socket;
    int64_t d;

    if (a[0] != INTERNET)
        return -EAFNOSUPPORT;
    if ((a[1] & ~(TYPE | NONBLOCK | CLOSE_ON_EXEC)) != 0)
        return -EINVAL;
    if ((a[1] & TYPE) != STREAM)
        return -ESOCKTNOSUPPORT;
    if (a[2] != 0 && a[2] != TCP)
        return -EPROTONOSUPPORT;
    if (!network_start())
        return -EAFNOSUPPORT;
    socket = socket_new();
    if (socket == NULL)
        return -ENOBUFS;
    d = open_socket(socket, (a[1] & NONBLOCK) == 0);
    if (d < 0)
        socket_close(socket);
    return d;
}

int64_t sys_bind(const int64_t *a)
{
    struct socket *socket = socket_of(a[0]);
    struct end_point where;
    int64_t error;

    if (socket == NULL)
        return no_socket(a[0]);
    error = get_address(a[1], a[2], &where);
    return error != 0 ? error : socket_bind(socket, where);
}

int64_t sys_listen(const int64_t *a)
{
    struct socket *socket = socket_of(a[0]);

    return socket != NULL ? socket_listen(socket, (int32_t)a[1]) : no_socket(a[0]);
}

static int64_t accept(int64_t listener, int64_t address, int64_t size, int64_t flags)
{
    struct socket *socket = socket_of(listener), *accepted;
    struct end_point name;
    int64_t error, d;

    if (socket == NULL)
        return no_socket(listener);
    if ((flags & ~(NONBLOCK | CLOSE_ON_EXEC)) != 0)
        return -EINVAL;
    while ((error = socket_accept(socket, &accepted)) == -EAGAIN && waits_on(listener))
        events_wait(NEVER, false);
    if (error != 0)
        return error;
    d = open_socket(accepted, (flags & NONBLOCK) == 0);
    if (d >= 0 && address != 0) {
        socket_name(accepted, true, &name);
        error = put_address(address, size, name);
        if (error != 0) {
            const int64_t arguments[6] = {d};

            return sys_close(arguments), error;
        }
    }
    if (d < 0)
        socket_close(accepted);
    return d;
}

int64_t sys_accept(const int64_t *a) { return accept(a[0], a[1], a[2], 0); }
int64_t sys_accept4(const int64_t *a) { return accept(a[0], a[1], a[2], a[3]); }

int64_t sys_connect(const int64_t *a)
{
    struct socket *socket = socket_of(a[0]);
    struct end_point where;
    int64_t error;

    if (socket == NULL)
        return no_socket(a[0]);
    error = get_address(a[1], a[2], &where);
    if (error != 0)
        return error;
    error = socket_connect(socket, where);
    if (error != -EINPROGRESS || !waits_on(a[0]))
        return error;
    while ((error = socket_connect(socket, where)) == -EALREADY)
        events_wait(NEVER, false);
    return error == -EISCONN ? 0 : error;
}

int64_t receive_waiting(int64_t d, void *bytes, size_t size, int64_t flags)
{
    bool wait = waits_on(d) && (flags & DONT_WAIT) == 0;
    size_t done = 0;

    for (;;) {
        int64_t count = socket_receive(socket_of(d), (char *)bytes + done, size - done, (flags & PEEK) != 0);

        if (count > 0)
            done += (size_t)count;
        if (count == -EAGAIN && wait && (done == 0 || (flags & WAIT_ALL) != 0))
            events_wait(NEVER, false);
        else if (count <= 0 || (flags & WAIT_ALL) == 0 || (flags & PEEK) != 0 || done == size)
            return done > 0 ? (int64_t)done : count;
    }
}

int64_t send_waiting(int64_t d, const void *bytes, size_t size, int64_t flags)
{
    bool wait = waits_on(d) && (flags & DONT_WAIT) == 0;
    size_t done = 0;

    for (;;) {
        int64_t count = socket_send(socket_of(d), (const char *)bytes + done, size - done, (flags & MORE) != 0);

        if (count > 0)
            done += (size_t)count;
        if (count == -EPIPE && done == 0 && (flags & NO_SIGNAL) == 0) {
            const int64_t arguments[6] = {PROCESS, BROKEN_PIPE_SIGNAL};

            sys_kill(arguments);
        }
        if (done == size || !wait || (count < 0 && count != -EAGAIN))
            return done > 0 ? (int64_t)done : count;
        if (count == -EAGAIN)
            events_wait(NEVER, false);
    }
}

int64_t sys_sendto(const int64_t *a)
{
    if (socket_of(a[0]) == NULL)
        return no_socket(a[0]);
    if ((a[3] & ~(DONT_WAIT | NO_SIGNAL | MORE)) != 0)
        return -EOPNOTSUPP;
    if (a[2] < 0 || !area_allows((uint64_t)a[1], (uint64_t)a[2], READ))
        return -EFAULT;
    return send_waiting(a[0], (const void *)a[1], (size_t)a[2], a[3]); /* the address is for others than TCP */
}

int64_t sys_recvfrom(const int64_t *a)
{
    if (socket_of(a[0]) == NULL)
        return no_socket(a[0]);
    if ((a[3] & ~(PEEK | DONT_WAIT | WAIT_ALL | NO_SIGNAL)) != 0)
        return -EOPNOTSUPP;
    if (a[2] < 0 || !area_allows((uint64_t)a[1], (uint64_t)a[2], WRITE))
        return -EFAULT;
    /* TCP names no sender here: all of a connection come from the same. */
    return receive_waiting(a[0], (void *)a[1], (size_t)a[2], a[3]);
}

int64_t sys_shutdown(const int64_t *a)
{
    struct socket *socket = socket_of(a[0]);
    int64_t how = (int32_t)a[1];

    if (socket == NULL)
        return no_socket(a[0]);
    return how < 0 || how > 2 ? -EINVAL : socket_shut_down(socket, how != 1, how != 0);
}

static int64_t name(const int64_t *a, bool peer)
{
    struct socket *socket = socket_of(a[0]);
    struct end_point name;
    int64_t error;

    if (socket == NULL)
        return no_socket(a[0]);
    error = socket_name(socket, peer, &name);
    return error != 0 ? error : put_address(a[1], a[2], name);
}

int64_t sys_getsockname(const int64_t *a) { return name(a, false); }
int64_t sys_getpeername(const int64_t *a) { return name(a, true); }

/* Options by level and name: those that lwIP has, and those that can be granted because they change nothing here. */
enum { OF_SOCKET = 1, REUSE_ADDRESS = 2, KIND = 3, ERROR = 4, BROADCAST = 6, SEND_BUFFER = 7, RECEIVE_BUFFER = 8,
       KEEP_ALIVE = 9, LINGER = 13, REUSE_PORT = 15, LISTENS = 30 };
enum { OF_IP = 0, SERVICE_TYPE = 1, NO_DELAY = 1, QUICK_ACK = 12 };

static int64_t option_of(int64_t level, int64_t option)
{
    if (level == OF_SOCKET && (option == REUSE_ADDRESS || option == REUSE_PORT))
        return SOCKET_REUSE_ADDRESS;
    if (level == OF_SOCKET && option == KEEP_ALIVE)
        return SOCKET_KEEP_ALIVE;
    return level == TCP && option == NO_DELAY ? SOCKET_NO_DELAY : -ENOPROTOOPT;
}

int64_t sys_setsockopt(const int64_t *a)
{
    struct socket *socket = socket_of(a[0]);
    int64_t option = option_of(a[1], a[2]);

    if (socket == NULL)
        return no_socket(a[0]);
    if (a[4] < 4)
        return -EINVAL;
    if (!area_allows((uint64_t)a[3], 4, READ))
        return -EFAULT;
    if (option >= 0) {
        socket_set(socket, (enum socket_option)option, *(const int32_t *)a[3] != 0);
        return 0;
    }
    if (a[1] == OF_SOCKET && (a[2] == SEND_BUFFER || a[2] == RECEIVE_BUFFER || a[2] == BROADCAST))
        return 0;
    if (a[1] == OF_SOCKET && a[2] == LINGER && *(const int32_t *)a[3] == 0)
        return 0;
    return (a[1] == OF_IP && a[2] == SERVICE_TYPE) || (a[1] == TCP && a[2] == QUICK_ACK) ? 0 : option;
}

int64_t sys_getsockopt(const int64_t *a)
{
    struct socket *socket = socket_of(a[0]);
    int64_t option = option_of(a[1], a[2]);
    uint32_t *size = (uint32_t *)a[4];
    int32_t value;

    if (socket == NULL)
        return no_socket(a[0]);
    if (!area_allows((uint64_t)size, sizeof *size, READ | WRITE) || !area_allows((uint64_t)a[3], sizeof value, WRITE))
        return -EFAULT;
    if (*size < sizeof value)
        return -EINVAL;
    if (option >= 0)
        value = socket_get(socket, (enum socket_option)option);
    else if (a[1] == OF_SOCKET && a[2] == ERROR)
        value = socket_take_error(socket);
    else if (a[1] == OF_SOCKET && a[2] == KIND)
        value = STREAM;
    else if (a[1] == OF_SOCKET && a[2] == LISTENS)
        value = socket_is_listening(socket);
    else if (a[1] == OF_SOCKET && (a[2] == SEND_BUFFER || a[2] == RECEIVE_BUFFER))
        value = 65536;
    else
        return -ENOPROTOOPT;
    *(int32_t *)a[3] = value;
    *size = sizeof value;
    return 0;
}
