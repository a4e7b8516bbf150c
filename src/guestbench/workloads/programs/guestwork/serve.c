/* serve: echo, discard, chargen and HTTP for several clients at once, in one process that polls.
 *
 * A client costs no memory until it is slow, and then a bounded amount. It runs until it is killed.
 */

#include "guestwork.h"
#include "serve.h"
#include "sockets.h"

enum { LISTENERS = 8, CONNECTIONS = 64, READ_SIZE = 65536 };
enum { POLLIN = 1, POLLOUT = 4 };

/* Chargen's lines repeat after 95 of them. Their pattern is held several times over, so that a large write
 * is possible wherever in it a connection is. */
enum { GLYPHS = 95, SHOWN = 72, LINE = SHOWN + 2, PERIOD = GLYPHS * LINE, STREAM_SIZE = 9 * PERIOD };

struct poll_request {
    int fd;
    short events;
    short happened;
};

struct listener {
    enum service service;
    uint16_t port;
    int fd;
};

static struct listener listeners[LISTENERS];
static size_t listener_count;

/* Without gaps: the last one takes the place of one that is closed. */
static struct connection connections[CONNECTIONS];
static size_t connection_count;

static uint8_t *received;
static char *chargen;

/* --- writing ------------------------------------------------------------------------------------------ */

/* Returns how many bytes were taken, 0 if none can be now, or below zero if the client is gone. */
static long send(int fd, const void *bytes, size_t size)
{
    /* Without a signal, for a client that is gone would be the end of the server. */
    enum { MSG_NOSIGNAL = 0x4000 };
    long result = syscall6(SYS_SENDTO, fd, (long)bytes, (long)size, MSG_NOSIGNAL, 0, 0);

    return result == -EAGAIN || result == -EINTR ? 0 : result;
}

/* RFC 864: each line shows 72 of the 95 printable characters, and begins one further than that before it. */
static void make_chargen(void)
{
    chargen = allocate(STREAM_SIZE + PERIOD);
    for (size_t i = 0; i < STREAM_SIZE + PERIOD; i++) {
        size_t line = i / LINE, column = i % LINE;
        chargen[i] = column < SHOWN ? (char)(' ' + (line + column) % GLYPHS) : column == SHOWN ? '\r' : '\n';
    }
}

static bool has_to_write(const struct connection *connection)
{
    return connection->service == CHARGEN || connection->owed || connection->refusal_left;
}

/* Write what the client takes of what is owed to it. False: it is gone. */
static bool write_owed(struct connection *connection)
{
    const char *bytes = NULL;
    size_t size;
    long sent;

    switch (connection->service) {
    case ECHO:
        sent = send(connection->fd, connection->kept + connection->at, connection->owed);
        if (sent > 0) {
            connection->at += (size_t)sent;
            connection->owed -= (size_t)sent;
        }
        return sent >= 0;
    case CHARGEN:
        sent = send(connection->fd, chargen + connection->at, STREAM_SIZE);
        if (sent > 0)
            connection->at = (connection->at + (size_t)sent) % PERIOD;
        return sent >= 0;
    case HTTP:
        while ((size = next_answer(connection, &bytes)) > 0) {
            sent = send(connection->fd, bytes, size);
            if (sent <= 0)
                return sent == 0;
            answer_written(connection, (size_t)sent);
        }
        return true;
    default:
        return true;
    }
}

/* Send back what was received, and keep what the client does not take. False: it is gone. */
static bool echo(struct connection *connection, size_t size)
{
    long sent = send(connection->fd, received, size);

    if (sent < 0)
        return false;
    if ((size_t)sent < size) {
        if (!connection->kept)
            connection->kept = allocate(READ_SIZE);
        connection->owed = size - (size_t)sent;
        connection->at = 0;
        memcpy(connection->kept, received + sent, connection->owed);
    }
    return true;
}

/* --- reading ------------------------------------------------------------------------------------------ */

/* Nothing is read for a client that has not taken its answers: that is what keeps the memory bounded. */
static bool has_to_read(const struct connection *connection)
{
    if (connection->service == ECHO || connection->service == HTTP)
        return !has_to_write(connection) && !connection->ending;
    return true;
}

/* Read once and do what the service does with it. False: the connection is over. */
static bool read_more(struct connection *connection)
{
    long size = sys_read(connection->fd, received, READ_SIZE);

    if (size == -EAGAIN || size == -EINTR)
        return true;
    if (size <= 0)
        return false;
    if (connection->service == ECHO)
        return echo(connection, (size_t)size);
    if (connection->service == HTTP)
        take_requests(connection, received, (size_t)size);
    return true;
}

/* Do what can be done for a connection. False: it is over. */
static bool serve_connection(struct connection *connection)
{
    enum { SHUT_WR = 1 };

    if (has_to_read(connection) && !read_more(connection))
        return false;
    if (has_to_write(connection) && !write_owed(connection))
        return false;
    if (connection->ending && !has_to_write(connection)) {
        /* A close with bytes unread would make the client's kernel drop the last answer. */
        syscall3(SYS_SHUTDOWN, connection->fd, SHUT_WR, 0);
        connection->ending = false;
        connection->service = DISCARD;
    }
    return true;
}

/* --- connections -------------------------------------------------------------------------------------- */

static void close_connection(size_t index)
{
    struct connection *connection = &connections[index];

    sys_close(connection->fd);
    if (connection->kept)
        syscall3(SYS_MUNMAP, (long)connection->kept, READ_SIZE, 0);
    *connection = connections[--connection_count];
}

static void accept_all(const struct listener *listener)
{
    enum { TCP = 6, TCP_NODELAY = 1, RETRY_MS = 10 };
    int on = 1;

    for (;;) {
        int fd = (int)syscall6(SYS_ACCEPT4, listener->fd, 0, 0, NONBLOCK, 0, 0);
        if (fd < 0) {
            /* Anything else, such as too few file descriptors, would be reported again at once. */
            if (fd != -EAGAIN && fd != -EINTR)
                sys_sleep_ms(RETRY_MS);
            return;
        }
        if (connection_count == CONNECTIONS) {
            sys_close(fd);
            continue;
        }
        syscall6(SYS_SETSOCKOPT, fd, TCP, TCP_NODELAY, (long)&on, sizeof on, 0);
        if (listener->service == CHARGEN && !chargen)
            make_chargen();
        connections[connection_count++] = (struct connection){.fd = fd, .service = listener->service};
    }
}

static void serve_once(void)
{
    static struct poll_request requests[LISTENERS + CONNECTIONS];
    size_t count = connection_count;

    for (size_t i = 0; i < listener_count; i++)
        requests[i] = (struct poll_request){listeners[i].fd, POLLIN, 0};
    for (size_t i = 0; i < count; i++) {
        struct connection *connection = &connections[i];
        int events = (has_to_read(connection) ? POLLIN : 0) | (has_to_write(connection) ? POLLOUT : 0);
        requests[listener_count + i] = (struct poll_request){connection->fd, (short)events, 0};
    }
    if (syscall3(SYS_POLL, (long)requests, (long)(listener_count + count), -1) < 0)
        return;
    /* From the last on, so that one which takes another's place has had its turn. */
    for (size_t i = count; i-- > 0;)
        if (requests[listener_count + i].happened && !serve_connection(&connections[i]))
            close_connection(i);
    for (size_t i = 0; i < listener_count; i++)
        if (requests[i].happened)
            accept_all(&listeners[i]);
}

/* --- the beginning ------------------------------------------------------------------------------------ */

static void listen_on(struct listener *listener, uint32_t address)
{
    enum { SOL_SOCKET = 1, SO_REUSEADDR = 2, WAITING = 128 };
    struct socket_address where = internet_address(address, listener->port);
    int on = 1, fd = (int)syscall3(SYS_SOCKET, INTERNET, STREAM | NONBLOCK, 0);
    long result = fd;

    if (result >= 0)
        result = syscall6(SYS_SETSOCKOPT, fd, SOL_SOCKET, SO_REUSEADDR, (long)&on, sizeof on, 0);
    if (result >= 0)
        result = syscall3(SYS_BIND, fd, (long)&where, sizeof where);
    if (result >= 0)
        result = syscall3(SYS_LISTEN, fd, WAITING, 0);
    if (result < 0) {
        struct line port = {0};
        add_number(&port, listener->port);
        fail(FAILED, "cannot listen on port", port.text);
    }
    listener->fd = fd;
}

/* Read a port, 7, 9, 19 or 80, or SERVICE:PORT, and go past it. */
static bool take_port(const char **text, struct listener *listener)
{
    static const struct {
        const char *name;
        uint16_t port;
    } services[] = {{"echo:", 7}, {"discard:", 9}, {"chargen:", 19}, {"http:", 80}};

    for (enum service service = ECHO; service <= HTTP; service++) {
        const char *at = *text;
        uint64_t port;
        bool named = take_word(&at, services[service].name);
        if (!take_number(&at, &port) || (!named && port != services[service].port))
            continue;
        *listener = (struct listener){service, (uint16_t)port, -1};
        *text = at;
        return port >= 1 && port <= UINT16_MAX;
    }
    return false;
}

static void take_ports(const char *list)
{
    listener_count = 0;
    for (const char *at = list;; at++) {
        bool room = listener_count < LISTENERS;
        if (!room || !take_port(&at, &listeners[listener_count++]) || (*at && *at != ','))
            fail(USAGE, "not ports 7, 9, 19, 80 or SERVICE:PORT (echo, discard, chargen, http):", list);
        if (!*at)
            return;
    }
}

/* Read ADDRESS/BITS. */
static bool take_network(const char *text, struct network *network)
{
    uint64_t bits;

    if (!take_address(&text, &network->address) || !take_word(&text, "/"))
        return false;
    if (!take_number(&text, &bits) || bits > 32)
        return false;
    network->netmask = __builtin_bswap32((uint32_t)(0xffffffffULL << (32 - bits)));
    return !*text;
}

static bool take_whole_address(const char *text, uint32_t *address)
{
    return take_address(&text, address) && !*text;
}

_Noreturn void run_serve(char **arguments, bool first_process)
{
    struct line ready = {0};
    struct network network;
    uint32_t bind_to = 0;

    /* The network that QEMU's user mode gives to a guest. */
    take_network("10.0.2.15/24", &network);
    take_whole_address("10.0.2.2", &network.gateway);
    take_ports("7,9,19,80");
    for (; *arguments; arguments++) {
        const char *value = *arguments;
        bool good = true;
        if (take_word(&value, "ports="))
            take_ports(value);
        else if (take_word(&value, "bind="))
            good = take_whole_address(value, &bind_to);
        else if (take_word(&value, "address="))
            good = take_network(value, &network);
        else if (take_word(&value, "gateway="))
            good = take_whole_address(value, &network.gateway);
        else
            fail(USAGE, "serve does not know", *arguments);
        if (!good)
            fail(USAGE, "not an address (address=A.B.C.D/BITS, others A.B.C.D):", *arguments);
    }
    if (first_process)
        set_up_guest(&network);
    received = allocate(READ_SIZE);
    for (size_t i = 0; i < listener_count; i++)
        listen_on(&listeners[i], bind_to);
    add_text(&ready, "[serve ready]\n");
    write_line(1, &ready);
    for (;;)
        serve_once();
}
