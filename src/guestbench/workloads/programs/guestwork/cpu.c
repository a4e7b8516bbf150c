/* cpu: counts primes by trial division, the work of sysbench's test of the same name. */

#include "guestwork.h"

/* The primes below `limit`, 2 not among them. All of the work matters here: the divisor is compared as a
 * double in every round, which makes the conversion a part of it. That no call can be dropped or moved is
 * what `noipa` is for. */
static __attribute__((noipa)) uint64_t count_primes(uint32_t limit)
{
    uint64_t count = 0;

    for (uint64_t candidate = 3; candidate < limit; candidate++) {
        double root = __builtin_sqrt((double)candidate);
        uint64_t divisor;
        for (divisor = 2; (double)divisor <= root; divisor++)
            if (candidate % divisor == 0)
                break;
        if (!((double)divisor <= root))
            count++;
    }
    return count;
}

void run_cpu(char **arguments)
{
    uint64_t limit = 10000, events = 400;
    struct work work;

    for (; *arguments; arguments++) {
        const char *value = *arguments;
        if (take_word(&value, "limit=")) {
            if (!take_number(&value, &limit) || *value || limit < 1 || limit > UINT32_MAX)
                fail(USAGE, "not a limit from 1 to 4294967295:", *arguments);
        } else if (take_word(&value, "events=")) {
            if (!take_number(&value, &events) || *value || events < 1)
                fail(USAGE, "not a number of events from 1 on:", *arguments);
        } else {
            fail(USAGE, "cpu does not know", *arguments);
        }
    }
    struct line line = start_line("cpu");
    add_text(&line, " limit=");
    add_number(&line, limit);
    add_text(&line, " events=");
    add_number(&line, events);
    begin_work(&work, "cpu", &line);
    for (uint64_t event = 0; event < events; event++)
        add_result(&work, count_primes((uint32_t)limit));
    end_work(&work, events);
}
