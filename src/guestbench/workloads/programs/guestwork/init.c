/* What the first process of a kernel does so that a server can listen: load modules, configure interfaces. */

#include "guestwork.h"
#include "sockets.h"

enum { NAME_SIZE = 16, INTERFACE_UP = 1, ROUTE_UP = 1, ROUTE_GATEWAY = 2 };

enum {
    SIOCADDRT = 0x890b,
    SIOCGIFFLAGS = 0x8913,
    SIOCSIFFLAGS = 0x8914,
    SIOCSIFADDR = 0x8916,
    SIOCSIFNETMASK = 0x891c,
};

/* The kernel's struct ifreq. */
struct interface_request {
    char name[NAME_SIZE];
    union {
        struct socket_address address;
        short flags;
        char size[24];
    };
};

/* The kernel's struct rtentry. */
struct route {
    unsigned long unused1;
    struct socket_address destination, gateway, netmask;
    unsigned short flags;
    unsigned long unused2[7];
};

_Static_assert(sizeof(struct interface_request) == 40, "as the kernel has it");
_Static_assert(sizeof(struct route) == 120, "as the kernel has it");

static void load_module(const char *path)
{
    int fd = (int)syscall3(SYS_OPEN, (long)path, 0, 0);

    if (fd < 0 || syscall3(SYS_FINIT_MODULE, fd, (long)"", 0) < 0)
        complain("cannot load", path);
    if (fd >= 0)
        sys_close(fd);
}

/* Load what /etc/modules lists, one path a line. A kernel that has all it needs built in has no such file. */
static void load_modules(void)
{
    static char list[4096];
    size_t length = 0;
    int fd = (int)syscall3(SYS_OPEN, (long)"/etc/modules", 0, 0);
    long got;

    if (fd < 0)
        return;
    while ((got = sys_read(fd, list + length, sizeof list - 1 - length)) > 0)
        length += (size_t)got;
    sys_close(fd);
    list[length] = '\0';
    for (char *path = list, *end; *path; path = end) {
        for (end = path; *end && *end != '\n'; end++)
            ;
        if (*end)
            *end++ = '\0';
        if (*path)
            load_module(path);
    }
}

static struct interface_request request_for(const char *name)
{
    struct interface_request request = {.size = {0}};

    for (size_t i = 0; name[i] && i < NAME_SIZE - 1; i++)
        request.name[i] = name[i];
    return request;
}

/* Set one address of an interface. */
static void set_address(int fd, const char *name, unsigned long what, uint32_t address)
{
    struct interface_request request = request_for(name);

    request.address = internet_address(address, 0);
    if (sys_ioctl(fd, what, &request) < 0)
        complain("cannot set an address of", name);
}

static void bring_up(int fd, const char *name)
{
    struct interface_request request = request_for(name);
    bool up = sys_ioctl(fd, SIOCGIFFLAGS, &request) >= 0;

    request.flags |= INTERFACE_UP;
    if (!up || sys_ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        complain("cannot bring up", name);
}

/* Wait for an interface whose driver is still at work. */
static long wait_for(int fd, const char *name)
{
    enum { WAIT_MS = 2000, STEP_MS = 5 };
    struct interface_request request = request_for(name);
    long result = sys_ioctl(fd, SIOCGIFFLAGS, &request);

    for (int waited = 0; result == -ENODEV && waited < WAIT_MS; waited += STEP_MS) {
        sys_sleep_ms(STEP_MS);
        result = sys_ioctl(fd, SIOCGIFFLAGS, &request);
    }
    return result;
}

static void set_gateway(int fd, uint32_t gateway)
{
    struct route route = {.flags = ROUTE_UP | ROUTE_GATEWAY};

    route.destination = route.netmask = internet_address(0, 0);
    route.gateway = internet_address(gateway, 0);
    if (sys_ioctl(fd, SIOCADDRT, &route) < 0)
        complain("cannot set the gateway", "");
}

void set_up_guest(const struct network *network)
{
    int fd;
    long found;

    load_modules();
    fd = (int)syscall3(SYS_SOCKET, INTERNET, DATAGRAM, 0);
    if (fd < 0) {
        complain("no sockets for the network", "");
        return;
    }
    found = wait_for(fd, "eth0");
    /* A kernel that knows no such calls has set itself up. */
    if (found >= 0 || found == -ENODEV)
        bring_up(fd, "lo");
    if (found == -ENODEV)
        complain("no interface", "eth0");
    if (found >= 0) {
        set_address(fd, "eth0", SIOCSIFADDR, network->address);
        set_address(fd, "eth0", SIOCSIFNETMASK, network->netmask);
        bring_up(fd, "eth0");
        set_gateway(fd, network->gateway);
    }
    sys_close(fd);
}
