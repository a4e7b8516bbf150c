/* The text of guestwork in a program that has a C library: two functions of it would take the place of the
 * library's own, which are faster, so they get other names. */

#define memcpy guestwork_memcpy
#define memset guestwork_memset

#include "text.c"
