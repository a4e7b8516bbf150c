/* One connection of `serve`, as its parts see it. */
#ifndef GUESTWORK_SERVE_H
#define GUESTWORK_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum service { ECHO, DISCARD, CHARGEN, HTTP };

/* How far a connection has come in the HTTP request that it is reading. */
struct request {
    uint32_t size;         /* bytes of it so far */
    uint8_t end_matched;   /* bytes of the blank line that ends it */
    uint8_t close_matched; /* bytes of the header "Connection: close" */
    bool close;            /* that header was there */
};

struct connection {
    int fd;
    enum service service;
    /* Nothing more is read for the service; our side is closed as soon as all is written. */
    bool ending;
    /* Bytes to write still, and where they begin: in `kept` (echo) or in an answer (HTTP). The stream of
     * chargen has no end; there, `at` is where the next byte is in its pattern. */
    size_t owed, at;
    /* Echo: what the client has not taken yet. Made when a client is slow for the first time. */
    uint8_t *kept;
    struct request request;
    /* HTTP: one refusal is owed behind the answers, of which so many bytes are left. */
    size_t refusal_left;
};

/* Read requests: what they have to be answered is owed afterwards. */
void take_requests(struct connection *connection, const uint8_t *bytes, size_t size);

/* The next bytes of what is owed; returns how many. */
size_t next_answer(const struct connection *connection, const char **bytes);

/* So many of them were written. */
void answer_written(struct connection *connection, size_t size);

#endif
