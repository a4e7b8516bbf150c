/* HTTP/1.1 as far as a load generator needs it: GET, keep-alive, pipelining, one answer for every path.
 *
 * Nothing of a request is stored: it is followed byte by byte, so its length costs no memory.
 */

#include "guestwork.h"
#include "serve.h"

#define ANSWER \
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\nHello from guestwork\n"
#define FOUR(text) text text text text

/* Sixteen, so that a client that sends many requests at once is answered with few system calls. */
static const char ANSWERS[] = FOUR(FOUR(ANSWER));
static const char REFUSAL[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

enum { ANSWER_SIZE = sizeof ANSWER - 1, ANSWERS_SIZE = sizeof ANSWERS - 1, LARGEST_REQUEST = 8192 };

/* How much of `pattern` has been seen after one more byte. Both patterns are such that after a mismatch at
 * most the byte itself can be the beginning of another try. */
static uint8_t match(const char *pattern, uint8_t matched, char byte)
{
    if (byte == pattern[matched])
        return (uint8_t)(matched + 1);
    return byte == pattern[0];
}

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

void take_requests(struct connection *connection, const uint8_t *bytes, size_t size)
{
    static const char start[] = "GET ", end[] = "\r\n\r\n", close[] = "\nconnection: close\r";
    struct request *request = &connection->request;

    for (size_t i = 0; i < size && !connection->ending; i++) {
        char byte = (char)bytes[i];
        if (request->size == LARGEST_REQUEST || (request->size < 4 && byte != start[request->size])) {
            connection->refusal_left = sizeof REFUSAL - 1;
            connection->ending = true;
            return;
        }
        request->size++;
        request->close_matched = match(close, request->close_matched, lower(byte));
        if (!close[request->close_matched]) {
            request->close = true;
            request->close_matched = 0;
        }
        request->end_matched = match(end, request->end_matched, byte);
        if (!end[request->end_matched]) {
            connection->owed += ANSWER_SIZE;
            connection->ending = request->close;
            *request = (struct request){0};
        }
    }
}

size_t next_answer(const struct connection *connection, const char **bytes)
{
    size_t size = ANSWERS_SIZE - connection->at;

    if (!connection->owed) {
        *bytes = REFUSAL + sizeof REFUSAL - 1 - connection->refusal_left;
        return connection->refusal_left;
    }
    *bytes = ANSWERS + connection->at;
    return size < connection->owed ? size : connection->owed;
}

void answer_written(struct connection *connection, size_t size)
{
    if (!connection->owed) {
        connection->refusal_left -= size;
        return;
    }
    connection->owed -= size;
    connection->at = (connection->at + size) % ANSWER_SIZE;
}
