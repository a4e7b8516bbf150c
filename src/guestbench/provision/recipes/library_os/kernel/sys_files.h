/* What other system calls need of the open files. */
#ifndef SYS_FILES_H
#define SYS_FILES_H

#include <stdbool.h>

#include "program.h"

enum { DESCRIPTORS = 128 };

struct socket;

/* What a descriptor is open for. */
enum file_kind { NOT_OPEN, CONSOLE, FILE_OF_TREE, SOCKET };
enum file_kind kind_of(int64_t descriptor);

/* The file behind a descriptor; NULL where there is none: not open, or something else. */
const struct file *file_of(int64_t descriptor);

/* As file_of, for a socket. */
struct socket *socket_of(int64_t descriptor);

/* A new descriptor for that socket, which it closes; -EMFILE where there is none left. */
int64_t open_socket(struct socket *socket, bool waits);

/* Whether a call on the descriptor waits, as it does unless O_NONBLOCK was set. */
bool waits_on(int64_t descriptor);

#endif
