/* TCP sockets over lwIP's callbacks. What comes in lies in a ring of pages, what goes out in lwIP; both are bounded, and
   pages are there only as long as they hold something. */
#include "errors.h"
#include "machine.h"
#include "parts.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/tcp.h"
#include "lwip/tcp.h"

enum { RING_PAGES = 17, RING = RING_PAGES * PAGE, PIECE = 8 * TCP_MSS, LARGEST_BACKLOG = 255 };

/* The newest bytes never come to lie in the page of the oldest, which goes back once it is read. */
_Static_assert(RING >= TCP_WND + PAGE, "what the window allows has room");

struct socket {
    /* NULL where lwIP has done with the connection, or goes on with its end alone. */
    struct tcp_pcb *pcb;
    struct socket *first, *next;      /* of a listening one: the oldest not accepted yet; of those: the next */
    char *pages[RING_PAGES];
    uint32_t at, held;                /* bytes received: where in the ring, and how many */
    struct end_point here, there;     /* kept for when `pcb` is gone */
    enum { FRESH, LISTENING, CONNECTING, CONNECTED } state;
    int error;                        /* to be told by the next call */
    bool peer_done, reading_done, writing_done;
};

/* --- what was received ------------------------------------------------------------------------------- */

/* How much of it, from there on, lies in one piece. */
static uint32_t piece_at(uint32_t at, uint32_t size)
{
    uint32_t in_page = PAGE - at % PAGE;

    return size < in_page ? size : in_page;
}

/* False where there is no memory for all of it; nothing has been taken then. */
static bool ring_put(struct socket *socket, const struct pbuf *packet)
{
    uint32_t at = (socket->at + socket->held) % RING, size = packet->tot_len;

    if (size > RING - PAGE - socket->held)
        return false;
    for (uint32_t done = 0; done < size; done += piece_at((at + done) % RING, size - done)) {
        char **page = &socket->pages[(at + done) % RING / PAGE];

        if (*page == NULL)
            *page = network_page_take();
        if (*page == NULL)
            return false;
    }
    socket->held += size;
    for (; packet != NULL; packet = packet->next)
        for (uint32_t done = 0, piece; done < packet->len; done += piece) {
            piece = piece_at(at, packet->len - done);
            memcpy(socket->pages[at / PAGE] + at % PAGE, (char *)packet->payload + done, piece);
            at = (at + piece) % RING;
        }
    return true;
}

static void drop_page(struct socket *socket, uint32_t number)
{
    if (socket->pages[number] != NULL)
        network_page_give_back(socket->pages[number]);
    socket->pages[number] = NULL;
}

/* Copies up to `size` bytes out, and takes them away unless they are to be kept. */
static uint32_t ring_get(struct socket *socket, char *bytes, size_t size, bool keep)
{
    uint32_t at = socket->at, count = size < socket->held ? (uint32_t)size : socket->held;

    for (uint32_t done = 0, piece; done < count; done += piece) {
        piece = piece_at(at, count - done);
        memcpy(bytes + done, socket->pages[at / PAGE] + at % PAGE, piece);
        if (!keep && (at + piece) % PAGE == 0)
            drop_page(socket, at / PAGE);
        at = (at + piece) % RING;
    }
    if (keep)
        return count;
    socket->at = at;
    socket->held -= count;
    if (socket->held == 0) /* the page that is there already is used from its beginning */
        socket->at = page_down(at);
    return count;
}

/* --- lwIP's callbacks --------------------------------------------------------------------------------- */

/* Leaves the connection to lwIP, which ends it by itself; from here on it may be gone at any time. */
static struct tcp_pcb *let_go(struct socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;

    socket->pcb = NULL;
    tcp_arg(pcb, NULL);
    if (socket->state != LISTENING) {
        tcp_recv(pcb, NULL);
        tcp_err(pcb, NULL);
        tcp_setprio(pcb, TCP_PRIO_MIN); /* it has to give way where there is no memory for a new one */
    }
    return pcb;
}

static err_t received(void *argument, struct tcp_pcb *pcb, struct pbuf *packet, err_t error)
{
    struct socket *socket = argument;

    (void)error;
    if (packet == NULL) {
        socket->peer_done = true;
        if (socket->writing_done)
            let_go(socket);
        return ERR_OK;
    }
    if (socket->reading_done) {
        tcp_recved(pcb, packet->tot_len);
    } else if (!ring_put(socket, packet)) {
        if (pcb->state != TIME_WAIT && pcb->state != CLOSING)
            return ERR_MEM; /* lwIP keeps it and asks again */
        socket->error = ENOMEM; /* it would not ask, and not tell of the end either, when the connection is over meanwhile */
    }
    pbuf_free(packet);
    return ERR_OK;
}

static void failed(void *argument, err_t error)
{
    struct socket *socket = argument;

    socket->pcb = NULL;
    if (error == ERR_RST)
        socket->error = socket->state == CONNECTING ? ECONNREFUSED : ECONNRESET;
    else if (error != ERR_CLSD)
        socket->error = ETIMEDOUT;
}

/* lwIP cuts segments to half of the largest window seen, but to the whole size while that is 0 or 1, and does not bear the
   size to shrink later. So it never sees a small one; for real ones it splits what is to be sent. */
static void fix_segment_size(struct tcp_pcb *pcb)
{
    if (pcb->snd_wnd_max < 2 * TCP_MSS)
        pcb->snd_wnd_max = 2 * TCP_MSS;
}

static void note_names(struct socket *socket)
{
    socket->here = (struct end_point){socket->pcb->local_ip.addr, lwip_htons(socket->pcb->local_port)};
    if (socket->state != LISTENING)
        socket->there = (struct end_point){socket->pcb->remote_ip.addr, lwip_htons(socket->pcb->remote_port)};
}

static err_t connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct socket *socket = argument;

    (void)error;
    fix_segment_size(pcb);
    socket->state = CONNECTED;
    note_names(socket);
    return ERR_OK;
}

static struct socket *socket_of(struct tcp_pcb *pcb)
{
    struct socket *socket = heap_take_zeroed(1, sizeof *socket);

    if (socket == NULL)
        return NULL;
    socket->pcb = pcb;
    tcp_arg(pcb, socket);
    tcp_recv(pcb, received);
    tcp_err(pcb, failed);
    return socket;
}

/* A connection that a listening socket has got; it may receive before it is accepted. */
static err_t arrived(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct socket *listener = argument, *socket, **last;

    if (error != ERR_OK || listener == NULL)
        return ERR_VAL;
    socket = socket_of(pcb);
    if (socket == NULL)
        return ERR_MEM;
    socket->state = CONNECTED;
    fix_segment_size(pcb);
    note_names(socket);
    tcp_backlog_delayed(pcb);
    for (last = &listener->first; *last != NULL; last = &(*last)->next)
        ;
    *last = socket;
    return ERR_OK;
}

/* An acknowledgement that says nothing new, to one whose own window is closed. lwIP would take it to be out of the window
   and answer; where both windows are closed, its answer is out of the other's window too, after a probe, and the two would
   answer one another without end. */
static bool is_idle_answer(const struct tcp_pcb *pcb, const struct tcp_hdr *header, const struct pbuf *data)
{
    return pcb->rcv_wnd == 0 && data->tot_len == 0 && TCPH_FLAGS(header) == TCP_ACK && header->seqno == pcb->rcv_nxt &&
           header->ackno == pcb->lastack && header->wnd == pcb->snd_wnd;
}

err_t check_segment(struct tcp_pcb *pcb, struct tcp_hdr *header, unsigned options, unsigned options_1, void *options_2,
                    const struct pbuf *data)
{
    enum { NO_OPERATION = 1 };

    if (pcb->state < ESTABLISHED || pcb->state == TIME_WAIT)
        return ERR_OK;
    /* None has a meaning once a connection stands; lwIP would take another segment size, and then fail its own checks. */
    memset(header + 1, NO_OPERATION, options_1);
    if (options_2 != NULL)
        memset(options_2, NO_OPERATION, options - options_1);
    if (!is_idle_answer(pcb, header, data))
        return ERR_OK;
    pcb->tmr = tcp_ticks; /* the other end is there, which is what a probe is for */
    pcb->keep_cnt_sent = pcb->persist_probe = 0;
    return ERR_VAL;
}

/* --- sockets ------------------------------------------------------------------------------------------ */

struct socket *socket_new(void)
{
    struct tcp_pcb *pcb = tcp_new();
    struct socket *socket = pcb != NULL ? socket_of(pcb) : NULL;

    if (pcb != NULL && socket == NULL)
        tcp_abort(pcb);
    return socket;
}

int64_t socket_bind(struct socket *socket, struct end_point where)
{
    const ip_addr_t address = {where.address};

    if (socket->state != FRESH || socket->pcb == NULL || socket->pcb->local_port != 0)
        return -EINVAL;
    if (where.address != 0 && where.address != network_address())
        return -EADDRNOTAVAIL;
    if (tcp_bind(socket->pcb, &address, lwip_ntohs(where.port)) != ERR_OK)
        return -EADDRINUSE;
    note_names(socket);
    return 0;
}

int64_t socket_listen(struct socket *socket, int64_t backlog)
{
    struct tcp_pcb *listener;
    err_t error;

    if (socket->state == LISTENING)
        return 0;
    if (socket->state != FRESH || socket->pcb == NULL)
        return -EINVAL;
    if (socket->pcb->local_port == 0 && tcp_bind(socket->pcb, IP_ANY_TYPE, 0) != ERR_OK)
        return -EADDRINUSE;
    if (backlog < 0 || backlog > LARGEST_BACKLOG)
        backlog = LARGEST_BACKLOG;
    listener = tcp_listen_with_backlog_and_err(socket->pcb, (uint8_t)(backlog + (backlog == 0)), &error);
    if (listener == NULL)
        return error == ERR_USE ? -EADDRINUSE : -ENOBUFS;
    socket->pcb = listener;
    socket->state = LISTENING;
    tcp_accept(listener, arrived);
    note_names(socket);
    return 0;
}

int64_t socket_accept(struct socket *listener, struct socket **accepted)
{
    struct socket *socket;

    if (listener->state != LISTENING)
        return -EINVAL;
    if (listener->first == NULL)
        network_work();
    socket = listener->first;
    if (socket == NULL)
        return -EAGAIN;
    listener->first = socket->next;
    if (socket->pcb != NULL)
        tcp_backlog_accepted(socket->pcb);
    *accepted = socket;
    return 0;
}

int64_t socket_connect(struct socket *socket, struct end_point where)
{
    const ip_addr_t address = {where.address};
    err_t error;

    if (socket->error != 0)
        return -socket_take_error(socket);
    if (socket->state == CONNECTING)
        return -EALREADY;
    if (socket->state != FRESH || socket->pcb == NULL)
        return socket->state == LISTENING ? -EINVAL : -EISCONN;
    error = tcp_connect(socket->pcb, &address, lwip_ntohs(where.port), connected);
    if (error != ERR_OK)
        return error == ERR_RTE ? -ENETUNREACH : error == ERR_USE ? -EADDRINUSE :
               error == ERR_BUF ? -EADDRNOTAVAIL : -ENOBUFS;
    socket->state = CONNECTING;
    device_flush();
    return -EINPROGRESS;
}

int64_t socket_receive(struct socket *socket, void *bytes, size_t size, bool keep)
{
    uint32_t count;

    if (socket->state != CONNECTED && socket->error == 0)
        return socket->state == CONNECTING ? -EAGAIN : -ENOTCONN;
    if (size == 0)
        return 0;
    if (socket->held == 0)
        network_work();
    count = ring_get(socket, bytes, size, keep);
    if (count == 0 && socket->error != 0)
        return -socket_take_error(socket);
    if (count == 0)
        return socket->peer_done || socket->reading_done || socket->pcb == NULL ? 0 : -EAGAIN;
    if (socket->pcb != NULL && !keep) {
        tcp_recved(socket->pcb, (uint16_t)count);
        device_flush();
    }
    return count;
}

/* Hands lwIP as much as it takes, in pieces, as it takes each as a whole or not at all. */
static size_t write_pieces(struct tcp_pcb *pcb, const char *bytes, size_t size, bool more)
{
    size_t done = 0, room;

    while (done < size && (room = tcp_sndbuf(pcb)) > 0) {
        size_t piece = size - done < room ? size - done : room;

        if (piece > PIECE)
            piece = PIECE;
        more = more || done + piece < size;
        while (piece > 0 && tcp_write(pcb, bytes + done, (uint16_t)piece,
                                      TCP_WRITE_FLAG_COPY | (more ? TCP_WRITE_FLAG_MORE : 0)) != ERR_OK)
            piece /= 2;
        if (piece == 0)
            break;
        done += piece;
    }
    return done;
}

int64_t socket_send(struct socket *socket, const void *bytes, size_t size, bool more)
{
    size_t done;

    if (socket->error != 0)
        return -socket_take_error(socket);
    if (socket->state != CONNECTED)
        return socket->state == CONNECTING ? -EAGAIN : -EPIPE;
    if (socket->pcb == NULL || socket->writing_done)
        return -EPIPE;
    if (tcp_sndbuf(socket->pcb) < size) {
        network_work();
        if (socket->pcb == NULL)
            return socket_send(socket, bytes, size, more);
    }
    done = write_pieces(socket->pcb, bytes, size, more);
    tcp_output(socket->pcb);
    device_flush();
    return done > 0 || size == 0 ? (int64_t)done : -EAGAIN;
}

int64_t socket_shut_down(struct socket *socket, bool reading, bool writing)
{
    if (socket->state != CONNECTED)
        return -ENOTCONN;
    socket->reading_done |= reading;
    if (!writing || socket->writing_done)
        return 0;
    socket->writing_done = true;
    if (socket->pcb != NULL) {
        struct tcp_pcb *pcb = socket->peer_done ? let_go(socket) : socket->pcb;

        tcp_shutdown(pcb, 0, 1);
        device_flush();
    }
    return 0;
}

void socket_close(struct socket *socket)
{
    while (socket->first != NULL) {
        struct socket *waiting = socket->first;

        socket->first = waiting->next;
        socket_close(waiting);
    }
    if (socket->pcb != NULL) {
        bool unread = socket->held > 0;
        struct tcp_pcb *pcb = let_go(socket);

        /* The peer is told by a reset that not all was read, as Linux does it. */
        if (unread || tcp_close(pcb) != ERR_OK)
            tcp_abort(pcb);
        device_flush();
    }
    for (uint32_t i = 0; i < RING_PAGES; i++)
        drop_page(socket, i);
    heap_give_back(socket);
}

unsigned socket_events(const struct socket *socket)
{
    unsigned events = socket->error != 0 ? HAPPENED_ERROR : 0;
    bool over = socket->pcb == NULL, writable = socket->writing_done || over;

    if (socket->state == LISTENING)
        return events | (socket->first != NULL ? HAPPENED_IN : 0);
    if (socket->state == FRESH && !over)
        return HAPPENED_OUT | HAPPENED_HANGUP;
    if (socket->state == CONNECTING && !over)
        return 0;
    if (socket->held > 0 || socket->peer_done || socket->reading_done || over)
        events |= HAPPENED_IN;
    /* Not for every byte that has become free: few large writes cost less than many small ones. */
    if (writable || (tcp_sndbuf(socket->pcb) >= TCP_SND_BUF / 2 && tcp_sndqueuelen(socket->pcb) < TCP_SND_QUEUELEN / 2))
        events |= HAPPENED_OUT;
    if (socket->peer_done || over)
        events |= HAPPENED_PEER_DONE;
    if ((socket->peer_done && socket->writing_done) || over)
        events |= HAPPENED_HANGUP;
    return events;
}

int socket_take_error(struct socket *socket)
{
    int error = socket->error;

    socket->error = 0;
    return error;
}

int64_t socket_name(const struct socket *socket, bool peer, struct end_point *name)
{
    *name = peer ? socket->there : socket->here;
    return peer && (socket->state != CONNECTED || socket->pcb == NULL) ? -ENOTCONN : 0;
}

uint32_t socket_held(const struct socket *socket) { return socket->held; }
bool socket_is_listening(const struct socket *socket) { return socket->state == LISTENING; }

/* Where lwIP has each of them. */
static const struct { bool of_flags; uint16_t bit; } bits[] = {
    [SOCKET_REUSE_ADDRESS] = {false, SOF_REUSEADDR}, [SOCKET_KEEP_ALIVE] = {false, SOF_KEEPALIVE},
    [SOCKET_NO_DELAY] = {true, TF_NODELAY},
};

bool socket_get(const struct socket *socket, enum socket_option option)
{
    if (socket->pcb == NULL || (bits[option].of_flags && socket->state == LISTENING))
        return false;
    return ((bits[option].of_flags ? socket->pcb->flags : socket->pcb->so_options) & bits[option].bit) != 0;
}

void socket_set(struct socket *socket, enum socket_option option, bool on)
{
    uint16_t bit = bits[option].bit;

    /* What listens is a smaller structure, without these flags. */
    if (socket->pcb == NULL || (bits[option].of_flags && socket->state == LISTENING))
        return;
    if (bits[option].of_flags)
        socket->pcb->flags = (tcpflags_t)(on ? socket->pcb->flags | bit : socket->pcb->flags & ~bit);
    else
        socket->pcb->so_options = (uint8_t)(on ? socket->pcb->so_options | bit : socket->pcb->so_options & ~bit);
}
