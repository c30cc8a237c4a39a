// The calls of a sequence. Each records its result, and none blocks.
#pragma once

#include "model.h"

#include <sys/resource.h>

static int prints_values, sets_zeros;

static void note_result(const char *call, int fd, long returned) {
    int error = errno;
    note("%s(%d) = %ld", call, fd, returned);
    if (returned < 0)
        note(" errno %d", error);
}

static void choose_way(void) {
    make = ways[below(LENGTH(ways))].make;
}

static void do_socket(void) {
    int kind = below(10) < 6 ? below(2) : below(KINDS);
    int flags = below(2) * SOCK_CLOEXEC;
    // Local connections could wait for space, which cannot be queried.
    if (below(2) || kind >= UDP4)
        flags |= SOCK_NONBLOCK;
    int fd = CALL(SOCKET, kinds[kind].domain, kinds[kind].type | flags, 0);
    note_result(kinds[kind].name, flags, fd);
    opened(fd, kind, 0);
}

// A server, set up as in most programs.
static void do_serve(void) {
    int kind = below(8) ? below(2) : UNIX_STREAM;
    int fd = CALL(SOCKET, kinds[kind].domain, kinds[kind].type | SOCK_NONBLOCK, 0);
    note_result("server", kind, fd);
    opened(fd, kind, 0);
    if (fd < 0)
        return;
    int bound = raw_bind(fd);
    note(" %d %ld", bound, CALL(LISTEN, fd, 16));
    name_port(fd);
}

static void do_bind(void) {
    int fd = any_fd();
    note("bind(%d) = %d", fd, raw_bind(fd));
}

// Whether the queue of a listener is full: its length and limit are in TCP_INFO.
static int is_full(int fd) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    raw(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, (long)&info, (long)&size);
    return info.tcpi_unacked >= info.tcpi_sacked;
}

// Returns the listener at an address, -1 if there is none.
static int listener_at(const struct sockaddr_storage *address, socklen_t length) {
    for (int fd = 3; fd < FDS; fd++) {
        struct sockaddr_storage name = {0};
        if (object_of[fd] >= 0 && is_listener(fd) && raw_name(fd, &name) == length &&
            memcmp(&name, address, length) == 0)
            return fd;
    }
    return -1;
}

// Returns the name of one of the sockets, mostly of a listener, followed by zeros.
static socklen_t some_address(struct sockaddr_storage *address) {
    memset(address, 0, sizeof *address);
    return raw_name(below(4) ? fd_that(is_listener) : any_fd(), address);
}

// Records the options that the accepted end will inherit, if a connection is in the queue of `listener`.
static void queued(int listener, int before) {
    if (listener < 0 || !is_tcp(listener))
        return;
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    raw(SYS_getsockopt, listener, IPPROTO_TCP, TCP_INFO, (long)&info, (long)&size);
    struct object *server = object(listener);
    if ((int)info.tcpi_unacked > before && server->queued < QUEUE)
        server->queue[server->queued++] = server->own;
}

static int waiting_at(int listener) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (listener < 0 || !is_tcp(listener))
        return 0;
    raw(SYS_getsockopt, listener, IPPROTO_TCP, TCP_INFO, (long)&info, (long)&size);
    return info.tcpi_unacked;
}

// Whether a datagram socket of this process has this address.
static int is_datagram_address(const struct sockaddr_storage *address) {
    for (int fd = 3; fd < FDS; fd++) {
        struct sockaddr_storage name = {0};
        if (object_of[fd] >= 0 && !is_tcp(fd) && raw_name(fd, &name) > 0 && port_of(&name) == port_of(address))
            return 1;
    }
    return 0;
}

// A TCP socket that connects to itself succeeds or is aborted, depending on when its SYN arrives. Returns whether this
// could happen: with the socket's own address, or with a port that connect(2) may choose for the socket. These are the
// even ports of ip_local_port_range (net/ipv4/inet_hashtables.c, __inet_hash_connect), while bind(2) of a TCP socket
// prefers odd ones. A datagram socket gets either, which differs between runs, so its port is always excluded.
static int may_be_itself(int fd, const struct sockaddr_storage *address) {
    enum { FIRST_LOCAL_PORT = 32768 };
    struct sockaddr_storage own = {0};
    raw_name(fd, &own);
    if (!is_tcp(fd) || port_of(address) == 0)
        return 0;
    if (own.ss_family == address->ss_family && port_of(&own) == port_of(address))
        return 1;
    int port = ntohs(port_of(address));
    return port >= FIRST_LOCAL_PORT && (port % 2 == 0 || is_datagram_address(address));
}

static void do_connect(int is_send) {
    int fd = below(4) ? fd_that(is_fresh) : tcp_fd();
    struct sockaddr_storage address = {0};
    socklen_t length = some_address(&address), given = length;
    if (below(8) == 0)
        given = below(130);
    if (below(12) == 0)
        address.ss_family = AF_UNSPEC;
    int listener = listener_at(&address, length);
    if (listener < 0 && may_be_itself(fd, &address)) {
        note("itself");
        return;
    }
    if (listener >= 0 && is_tcp(listener) && (is_full(listener) || object(listener)->queued == QUEUE)) {
        note("full");
        return;
    }
    int before = waiting_at(listener);
    long returned = is_send ? CALL(SENDTO, fd, (long)"open", 4, MSG_FASTOPEN | MSG_DONTWAIT | MSG_NOSIGNAL, (long)&address, given)
                            : CALL(CONNECT, fd, (long)&address, given);
    note_result(is_send ? "fastopen" : "connect", fd, returned);
    note_address(&address, given, listener >= 0);
    barrier();
    queued(listener, before);
}

static void do_listen(void) {
    static const int backlogs[] = {8, 4, 16, 128, -1};
    int fd = below(2) ? fd_that(is_fresh) : tcp_fd();
    long returned = CALL(LISTEN, fd, backlogs[below(LENGTH(backlogs))]);
    note_result("listen", fd, returned);
    if (returned == 0)
        name_port(fd);
}

static int is_ready(int fd, short events) {
    struct pollfd poller = {fd, events, 0};
    return poll(&poller, 1, 0) == 1;
}

static int has_waiting(int fd) {
    return is_listener(fd) && is_ready(fd, POLLIN);
}

static void do_accept(void) {
    int fd = below(4) ? fd_that(has_waiting) : tcp_fd(), has_name = below(2), flags = below(4) * SOCK_NONBLOCK & (SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct sockaddr_storage name = {0};
    socklen_t size = below(2) ? sizeof name : 3;
    struct object *server = object(fd);
    int is_blocking = !(raw(SYS_fcntl, fd, F_GETFL, 0, 0, 0) & O_NONBLOCK);
    if (is_blocking && !is_ready(fd, POLLIN)) {
        note("none waiting");
        return;
    }
    if (server->kind >= UDP4)
        flags |= SOCK_NONBLOCK;
    int waiting = waiting_at(fd);
    long accepted = flags ? CALL(ACCEPT4, fd, has_name ? (long)&name : 0, has_name ? (long)&size : 0, flags)
                          : CALL(ACCEPT, fd, has_name ? (long)&name : 0, has_name ? (long)&size : 0);
    note_result("accept", fd, accepted);
    // An accept that found no free descriptor has also removed a connection from the queue.
    unsigned inherited = 0;
    if (waiting_at(fd) < waiting && server->queued > 0) {
        inherited = server->queue[0];
        memmove(server->queue, server->queue + 1, --server->queued * sizeof *server->queue);
    }
    if (accepted < 0)
        return;
    if (has_name && size >= sizeof(struct sockaddr_in))
        note_address(&name, size, 1);
    opened(accepted, server->kind, inherited);
}

static void do_set_option(void) {
    int fd = below(4) ? tcp_fd() : any_fd(), option = below(OWN_OPTIONS), pick = below(6);
    static const int lengths[] = {4, 4, 4, 4, 8, 3, 0, -1, 4096};
    static int buffer[1024];
    buffer[0] = options[option].values[pick];
    if (option == 0 && buffer[0] == 0 && !sets_zeros)
        buffer[0] = 1;
    int length = lengths[below(LENGTH(lengths))];
    long returned = CALL(SETSOCKOPT, fd, options[option].level, options[option].number, (long)buffer, length);
    note_result("set", fd, returned);
    note(" %s %d, %d bytes", options[option].name, buffer[0], length);
    if (returned == 0)
        object(fd)->own |= 1u << option;
}

static void do_set_other(void) {
    static const int others[][2] = {{SOL_SOCKET, SO_REUSEADDR}, {IPPROTO_TCP, TCP_NODELAY}, {SOL_SOCKET, SO_OOBINLINE}, {IPPROTO_TCP, TCP_SYNCNT}};
    int fd = any_fd(), other = below(LENGTH(others)), value = below(3);
    note_result("other", fd, CALL(SETSOCKOPT, fd, others[other][0], others[other][1], (long)&value, sizeof value));
    note(" %d %d", other, value);
}

static void do_get_option(void) {
    int fd = tcp_fd(), option = below(OWN_OPTIONS), value = 0;
    socklen_t size = sizeof value;
    long returned = CALL(GETSOCKOPT, fd, options[option].level, options[option].number, (long)&value, (long)&size);
    note_result("get", fd, returned);
    note(" %s, %u bytes", options[option].name, size);
    if (prints_values && object(fd)->own >> option & 1)
        note(" %d", value);
}

static void do_get_other(void) {
    static const int others[] = {SO_ERROR, SO_ERROR, SO_TYPE, SO_ACCEPTCONN, SO_DOMAIN, SO_PROTOCOL};
    int fd = any_fd(), name = others[below(LENGTH(others))], value = -1;
    socklen_t size = below(4) ? sizeof value : 2;
    note_result("ask", fd, CALL(GETSOCKOPT, fd, SOL_SOCKET, name, (long)&value, (long)&size));
    note(" %d: %d, %u bytes", name, value, size);
}

static void do_close(void) {
    int fd = any_fd();
    if (fd < 3)
        return;
    note_result("close", fd, close(fd));
    if (fd < FDS)
        object_of[fd] = -1;
    barrier();
}

static void do_dup(void) {
    int fd = any_fd(), to = 3 + below(20), copy;
    switch (below(5)) {
    case 0:
        copy = dup2(fd, to);
        break;
    case 1:
        copy = dup3(fd, to, O_CLOEXEC);
        break;
    case 2:
        copy = fcntl(fd, F_DUPFD, to);
        break;
    case 3:
        copy = fcntl(fd, F_DUPFD_CLOEXEC, to);
        break;
    default:
        copy = dup(fd);
    }
    note_result("dup", fd, copy);
    if (copy >= 3 && copy < FDS)
        object_of[copy] = fd < FDS ? object_of[fd] : -1;
    else if (copy >= FDS)
        raw_close(copy);
    barrier();
}

static void do_shutdown(void) {
    int fd = any_fd();
    note_result("shutdown", fd, shutdown(fd, below(4)));
    if (!is_listener(fd))
        object(fd)->queued = 0;
    barrier();
}

static void do_send(void) {
    int fd = below(4) ? fd_that(is_connected) : any_fd();
    char data[16];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = 'a' + below(26);
    int length = below(sizeof data + 1);
    note_result("send", fd, send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL));
    barrier();
}

static int has_data(int fd) {
    return is_connected(fd) && is_ready(fd, POLLIN);
}

static void do_receive(void) {
    int fd = below(4) ? fd_that(has_data) : any_fd(), size = 1 + below(31);
    char data[32];
    long length = recv(fd, data, size, MSG_DONTWAIT);
    note_result("receive", fd, length);
    if (length > 0)
        note(" %.*s", (int)length, data);
}

static void do_names(void) {
    int fd = any_fd();
    for (int peer = 0; peer < 2; peer++) {
        struct sockaddr_storage name = {0};
        socklen_t size = sizeof name;
        long returned = (peer ? getpeername : getsockname)(fd, (struct sockaddr *)&name, &size);
        note_result(peer ? ", peer" : "name", fd, returned);
        if (returned == 0)
            note_address(&name, size, is_tcp(fd));
    }
}

static void do_flags(void) {
    int fd = any_fd(), flags = fcntl(fd, F_GETFL);
    note_result("flags", fd, flags);
    if (flags >= 0 && is_tcp(fd))
        note(", %d", fcntl(fd, F_SETFL, flags ^ O_NONBLOCK));
}

static void do_poll(void) {
    struct pollfd all[FDS];
    for (int fd = 3; fd < FDS; fd++)
        all[fd] = (struct pollfd){object_of[fd] >= 0 ? fd : -1, POLLIN | POLLOUT | POLLRDHUP, 0};
    barrier();
    note("poll = %d:", poll(all + 3, FDS - 3, 0));
    for (int fd = 3; fd < FDS; fd++)
        if (all[fd].revents)
            note(" %d %x", fd, all[fd].revents);
}

// Passes a descriptor to this process by SCM_RIGHTS.
static void do_pass(void) {
    int fd = any_fd(), ends[2];
    long returned = socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    note_result("pair", fd, returned);
    if (returned < 0)
        return;
    char byte = 0;
    struct iovec vector = {&byte, 1};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof fd)];
    } control = {{.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    note_result(" pass", fd, sendmsg(ends[0], &message, 0));
    int passed = -1;
    if (recvmsg(ends[1], &message, MSG_DONTWAIT) == 1 && message.msg_controllen >= sizeof control.header)
        memcpy(&passed, CMSG_DATA(&control.header), sizeof passed);
    note(" %d", passed);
    close(ends[0]);
    close(ends[1]);
    if (passed >= 0 && passed < FDS && fd < FDS)
        object_of[passed] = object_of[fd];
}

// Limits the number of descriptors from here on, or removes the limit.
static void do_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = below(3) ? 1024 : 4 + below(12);
    note_result("limit", limit.rlim_cur, setrlimit(RLIMIT_NOFILE, &limit));
}
