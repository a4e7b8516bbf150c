/* The two lines around each piece of timed work. The host stamps their arrival: nothing comes between. */

#include "guestwork.h"

static int64_t now_ns(void)
{
    enum { CLOCK_MONOTONIC = 1 };
    struct timespec now = {0, 0};

    syscall3(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&now, 0);
    return now.seconds * 1000000000 + now.nanoseconds;
}

struct line start_line(const char *name)
{
    struct line line = {0};

    add_text(&line, "[work begin ");
    add_text(&line, name);
    add_text(&line, " source=" SOURCE " compiler=" COMPILER " flags=" FLAGS);
    return line;
}

void begin_work(struct work *work, const char *name, struct line *line)
{
    work->name = name;
    sha256_begin(&work->hash);
    add_text(line, "]\n");
    write_line(1, line);
    work->begin_ns = now_ns();
}

void add_result(struct work *work, uint64_t number)
{
    sha256_add(&work->hash, &number, sizeof number);
}

void end_work(struct work *work, uint64_t done)
{
    int64_t taken_ns = now_ns() - work->begin_ns;
    struct line line = {0};
    uint8_t digest[32];

    sha256_end(&work->hash, digest);
    add_text(&line, "[work end ");
    add_text(&line, work->name);
    add_text(&line, " done=");
    add_number(&line, done);
    add_text(&line, " digest=");
    add_hex(&line, digest, 16);
    add_text(&line, " guest_ns=");
    add_number(&line, (uint64_t)taken_ns);
    add_text(&line, "]\n");
    write_line(1, &line);
}
