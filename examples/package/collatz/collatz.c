/* Follows the Collatz sequence of each number up to a limit. It prints one line just before the work and one right
   after, each with a single write(2); SOURCE, COMPILER and FLAGS come from the build. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void say(const char *line)
{
    if (write(1, line, strlen(line)) < 0)
        exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
    char line[500], *end = "";
    uint64_t steps = 0;
    unsigned long most = 0;

    if (argc == 2 && strncmp(argv[1], "most=", 5) == 0)
        most = strtoul(argv[1] + 5, &end, 10);
    if (most == 0 || *end != '\0') {
        say("error: most=NUMBER is needed\n");
        return 2;
    }
    snprintf(line, sizeof line, "[work begin collatz source=%s compiler=%s flags=%s most=%lu]\n",
             SOURCE, COMPILER, FLAGS, most);
    say(line);
    int64_t begin_ns = now_ns();
    for (unsigned long number = 1; number <= most; number++)
        for (uint64_t value = number; value != 1; steps++)
            value = value % 2 ? 3 * value + 1 : value / 2;
    int64_t taken_ns = now_ns() - begin_ns;
    snprintf(line, sizeof line, "[work end collatz done=%lu digest=%016llx guest_ns=%lld]\n", most,
             (unsigned long long)steps, (long long)taken_ns);
    say(line);
    return 0;
}
