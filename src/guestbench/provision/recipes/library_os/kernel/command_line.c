/* The boot loader's text, divided into this system's options, the environment, and the program's arguments. */
#include "machine.h"
#include "program.h"

/* The next word, its quotes taken away; NULL at the end. */
static char *next_word(char **text)
{
    char *from = *text, *to, *word, quote = '\0';

    while (*from == ' ')
        from++;
    if (*from == '\0')
        return NULL;
    for (to = word = from; *from != '\0' && (quote != '\0' || *from != ' '); from++) {
        if (quote == '\0' && (*from == '"' || *from == '\''))
            quote = *from;
        else if (*from == quote)
            quote = '\0';
        else
            *to++ = *from;
    }
    if (quote != '\0')
        give_up("the command line has a quote that does not end: %s", word);
    *text = *from == '\0' ? from : from + 1;
    *to = '\0';
    return word;
}

static bool has_equals(const char *word)
{
    for (; *word != '\0'; word++)
        if (*word == '=')
            return true;
    return false;
}

/* What is left of the word after that beginning; NULL where it begins otherwise. */
static const char *after(const char *word, const char *beginning)
{
    size_t size = strlen(beginning);

    return strlen(word) >= size && memcmp(word, beginning, size) == 0 ? word + size : NULL;
}

enum { MEBI_IN_ALL = 1 << 24, BILLION = 1000000000 };

/* The options that ask for a behaviour. A name that ends with `=` has a number after it, which is at most `highest`. */
static const struct option {
    char name[36];
    enum behaviour behaviour;
    uint64_t highest;
} options[] = {
    {"refuk.ready-after-ms=", READY_AFTER_MS, BILLION},
    {"refuk.ready-after-instructions=", READY_AFTER_INSTRUCTIONS, BILLION * 1000000ull},
    {"refuk.touch-mib=", TOUCH_MIB, MEBI_IN_ALL},
    {"refuk.write-bytes=", WRITE_BYTES, BILLION * 1000ull},
    {"refuk.hang", HANG, 0},
    {"refuk.halt", HALT, 0},
    {"refuk.hostile", HOSTILE, 0},
    {"refuk.report-memory", REPORT_MEMORY, 0},
    {"refuk.fault=null", FAULT_NULL, 0},
    {"refuk.fault=text", FAULT_TEXT, 0},
    {"refuk.fault=rodata", FAULT_RODATA, 0},
    {"refuk.fault=stack-exec", FAULT_STACK_EXEC, 0},
    {"refuk.fault=data-exec", FAULT_DATA_EXEC, 0},
    {"refuk.fault=guard", FAULT_GUARD, 0},
    {"refuk.fault=divide", FAULT_DIVIDE, 0},
    {"refuk.fault=opcode", FAULT_OPCODE, 0},
    {"refuk.fault=general", FAULT_GENERAL, 0},
};

static uint64_t number(const char *word, const char *digits, uint64_t highest)
{
    uint64_t value = 0;
    const char *digit = digits;

    for (; *digit >= '0' && *digit <= '9' && digit < digits + 18; digit++)
        value = value * 10 + (uint64_t)(*digit - '0');
    if (digit == digits || *digit != '\0')
        give_up("not a number: %s", word);
    if (value > highest)
        give_up("%s is over %u", word, highest);
    return value;
}

static void take_option(const char *word, struct command_line *line)
{
    const char *value = after(word, "refuk.timer=");

    if (value != NULL) {
        line->timer_hertz = number(word, value, UINT64_MAX);
        return;
    }
    value = after(word, "refuk.net=");
    if (value != NULL) {
        line->network = value;
        return;
    }
    for (const struct option *o = options; o < options + sizeof options / sizeof *options; o++) {
        bool has_number = o->name[strlen(o->name) - 1] == '=';

        value = after(word, o->name);
        if (value == NULL || (!has_number && *value != '\0'))
            continue;
        if (line->request_count == sizeof line->requests / sizeof *line->requests)
            give_up("too many options, from %s on", word);
        line->requests[line->request_count++] =
            (struct request){o->behaviour, has_number ? number(word, value, o->highest) : 0};
        return;
    }
    give_up("no such option: %s", word);
}

static void add(char **words, unsigned *count, size_t most, char *word)
{
    if (*count == most)
        give_up("too many words, from %s on", word);
    words[(*count)++] = word;
}

void command_line_parse(char *text, struct command_line *line)
{
    char *word;

    while ((word = next_word(&text)) != NULL) {
        if (line->argument_count == 0 && after(word, "refuk.") != NULL)
            take_option(word, line);
        else if (line->argument_count == 0 && has_equals(word))
            add(line->environment, &line->environment_count, sizeof line->environment / sizeof word, word);
        else
            add(line->arguments, &line->argument_count, sizeof line->arguments / sizeof word, word);
    }
}
