/* Files: the console as descriptors 0 to 2, a pipe in all but its name, the files that the loader brought, read-only, and
   what sockets have in common with them. */
#include "sys_files.h"

#include "console.h"
#include "errors.h"
#include "events.h"
#include "machine.h"
#include "memory.h"
#include "network.h"
#include "syscalls.h"

enum { PATH_BYTES = 4096, HERE = -100, NONBLOCK = 0x800 };

static struct { const struct file *file; union { uint64_t offset; struct socket *socket; }; uint8_t kind; bool at_once; }
    open_files[DESCRIPTORS] = {{.kind = CONSOLE}, {.kind = CONSOLE}, {.kind = CONSOLE}};
static const struct file *tree;
static unsigned tree_count;
static const char *program_name;

void files_start(const struct file *files, unsigned count, const struct command_line *line)
{
    tree = files;
    tree_count = count;
    program_name = line->argument_count > 0 ? line->arguments[0] : "";
}

enum file_kind kind_of(int64_t d) { return (int)d >= 0 && (int)d < DESCRIPTORS ? open_files[(int)d].kind : NOT_OPEN; }

static bool is_open(int64_t d) { return kind_of(d) != NOT_OPEN; }

const struct file *file_of(int64_t d) { return kind_of(d) == FILE_OF_TREE ? open_files[(int)d].file : NULL; }
struct socket *socket_of(int64_t d) { return kind_of(d) == SOCKET ? open_files[(int)d].socket : NULL; }
bool waits_on(int64_t d) { return is_open(d) && !open_files[(int)d].at_once; }

static int64_t new_descriptor(enum file_kind kind)
{
    for (int d = 0; d < DESCRIPTORS; d++)
        if (!is_open(d)) {
            open_files[d].kind = (uint8_t)kind;
            open_files[d].at_once = false;
            open_files[d].offset = 0;
            return d;
        }
    return -EMFILE;
}

int64_t open_socket(struct socket *socket, bool waits)
{
    int64_t d = new_descriptor(SOCKET);

    if (d < 0)
        return d;
    open_files[d].socket = socket;
    open_files[d].at_once = !waits;
    return d;
}

/* Whether the program's text at that address ends within a path's length, in memory that it may read. */
static bool is_path(int64_t address)
{
    const char *text = (const char *)address;

    for (unsigned i = 0; i < PATH_BYTES; i++) {
        if ((i == 0 || ((uint64_t)address + i) % PAGE == 0) && !area_allows((uint64_t)address + i, 1, READ))
            return false;
        if (text[i] == '\0')
            return true;
    }
    return false;
}

/* The name in the root directory, which is also where the program is: "" for the directory itself. */
static const char *name_in_root(const char *path)
{
    for (;;) {
        if (path[0] == '/')
            path++;
        else if (path[0] == '.' && (path[1] == '/' || path[1] == '\0'))
            path++;
        else
            return path;
    }
}

static const struct file *find_file(const char *path)
{
    for (unsigned i = 0; i < tree_count; i++)
        if (same_text(tree[i].name, name_in_root(path)))
            return &tree[i];
    return NULL;
}

static int64_t open_path(int64_t path, int64_t flags)
{
    enum { ACCESS = 3, CREATE = 0x40, DIRECTORY = 0x10000 };
    const struct file *file;
    int64_t d;

    if (!is_path(path))
        return -EFAULT;
    file = find_file((const char *)path);
    if (file == NULL)
        return (flags & CREATE) != 0 ? -EROFS : -ENOENT;
    if ((flags & ACCESS) != 0)
        return -EROFS;
    if ((flags & DIRECTORY) != 0)
        return -ENOTDIR;
    d = new_descriptor(FILE_OF_TREE);
    if (d >= 0)
        open_files[d].file = file;
    return d;
}

int64_t sys_open(const int64_t *a) { return open_path(a[0], a[1]); }
int64_t sys_openat(const int64_t *a) { return open_path(a[1], a[2]); }

int64_t sys_close(const int64_t *a)
{
    if (!is_open(a[0]))
        return -EBADF;
    if (socket_of(a[0]) != NULL)
        socket_close(socket_of(a[0]));
    open_files[(int)a[0]].kind = NOT_OPEN;
    return 0;
}

static int64_t read_at(const struct file *file, uint64_t offset, int64_t buffer, uint64_t size)
{
    uint64_t left = offset < file->size ? file->size - offset : 0;

    if (size > left)
        size = left;
    memcpy((void *)buffer, file->bytes + offset, size);
    return (int64_t)size;
}

static int64_t read_console(int64_t d, int64_t buffer, int64_t size)
{
    if (size == 0)
        return 0;
    return waits_on(d) || console_has_input() ? (int64_t)console_read((void *)buffer, (size_t)size) : -EAGAIN;
}

static int64_t read_some(int64_t d, int64_t buffer, int64_t size)
{
    int64_t count;

    if (!is_open(d))
        return -EBADF;
    if (size < 0 || !area_allows((uint64_t)buffer, (uint64_t)size, WRITE))
        return -EFAULT;
    if (kind_of(d) == SOCKET)
        return receive_waiting(d, (void *)buffer, (size_t)size, 0);
    if (kind_of(d) == CONSOLE)
        return read_console(d, buffer, size);
    count = read_at(file_of(d), open_files[(int)d].offset, buffer, (uint64_t)size);
    open_files[(int)d].offset += (uint64_t)count;
    return count;
}

static int64_t write_some(int64_t d, int64_t buffer, int64_t size)
{
    if (!is_open(d) || kind_of(d) == FILE_OF_TREE)
        return -EBADF;
    if (size < 0 || !area_allows((uint64_t)buffer, (uint64_t)size, READ))
        return -EFAULT;
    if (kind_of(d) == SOCKET)
        return send_waiting(d, (const void *)buffer, (size_t)size, 0);
    console_write((const void *)buffer, (size_t)size);
    return size;
}

int64_t sys_read(const int64_t *a) { return read_some(a[0], a[1], a[2]); }
int64_t sys_write(const int64_t *a) { return write_some(a[0], a[1], a[2]); }

int64_t sys_pread64(const int64_t *a)
{
    const struct file *file = file_of(a[0]);

    if (file == NULL)
        return is_open(a[0]) ? -ESPIPE : -EBADF;
    if (a[3] < 0)
        return -EINVAL;
    if (a[2] < 0 || !area_allows((uint64_t)a[1], (uint64_t)a[2], WRITE))
        return -EFAULT;
    return read_at(file, (uint64_t)a[3], a[1], (uint64_t)a[2]);
}

struct part { int64_t buffer, size; };

static int64_t each_part(const int64_t *a, int64_t (*some)(int64_t d, int64_t buffer, int64_t size))
{
    const struct part *parts = (const struct part *)a[1];
    int64_t total = 0;

    if (a[2] < 0 || a[2] > 1024)
        return -EINVAL;
    if (!area_allows((uint64_t)a[1], (uint64_t)a[2] * sizeof *parts, READ))
        return -EFAULT;
    for (int64_t i = 0; i < a[2]; i++) {
        int64_t count = parts[i].size == 0 ? 0 : some(a[0], parts[i].buffer, parts[i].size);

        if (count < 0)
            return total > 0 ? total : count;
        total += count;
        if (count < parts[i].size)
            break;
    }
    return total;
}

int64_t sys_readv(const int64_t *a) { return each_part(a, read_some); }
int64_t sys_writev(const int64_t *a) { return each_part(a, write_some); }

int64_t sys_lseek(const int64_t *a)
{
    const struct file *file = file_of(a[0]);
    int64_t from;

    if (file == NULL)
        return is_open(a[0]) ? -ESPIPE : -EBADF;
    from = a[2] == 0 ? 0 : a[2] == 1 ? (int64_t)open_files[(int)a[0]].offset : (int64_t)file->size;
    if (a[2] < 0 || a[2] > 2 || a[1] < -from || a[1] > INT64_MAX - from)
        return -EINVAL;
    open_files[(int)a[0]].offset = (uint64_t)(from + a[1]);
    return from + a[1];
}

/* `struct stat` of x86-64. */
struct status {
    uint64_t device, inode, links;
    uint32_t mode, user, group, padding;
    uint64_t special_device, size, block_size, blocks, times[6];
    int64_t unused[3];
};

static int64_t put_status(int64_t address, uint32_t mode, const struct file *file)
{
    struct status status = {.device = 1, .links = 1, .mode = mode, .block_size = PAGE};

    if (!area_allows((uint64_t)address, sizeof status, WRITE))
        return -EFAULT;
    if (file != NULL) {
        status.inode = 2 + (uint64_t)(file - tree);
        status.size = file->size;
        status.blocks = (file->size + 511) / 512;
    }
    memcpy((void *)address, &status, sizeof status);
    return 0;
}

enum { PIPE_MODE = 010600, FILE_MODE = 0100555, DIRECTORY_MODE = 040555, SOCKET_MODE = 0140777 };

static int64_t status_of_path(int64_t path, int64_t address)
{
    const struct file *file;

    if (!is_path(path))
        return -EFAULT;
    if (*(const char *)path != '\0' && *name_in_root((const char *)path) == '\0')
        return put_status(address, DIRECTORY_MODE, NULL);
    file = find_file((const char *)path);
    return file != NULL ? put_status(address, FILE_MODE, file) : -ENOENT;
}

int64_t sys_stat(const int64_t *a) { return status_of_path(a[0], a[1]); }

int64_t sys_fstat(const int64_t *a)
{
    const struct file *file = file_of(a[0]);

    if (!is_open(a[0]))
        return -EBADF;
    return put_status(a[1], file != NULL ? FILE_MODE : kind_of(a[0]) == SOCKET ? SOCKET_MODE : PIPE_MODE, file);
}

int64_t sys_newfstatat(const int64_t *a)
{
    enum { EMPTY_PATH = 0x1000 };

    if ((a[3] & EMPTY_PATH) != 0 && is_path(a[1]) && *(const char *)a[1] == '\0') {
        const int64_t arguments[6] = {a[0], a[2]};

        if ((int)a[0] == HERE)
            return put_status(a[2], DIRECTORY_MODE, NULL);
        return sys_fstat(arguments);
    }
    return status_of_path(a[1], a[2]);
}

int64_t sys_access(const int64_t *a)
{
    enum { TO_WRITE = 2 };

    if (!is_path(a[0]))
        return -EFAULT;
    if (find_file((const char *)a[0]) == NULL && *name_in_root((const char *)a[0]) != '\0')
        return -ENOENT;
    return (a[1] & TO_WRITE) != 0 ? -EROFS : 0;
}

/* The one link there is names the program; its text has to begin with `/`. */
int64_t sys_readlink(const int64_t *a)
{
    int64_t path = a[0], buffer = a[1], size = a[2];
    char target[PATH_BYTES / 16];
    int64_t length = (int64_t)strlen(name_in_root(program_name)) + 1;

    if (!is_path(path))
        return -EFAULT;
    if (!same_text((const char *)path, "/proc/self/exe"))
        return find_file((const char *)path) != NULL ? -EINVAL : -ENOENT;
    if (length > (int64_t)sizeof target)
        return -ENAMETOOLONG;
    target[0] = '/';
    memcpy(target + 1, name_in_root(program_name), (size_t)length - 1);
    if (size < length)
        length = size;
    if (size <= 0 || !area_allows((uint64_t)buffer, (uint64_t)length, WRITE))
        return size <= 0 ? -EINVAL : -EFAULT;
    memcpy((void *)buffer, target, (size_t)length);
    return length;
}

int64_t sys_getcwd(const int64_t *a)
{
    if (a[1] < 2)
        return -ERANGE;
    if (!area_allows((uint64_t)a[0], 2, WRITE))
        return -EFAULT;
    memcpy((void *)a[0], "/", 2);
    return 2;
}

/* The console is no terminal to the program: its output is the same bytes as into a pipe. */
int64_t sys_ioctl(const int64_t *a)
{
    enum { SET_NONBLOCK = 0x5421, COUNT_HELD = 0x541B };
    int32_t *value = (int32_t *)a[2];

    if (!is_open(a[0]))
        return -EBADF;
    if (a[1] != SET_NONBLOCK && (a[1] != COUNT_HELD || kind_of(a[0]) != SOCKET))
        return -ENOTTY;
    if (!area_allows((uint64_t)value, sizeof *value, a[1] == SET_NONBLOCK ? READ : WRITE))
        return -EFAULT;
    if (a[1] == SET_NONBLOCK)
        open_files[(int)a[0]].at_once = *value != 0;
    else
        *value = (int32_t)socket_held(socket_of(a[0]));
    return 0;
}

int64_t sys_fcntl(const int64_t *a)
{
    enum { GET_FLAGS = 1, SET_FLAGS, GET_STATUS, SET_STATUS, GET_LOCK, SET_LOCK, SET_LOCK_WAIT, READ_WRITE = 2 };

    if (!is_open(a[0]))
        return -EBADF;
    if (a[1] == GET_STATUS)
        return (kind_of(a[0]) == FILE_OF_TREE ? 0 : READ_WRITE) | (waits_on(a[0]) ? 0 : NONBLOCK);
    if (a[1] == SET_STATUS)
        open_files[(int)a[0]].at_once = (a[2] & NONBLOCK) != 0;
    if (a[1] == GET_FLAGS || a[1] == SET_FLAGS || a[1] == SET_STATUS || a[1] == SET_LOCK || a[1] == SET_LOCK_WAIT)
        return 0; /* no exec, and no one else who could hold a lock */
    return -EINVAL;
}
