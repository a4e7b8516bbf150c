/* lwIP includes this for one function, which is in a part of it that is not linked. */
#ifndef STDLIB_H
#define STDLIB_H

int atoi(const char *text);

#endif
