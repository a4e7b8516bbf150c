/* The program of the inspector guest: process 1 of a Linux that looks into a disk for guestbench.
 *
 * It does what the host asks on a virtio-serial port, one request at a time, and decides nothing itself: which
 * devices there are, bytes of one, a mapping of one, a read-only mount, the entries of a mount, bytes of a file.
 * All that it reads is hostile; the kernel below it reads it, and the host takes nothing but bounded frames.
 *
 * A request is `struct request` and `length` bytes. An answer is frames of a length, a CRC-32 and so many bytes,
 * and an empty frame at its end. Its first frame begins with an errno (4 bytes); numbers are little-endian.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PORT "/dev/vport0p1"
#define CAPABILITY "security.capability"
#define MAX_DEPTH 1000
#define MAX_REQUEST 65536

enum { FRAME_BYTES = 1 << 17, HEAD_BYTES = 4, CAPABILITY_BYTES = 64, WAIT_MS = 30000 };

struct request {
	uint8_t what;    /* one of the letters in `answer` */
	uint8_t mount;   /* which mount it is about */
	uint16_t length; /* of the text behind it */
	uint64_t offset; /* in bytes; of a walk: how deep it goes, 0 for no limit */
	uint64_t bytes;
} __attribute__((packed));

/* Ahead of path, link, capability and head. */
struct entry {
	uint16_t path, link;
	uint8_t capability, head;
	uint32_t mode, uid, gid;
	uint64_t device, inode, size;
} __attribute__((packed));

static int port, kernel_log;
static uint8_t frame[8 + FRAME_BYTES];
static size_t filled;

/* --- frames --------------------------------------------------------------------------------------------- */

static uint32_t crc32_of(const uint8_t *data, size_t length)
{
	static uint32_t table[256];
	uint32_t crc = ~0u;

	if (!table[1])
		for (uint32_t i = 0; i < 256; i++) {
			table[i] = i;
			for (int bit = 0; bit < 8; bit++)
				table[i] = (table[i] >> 1) ^ (table[i] & 1 ? 0xEDB88320u : 0);
		}
	while (length--)
		crc = table[(crc ^ *data++) & 0xFF] ^ (crc >> 8);
	return ~crc;
}

static void die(const char *what)
{
	dprintf(2, "inspector: %s: %s\n", what, strerror(errno));
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void send_frame(void)
{
	uint32_t header[2] = {(uint32_t)filled, crc32_of(frame + 8, filled)};

	memcpy(frame, header, sizeof(header));
	for (size_t at = 0; at < 8 + filled;) {
		ssize_t count = write(port, frame + at, 8 + filled - at);
		if (count < 0 && errno != EINTR)
			die("the host does not listen");
		if (count > 0)
			at += (size_t)count;
	}
	filled = 0;
}

static void put(const void *data, size_t length)
{
	const uint8_t *from = data;

	while (length) {
		size_t part = FRAME_BYTES - filled < length ? FRAME_BYTES - filled : length;
		memcpy(frame + 8 + filled, from, part);
		filled += part, from += part, length -= part;
		if (filled == FRAME_BYTES)
			send_frame();
	}
}

static void put_status(int status)
{
	uint32_t number = (uint32_t)status;

	put(&number, sizeof(number));
}

static void finish(void)
{
	if (filled)
		send_frame();
	send_frame();
}

/* --- devices -------------------------------------------------------------------------------------------- */

static uint64_t read_number(const char *device, const char *name)
{
	char path[400], text[32] = "";
	int file;

	snprintf(path, sizeof(path), "/sys/class/block/%s/%s", device, name);
	file = open(path, O_RDONLY);
	if (file < 0)
		return 0;
	if (read(file, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(file);
	return strtoull(text, NULL, 10);
}

/* Its name, number of partition, start and size, in lines. */
static void list_devices(void)
{
	DIR *folder = opendir("/sys/class/block");
	struct dirent *each;

	put_status(folder ? 0 : errno);
	while (folder && (each = readdir(folder))) {
		char line[400];
		if (each->d_name[0] == '.')
			continue;
		put(line, (size_t)snprintf(line, sizeof(line), "%s %llu %llu %llu\n", each->d_name,
					   (unsigned long long)read_number(each->d_name, "partition"),
					   (unsigned long long)read_number(each->d_name, "start") * 512,
					   (unsigned long long)read_number(each->d_name, "size") * 512));
	}
	if (folder)
		closedir(folder);
}

/* Loads the kernel modules of a list of paths, a line each. */
static void load_modules(const char *listing)
{
	FILE *file = fopen(listing, "re");
	char line[400];

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		int module = open(line, O_RDONLY | O_CLOEXEC);
		if (module < 0 || (syscall(SYS_finit_module, module, "", 0) < 0 && errno != EEXIST))
			dprintf(2, "inspector: %s: %s\n", line, strerror(errno));
		if (module >= 0)
			close(module);
	}
	if (file)
		fclose(file);
}

/* Maps a device `name` by a table in lines of dmsetup(8): begin, length, target and what the target takes. */
static void map_device(char *text)
{
	static uint8_t space[sizeof(struct dm_ioctl) + MAX_REQUEST * 4];
	struct dm_ioctl *command = (void *)space;
	char *name = strsep(&text, "\n"), *line;
	int control, status = 0;
	uint32_t minor_number = 0;

	load_modules("/etc/modules.dm");
	control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	if (control < 0) {
		put_status(errno);
		return;
	}
	static const unsigned long steps[] = {DM_DEV_CREATE, DM_TABLE_LOAD, DM_DEV_SUSPEND};
	for (int step = 0; step < 3 && !status; step++) {
		uint8_t *at = space + sizeof(*command);
		memset(space, 0, sizeof(space));
		*command = (struct dm_ioctl){.version = {4, 0, 0}, .data_size = sizeof(space),
					     .data_start = sizeof(*command), .flags = DM_READONLY_FLAG};
		snprintf(command->name, sizeof(command->name), "%s", name);
		while (step == 1 && (line = strsep(&text, "\n")) && *line) {
			struct dm_target_spec *target = (void *)at;
			char *begin = strsep(&line, " "), *length = strsep(&line, " "), *type = strsep(&line, " ");
			size_t space_needed;
			if (!line)
				break;
			space_needed = (sizeof(*target) + strlen(line) + 8) & ~7ul;
			target->sector_start = strtoull(begin, NULL, 10);
			target->length = strtoull(length, NULL, 10);
			target->next = (uint32_t)space_needed;
			snprintf(target->target_type, sizeof(target->target_type), "%s", type);
			strcpy((char *)(target + 1), line);
			at += space_needed;
			command->target_count++;
		}
		if (ioctl(control, steps[step], command) < 0)
			status = errno;
		minor_number = minor((dev_t)command->dev);
	}
	close(control);
	put_status(status);
	put(&minor_number, sizeof(minor_number));
}

/* --- mounts --------------------------------------------------------------------------------------------- */

static const char *place_of(int number)
{
	static char place[32];

	snprintf(place, sizeof(place), "/mounts/%d", number);
	return place;
}

/* Mounts `device`, a file system `type`, with options; they come in lines. */
static void mount_device(int number, char *text)
{
	char *device = strsep(&text, "\n"), *type = strsep(&text, "\n"), *options = strsep(&text, "\n");
	char path[400];

	snprintf(path, sizeof(path), "/etc/modules.%s", type ? type : "");
	load_modules(path);
	snprintf(path, sizeof(path), "/dev/%s", device);
	mkdir("/mounts", 0700);
	mkdir(place_of(number), 0700);
	put_status(mount(path, place_of(number), type, MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, options) ? errno
													       : 0);
}

/* Whether a path, followed as in the guest that has this root, leads anywhere. */
static void find_path(int number, const char *name)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	int root = open(place_of(number), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long found = root < 0 ? -1 : syscall(SYS_openat2, root, name, &how, sizeof(how));

	put_status(found < 0 ? errno : 0);
	if (found >= 0)
		close((int)found);
	if (root >= 0)
		close(root);
}

/* What the kernel has said since it was last asked, warnings and worse: a line each, its level before it. */
static void tell_messages(void)
{
	char record[8192];
	ssize_t length;

	put_status(0);
	while ((length = read(kernel_log, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		char *text, level;
		if (length <= 0)
			continue;
		record[length] = 0;
		level = (char)('0' + (strtoul(record, NULL, 10) & 7));
		text = strchr(record, ';');
		if (level > '4' || !text)
			continue;
		text[strcspn(text, "\n")] = 0;
		*text = level;
		put(text, strlen(text));
		put("\n", 1);
	}
}

static void tell_space(int number)
{
	struct statfs facts;
	int status = statfs(place_of(number), &facts) ? errno : 0;
	uint64_t numbers[] = {(uint64_t)facts.f_bsize, facts.f_blocks, facts.f_bfree, facts.f_files, facts.f_ffree};

	put_status(status);
	if (!status)
		put(numbers, sizeof(numbers));
}

static char path[PATH_MAX + 256];
static size_t start;
static uint64_t deepest;
static struct { uint64_t device, inode; } above[MAX_DEPTH];

/* The entry at `path`, which is `name` in the folder `in`. Returns an errno. */
static int put_entry(int in, const char *name, struct stat *facts)
{
	char link[PATH_MAX], capability[CAPABILITY_BYTES], head[HEAD_BYTES];
	struct entry entry = {.path = (uint16_t)(strlen(path + start)), .capability = 0xFF, .head = 0xFF};
	ssize_t length;

	if (fstatat(in, name, facts, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return errno;
	entry.mode = facts->st_mode, entry.uid = facts->st_uid, entry.gid = facts->st_gid;
	entry.device = facts->st_dev, entry.inode = facts->st_ino, entry.size = (uint64_t)facts->st_size;
	if (S_ISLNK(facts->st_mode)) {
		length = readlinkat(in, name, link, sizeof(link));
		if (length < 0)
			return errno;
		entry.link = (uint16_t)length;
	}
	if (S_ISREG(facts->st_mode)) {
		length = lgetxattr(path, CAPABILITY, capability, sizeof(capability));
		if (length >= 0)
			entry.capability = (uint8_t)length;
		else if (errno == EINVAL || errno == ERANGE)
			entry.capability = 0; /* there is one, which is none that the kernel takes */
		else if (errno != ENODATA && errno != EOPNOTSUPP)
			return errno;
	}
	if (S_ISREG(facts->st_mode) && facts->st_mode & 0111) {
		int file = openat(in, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		/* What cannot be read here is asked for again, and then told. */
		if (file >= 0 && (length = read(file, head, sizeof(head))) >= 0)
			entry.head = (uint8_t)length;
		if (file >= 0)
			close(file);
	}
	put(&entry, sizeof(entry));
	put(path + start, entry.path);
	put(link, entry.link);
	put(capability, entry.capability == 0xFF ? 0 : entry.capability);
	put(head, entry.head == 0xFF ? 0 : entry.head);
	return 0;
}

/* All that is below `path`, which is the open folder. Returns an errno, and leaves `path` where it was met. */
static int put_below(int folder, const struct stat *facts, int depth)
{
	size_t length = strlen(path);
	struct dirent *each;
	DIR *names;
	int status = 0;

	if (depth == MAX_DEPTH)
		return close(folder), ENAMETOOLONG;
	for (int i = 0; i < depth; i++)
		if (above[i].device == facts->st_dev && above[i].inode == facts->st_ino)
			return close(folder), ELOOP;
	above[depth].device = facts->st_dev, above[depth].inode = facts->st_ino;
	names = fdopendir(folder);
	if (!names)
		return close(folder), errno;
	while (!status && (errno = 0, each = readdir(names))) {
		struct stat inner;
		if (!strcmp(each->d_name, ".") || !strcmp(each->d_name, ".."))
			continue;
		if (length + strlen(each->d_name) + 2 > PATH_MAX) {
			status = ENAMETOOLONG;
			break;
		}
		sprintf(path + length, "/%s", each->d_name);
		status = put_entry(folder, each->d_name, &inner);
		if (!status && S_ISDIR(inner.st_mode) && (!deepest || (uint64_t)depth + 1 < deepest)) {
			int below = openat(folder, each->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			status = below < 0 ? errno : put_below(below, &inner, depth + 1);
		}
		if (!status)
			path[length] = 0;
	}
	if (!each && errno)
		status = errno;
	closedir(names);
	return status;
}

/* Every entry, and at the end one without a mode: its inode is an errno, its path what it is about. */
static void walk(int number, uint64_t limit)
{
	int root = open(place_of(number), O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = root < 0 ? errno : 0;
	struct entry last = {.capability = 0xFF, .head = 0xFF};
	struct stat facts;

	strcpy(path, place_of(number));
	start = strlen(path);
	deepest = limit;
	put_status(0);
	if (!status)
		status = put_entry(root, "", &facts);
	if (!status)
		status = put_below(root, &facts, 0);
	last.inode = (uint64_t)status;
	last.path = (uint16_t)(status ? strlen(path + start) : 0);
	put(&last, sizeof(last));
	put(path + start, last.path);
}

/* Bytes of a file or a device, fewer at its end. */
static void read_bytes(const char *name, const struct request *request)
{
	static uint8_t piece[1 << 16];
	uint64_t offset = request->offset, left = request->bytes;
	int file = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	ssize_t count;

	if (file < 0) {
		put_status(errno);
		return;
	}
	/* The first piece tells whether it can be read at all. */
	count = pread(file, piece, left < sizeof(piece) ? left : sizeof(piece), (off_t)offset);
	put_status(count < 0 ? errno : 0);
	while (count > 0) {
		put(piece, (size_t)count);
		offset += (uint64_t)count, left -= (uint64_t)count;
		count = left ? pread(file, piece, left < sizeof(piece) ? left : sizeof(piece), (off_t)offset) : 0;
	}
	close(file);
}

/* --- requests ------------------------------------------------------------------------------------------- */

static void answer(const struct request *request, char *text)
{
	char name[PATH_MAX + 64];

	switch (request->what) {
	case 'd':
		list_devices();
		break;
	case 'l':
		map_device(text);
		break;
	case 'm':
		mount_device(request->mount, text);
		break;
	case 's':
		tell_space(request->mount);
		break;
	case 'e':
		find_path(request->mount, text);
		break;
	case 'k':
		tell_messages();
		break;
	case 'w':
		walk(request->mount, request->offset);
		break;
	case 'b':
		snprintf(name, sizeof(name), "/dev/%s", text);
		read_bytes(name, request);
		break;
	case 'f':
		snprintf(name, sizeof(name), "%s/%s", place_of(request->mount), text);
		read_bytes(name, request);
		break;
	default:
		put_status(ENOSYS);
	}
	finish();
}

static void take(void *data, size_t length)
{
	for (uint8_t *to = data; length;) {
		ssize_t count = read(port, to, length);
		if (count == 0)
			die("the host has gone");
		if (count < 0 && errno != EINTR)
			die("the host cannot be heard");
		if (count > 0)
			to += count, length -= (size_t)count;
	}
}

int main(void)
{
	static char text[MAX_REQUEST + 1];
	struct rlimit files = {MAX_DEPTH + 64, MAX_DEPTH + 64};
	struct request request;

	mount("none", "/proc", "proc", 0, NULL);
	mount("none", "/sys", "sysfs", 0, NULL);
	mount("none", "/dev", "devtmpfs", 0, NULL);
	setrlimit(RLIMIT_NOFILE, &files);
	load_modules("/etc/modules");
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(kernel_log, 0, SEEK_END);
	/* The port comes a moment after its driver. */
	for (int tries = 0; (port = open(PORT, O_RDWR | O_CLOEXEC)) < 0; tries++) {
		if (tries == WAIT_MS)
			die(PORT);
		usleep(1000);
	}
	put_status(0);
	finish();
	for (;;) {
		take(&request, sizeof(request));
		take(text, request.length);
		text[request.length] = 0;
		answer(&request, text);
	}
}
