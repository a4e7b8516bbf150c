/* Fuzzes the division of the boot arguments: whatever the text, the words lie inside of it, in order, and are those that a
   second, simpler reading finds. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "machine.h"
#include "program.h"

enum { LONGEST = 1 << 16 };
#define HIGHEST_AMOUNT 1000000000000000ull /* so that sums of nanoseconds or bytes stay far from 2^64 */

static char simple[LONGEST];
static int simple_words; /* -1 where a quote does not end */

/* The words of the text one after the other, each with a zero byte; quotes taken away. */
static void read_simply(const char *text)
{
    int words = 0;
    char quote = 0, *to = simple;
    bool inside = false;

    for (; *text != '\0'; text++)
        if (quote == 0 && *text == ' ') {
            if (inside)
                *to++ = '\0', words++;
            inside = false;
        } else {
            inside = true;
            if (quote != 0 && *text == quote)
                quote = 0;
            else if (quote == 0 && (*text == '"' || *text == '\''))
                quote = *text;
            else
                *to++ = *text;
        }
    *to = '\0';
    simple_words = quote != 0 ? -1 : words + inside;
}

/* The word is this one, and it lies in the text behind the one before. */
static void check_word(const char *word, const char *wanted, const char **lowest, const char *end)
{
    CHECK(word >= *lowest && word < end);
    CHECK(memchr(word, '\0', (size_t)(end - word)) != NULL);
    CHECK(strcmp(word, wanted) == 0);
    *lowest = word + strlen(word) + 1;
}

static void check_line(const struct command_line *line, const char *text, const char *end)
{
    const unsigned most = sizeof line->environment / sizeof *line->environment;
    const char *wanted = simple, *lowest = text;
    unsigned environment = 0, arguments = 0, options = 0;

    CHECK(line->environment_count <= most);
    CHECK(line->argument_count <= sizeof line->arguments / sizeof *line->arguments);
    CHECK(line->request_count <= sizeof line->requests / sizeof *line->requests);
    for (unsigned i = 0; i < line->request_count; i++)
        CHECK(line->requests[i].behaviour <= FAULT_GENERAL && line->requests[i].amount <= HIGHEST_AMOUNT);
    for (int i = 0; i < simple_words; i++, wanted += strlen(wanted) + 1)
        if (arguments == 0 && strncmp(wanted, "refuk.", 6) == 0) {
            options++;
        } else if (arguments == 0 && strchr(wanted, '=') != NULL) {
            CHECK(environment < line->environment_count);
            check_word(line->environment[environment++], wanted, &lowest, end);
        } else {
            CHECK(arguments < line->argument_count);
            check_word(line->arguments[arguments++], wanted, &lowest, end);
        }
    CHECK(environment == line->environment_count && arguments == line->argument_count);
    CHECK(line->request_count <= options);
}

static void parse(char *text)
{
    static struct command_line line;
    const char *end = text + strlen(text) + 1;

    read_simply(text);
    memset(&line, 0, sizeof line);
    if (setjmp(fuzz_given_up) != 0)
        return;
    command_line_parse(text, &line);
    CHECK(simple_words >= 0);
    check_line(&line, text, end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = size < LONGEST ? malloc(size + 1) : NULL;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    parse(text);
    free(text);
    return 0;
}
