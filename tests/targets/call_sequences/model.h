// Records for the descriptors of a sequence: the socket of each, and the options that the program has set on it.
#pragma once

#include "../loopback_barrier.h"
#include "../make_call.h"
#include "trace.h"

#include <poll.h>
#include <sys/un.h>

#define LENGTH(array) (sizeof(array) / sizeof *(array))

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum kind { TCP4, TCP6, UDP4, UNIX_STREAM, UNIX_DGRAM, KINDS, OTHER };

static const struct {
    const char *name;
    int domain, type;
} kinds[] = {{"tcp4", AF_INET, SOCK_STREAM},
             {"tcp6", AF_INET6, SOCK_STREAM},
             {"udp4", AF_INET, SOCK_DGRAM},
             {"unix", AF_UNIX, SOCK_STREAM},
             {"unix-dgram", AF_UNIX, SOCK_DGRAM}};

static const struct {
    const char *name;
    int level, number, values[6];
} options[] = {{"keepalive", SOL_SOCKET, SO_KEEPALIVE, {1, 1, 1, 7, 0, 0}},
               {"idle", IPPROTO_TCP, TCP_KEEPIDLE, {30, 61, 600, 32767, 0, 32768}},
               {"interval", IPPROTO_TCP, TCP_KEEPINTVL, {5, 13, 20, 32767, -1, 32768}},
               {"count", IPPROTO_TCP, TCP_KEEPCNT, {1, 4, 8, 127, 0, 128}},
               {"user-timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, {5000, 30000, 60000, 2147483647, -1, -5}}};

#define OWN_OPTIONS ((int)LENGTH(options))

// A socket. Connections in its queue have inherited the options that the program had set on it at that time.
#define QUEUE 32
struct object {
    enum kind kind;
    unsigned own;
    unsigned queue[QUEUE];
    int queued;
};

#define FDS 48
#define OBJECTS 256
static struct object objects[OBJECTS];
static int object_count;
// The object of each descriptor, -1 if it is closed.
static int object_of[FDS];

static struct object *object(int fd) {
    static struct object none = {.kind = OTHER};
    if (fd < 0 || fd >= FDS || object_of[fd] < 0) {
        none.own = none.queued = 0;
        return &none;
    }
    return &objects[object_of[fd]];
}

static int is_tcp(int fd) {
    return object(fd)->kind <= TCP6;
}

// Records a new descriptor, whose number may be an error.
static void opened(int fd, enum kind kind, unsigned own) {
    if (fd < 0 || fd >= FDS || object_count == OBJECTS)
        return;
    objects[object_count] = (struct object){.kind = kind, .own = own};
    object_of[fd] = object_count++;
}

// Returns a number for calls: mostly an open descriptor.
static int any_fd(void) {
    int open[FDS], count = 0;
    for (int fd = 3; fd < FDS; fd++)
        if (object_of[fd] >= 0)
            open[count++] = fd;
    int pick = below(20);
    if (pick == 0 || count == 0)
        return below(FDS) - 2;
    return open[below(count)];
}

// Returns mostly a descriptor of a TCP socket.
static int tcp_fd(void) {
    for (int tries = 0; tries < 8; tries++) {
        int fd = any_fd();
        if (is_tcp(fd))
            return fd;
    }
    return any_fd();
}

static int is_listener(int fd) {
    return raw_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

static int is_connected(int fd) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    return raw(SYS_getpeername, fd, (long)&peer, (long)&size, 0, 0) == 0;
}

static int is_fresh(int fd) {
    return is_tcp(fd) && !is_listener(fd) && !is_connected(fd);
}

// Returns mostly a descriptor that the next call is for.
static int fd_that(int (*is_wanted)(int)) {
    int fd = any_fd();
    for (int tries = 0; tries < 12 && !is_wanted(fd); tries++)
        fd = any_fd();
    return fd;
}

// The kernel chooses ports. Listeners' ports, which no other socket of the family can have, are numbered in the order
// of their appearance. Other ports may be the same by chance.
static struct {
    int domain, port;
} ports[64];
static int port_count;

static int port_of(const struct sockaddr_storage *address) {
    // The port is at the same offset in both families.
    return ((const struct sockaddr_in *)address)->sin_port;
}

static int port_name(int domain, int port) {
    for (int i = 0; i < port_count; i++)
        if (ports[i].domain == domain && ports[i].port == port)
            return i + 1;
    return 0;
}

static void name_port(int fd) {
    struct sockaddr_storage address = {0};
    raw_name(fd, &address);
    int domain = address.ss_family, port = port_of(&address);
    if ((domain == AF_INET || domain == AF_INET6) && port_name(domain, port) == 0 && port_count < (int)LENGTH(ports)) {
        ports[port_count].domain = domain;
        ports[port_count++].port = port;
    }
}

static void note_address(const struct sockaddr_storage *address, socklen_t length, int is_stream) {
    int domain = length >= 2 ? address->ss_family : -1;
    char text[64] = "";
    if (domain == AF_INET && length >= sizeof(struct sockaddr_in))
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
    if (domain == AF_INET6 && length >= sizeof(struct sockaddr_in6))
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
    note(" %d %s", domain, text);
    if (text[0] && is_stream)
        note("#%d", port_name(domain, port_of(address)));
}
