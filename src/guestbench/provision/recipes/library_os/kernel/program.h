/* The one program: its files, its command line, its start. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdint.h>

#include "calibration.h"

enum { FILES = 8 };

/* What the loader brought along: the program first, then the files of the read-only tree, all in the root directory. */
struct file {
    const char *name; /* without directories */
    const uint8_t *bytes; /* page-aligned, in the direct map */
    uint64_t size;
};

/* The command line: WORD ... with "..." or '...' around spaces. Words refuk.NAME or refuk.NAME=VALUE come first and are
   this system's, as are the environment's NAME=VALUE, then come the program's name and its arguments. */
struct command_line {
    char *environment[32], *arguments[128];
    unsigned environment_count, argument_count;
    struct request requests[32]; /* to perform before the program starts, in this order */
    unsigned request_count;
    uint64_t timer_hertz; /* 0: no timer */
    const char *network; /* the option refuk.net; NULL: not given */
};

/* Divides the text in place, and does nothing else. Gives up on a word that is wrong or one too many. `line` is all zero
   before. */
void command_line_parse(char *text, struct command_line *line);

/* Loads the program and enters it. Gives up when it cannot be loaded. */
_Noreturn void program_start(const struct file *file, const struct command_line *line);

/* Where the data of the program end, and so the heap of brk begins; a whole page. Known once it is loaded. */
uint64_t program_end(void);

#endif
