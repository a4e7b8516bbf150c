/* The Linux system calls of a single static process. Every call returns its result or a negative error number. */
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include <stdint.h>

#include "program.h"

typedef int64_t call(const int64_t arguments[6]);

/* One function for each call, in the file of its kind. Its symbol is the one that Linux has for it, so that whoever counts
   a kernel's calls by their symbols counts these as well. */
#define CALL(name) call sys_##name __asm__("__x64_sys_" #name)

CALL(read); CALL(write); CALL(open); CALL(close); CALL(stat); CALL(fstat); CALL(lseek); CALL(ioctl); CALL(pread64);
CALL(readv); CALL(writev); CALL(access); CALL(fcntl); CALL(getcwd); CALL(readlink); CALL(openat); CALL(newfstatat);
CALL(mmap); CALL(mprotect); CALL(munmap); CALL(brk); CALL(mremap); CALL(madvise); CALL(nanosleep);
CALL(clock_nanosleep); CALL(gettimeofday); CALL(time); CALL(clock_gettime); CALL(getrusage); CALL(rt_sigaction);
CALL(rt_sigprocmask); CALL(sigaltstack); CALL(kill); CALL(tgkill); CALL(exit); CALL(uname); CALL(sysinfo);
CALL(arch_prctl); CALL(futex); CALL(getrandom); CALL(prlimit64); CALL(poll); CALL(ppoll); CALL(socket); CALL(connect);
CALL(accept); CALL(accept4); CALL(sendto); CALL(recvfrom); CALL(shutdown); CALL(bind); CALL(listen);
CALL(getsockname); CALL(getpeername); CALL(setsockopt); CALL(getsockopt);
#undef CALL

call sys_success, sys_process, sys_parent, sys_not_provided; /* an answer that is always the same */

/* The files that the program can open, and the program's name. Both stay the caller's and have to stay unchanged. */
void files_start(const struct file *files, unsigned count, const struct command_line *line);

enum { PROCESS = 2 }; /* not 1: programs that find themselves to be the first process set up the system */

#endif
