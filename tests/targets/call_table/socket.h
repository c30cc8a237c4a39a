// Sockets of every kind in every state, and addresses to connect them to.
#pragma once

#include "../loopback_barrier.h"
#include "report.h"

#include <poll.h>
#include <stddef.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static const struct kind {
    const char *name;
    int domain, type, protocol;
    int is_tcp;
} kinds[] = {
    {"tcp4", AF_INET, SOCK_STREAM, 0, 1},
    {"tcp6", AF_INET6, SOCK_STREAM, 0, 1},
    {"mptcp4", AF_INET, SOCK_STREAM, IPPROTO_MPTCP, 1},
    {"mptcp6", AF_INET6, SOCK_STREAM, IPPROTO_MPTCP, 1},
    {"udp4", AF_INET, SOCK_DGRAM, 0, 0},
    {"udp6", AF_INET6, SOCK_DGRAM, 0, 0},
    {"raw4", AF_INET, SOCK_RAW, 200, 0},
    {"raw6", AF_INET6, SOCK_RAW, 200, 0},
    {"sctp4", AF_INET, SOCK_STREAM, IPPROTO_SCTP, 0},
    {"sctp6", AF_INET6, SOCK_SEQPACKET, IPPROTO_SCTP, 0},
    {"unix-stream", AF_UNIX, SOCK_STREAM, 0, 0},
    {"unix-dgram", AF_UNIX, SOCK_DGRAM, 0, 0},
    {"unix-seqpacket", AF_UNIX, SOCK_SEQPACKET, 0, 0},
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static int is_stream(const struct kind *kind) {
    return kind->type != SOCK_DGRAM && kind->type != SOCK_RAW && kind->protocol != IPPROTO_SCTP;
}

// A listener of each stream kind, and a bound socket of each other kind; -1 if the kernel does not support the kind.
static int servers[LENGTH(kinds)];

static int new_socket(const struct kind *kind) {
    return CALL(SOCKET, kind->domain, kind->type | SOCK_NONBLOCK, kind->protocol);
}

static void close_now(int fd) {
    struct linger at_once = {1, 0};
    raw(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, (long)&at_once, sizeof at_once);
    raw_close(fd);
}

static void start_servers(void) {
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        int fd = raw(SYS_socket, kinds[i].domain, kinds[i].type | SOCK_NONBLOCK, kinds[i].protocol, 0, 0);
        if (fd >= 0) {
            raw_bind(fd);
            if (is_stream(&kinds[i]))
                raw(SYS_listen, fd, 1024, 0, 0, 0);
        }
        servers[i] = fd;
    }
}

// Accepts or reads everything at the servers, so that no queue becomes full.
static void drain_servers(void) {
    char data[8];
    barrier();
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        long fd;
        if (servers[i] < 0)
            continue;
        while (is_stream(&kinds[i]) && (fd = raw(SYS_accept4, servers[i], 0, 0, 0, 0)) >= 0)
            close_now(fd);
        while (!is_stream(&kinds[i]) && raw(SYS_read, servers[i], (long)data, sizeof data, 0, 0) >= 0)
            ;
    }
}

static const struct kind *kind_of(const char *name) {
    for (size_t i = 0; i < LENGTH(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    abort();
}

// Returns the address of the server of this kind, followed by zeros.
static socklen_t server_of(const struct kind *kind, struct sockaddr_storage *address) {
    memset(address, 0, sizeof *address);
    return raw_name(servers[kind - kinds], address);
}

static void await(int fd, short events) {
    struct pollfd poller = {fd, events, 0};
    poll(&poller, 1, 10000);
}

enum state { NEW, BOUND, CONNECTING, CONNECTED, ACCEPTED, REFUSED, RESET, SHUT, LISTENING, STATES };

static const char *const state_names[] = {"new",     "bound", "connecting", "connected", "accepted",
                                          "refused", "reset", "shut",       "listening"};

// Returns an address that does not answer: the queue of the listener is full.
static socklen_t silent_address(const struct kind *kind, struct sockaddr_storage *address) {
    static int listeners[2] = {-1, -1};
    int *listener = &listeners[kind->domain == AF_INET6];
    if (*listener < 0) {
        *listener = raw(SYS_socket, kind->domain, SOCK_STREAM, 0, 0, 0);
        raw_bind(*listener);
        raw(SYS_listen, *listener, 0, 0, 0, 0);
        raw_client(*listener);
    }
    memset(address, 0, sizeof *address);
    return raw_name(*listener, address);
}

// Returns an address with a bound socket that does not listen.
static socklen_t refusing_address(const struct kind *kind, struct sockaddr_storage *address) {
    static int bound[2] = {-1, -1};
    int *fd = &bound[kind->domain == AF_INET6];
    if (*fd < 0) {
        *fd = raw(SYS_socket, kind->domain, SOCK_STREAM, 0, 0, 0);
        raw_bind(*fd);
    }
    memset(address, 0, sizeof *address);
    return raw_name(*fd, address);
}

// Whether a socket of this kind can be in this state.
static int can_be(const struct kind *kind, enum state state) {
    if (kind->is_tcp || state <= BOUND || state == CONNECTED)
        return 1;
    return kind->domain == AF_UNIX && is_stream(kind) && (state == LISTENING || state == ACCEPTED || state == SHUT);
}

// Returns a socket in this state, or -1 if the kernel does not support the kind. Calls `prepare` with the new socket,
// which for an accepted one is its listener.
static int in_state(const struct kind *kind, enum state state, void (*prepare)(int)) {
    struct sockaddr_storage address;
    socklen_t length;
    int fd = new_socket(kind);
    if (fd < 0)
        return fd;
    prepare(fd);
    switch (state) {
    case NEW:
        break;
    case BOUND:
        raw_bind(fd);
        break;
    case CONNECTING:
        length = silent_address(kind, &address);
        CALL(CONNECT, fd, (long)&address, length);
        break;
    case REFUSED:
        length = refusing_address(kind, &address);
        CALL(CONNECT, fd, (long)&address, length);
        await(fd, POLLOUT);
        barrier();
        break;
    case LISTENING:
        raw_bind(fd);
        CALL(LISTEN, fd, 8);
        break;
    case ACCEPTED:
        raw_bind(fd);
        CALL(LISTEN, fd, 8);
        memset(&address, 0, sizeof address);
        length = raw_name(fd, &address);
        static int peer = -1;
        close_now(peer);
        peer = raw(SYS_socket, kind->domain, kind->type, kind->protocol, 0, 0);
        raw(SYS_connect, peer, (long)&address, length, 0, 0);
        await(fd, POLLIN);
        int accepted = CALL(ACCEPT4, fd, 0, 0, SOCK_NONBLOCK);
        raw_close(fd);
        fd = accepted;
        break;
    case CONNECTED:
    case RESET:
    case SHUT:
        length = server_of(kind, &address);
        CALL(CONNECT, fd, (long)&address, length);
        await(fd, POLLOUT);
        if (state == RESET && kind->is_tcp) {
            drain_servers();
            await(fd, POLLIN);
        }
        if (state == SHUT)
            raw(SYS_shutdown, fd, SHUT_RDWR, 0, 0, 0);
        barrier();
        break;
    case STATES:
        abort();
    }
    return fd;
}
