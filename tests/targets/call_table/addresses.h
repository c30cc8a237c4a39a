// connect(2), and sends that connect, with addresses of every family and length, in memory of every kind.
#pragma once

#include "memory.h"
#include "socket.h"

#include <limits.h>

static long send_to(int fd, const void *address, int length) {
    return CALL(SENDTO, fd, (long)"data", 4, MSG_FASTOPEN | MSG_NOSIGNAL, (long)address, length);
}

static long send_message(int fd, const void *address, int length) {
    struct iovec vector = {"data", 4};
    struct msghdr message = {.msg_name = (void *)address, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1};
    return CALL(SENDMSG, fd, (long)&message, MSG_FASTOPEN | MSG_NOSIGNAL);
}

static long send_messages(int fd, const void *address, int length) {
    struct iovec vector = {"data", 4};
    struct mmsghdr messages[2] = {
        {.msg_hdr = {.msg_name = (void *)address, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1}},
        {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}}};
    return CALL(SENDMMSG, fd, (long)messages, 2, MSG_FASTOPEN | MSG_NOSIGNAL);
}

static long connect_to(int fd, const void *address, int length) {
    return CALL(CONNECT, fd, (long)address, length);
}

static const struct opener {
    const char *name;
    long (*open)(int, const void *, int);
} openers[] = {{"connect", connect_to}, {"sendto", send_to}, {"sendmsg", send_message}, {"sendmmsg", send_messages}};

// Connects a new socket, and prints the peer that it then has; the kernel chooses ports.
static void open_with(const struct kind *kind, const struct opener *opener, const void *address, int length) {
    int fd = new_socket(kind);
    errno = NO_ERRNO;
    long returned = opener->open(fd, address, length);
    int error = errno;
    if (kind->is_tcp && error == EINPROGRESS)
        await(fd, POLLOUT);
    barrier();
    struct sockaddr_storage peer;
    int has_peer = raw_name(fd, &peer) > 0;
    socklen_t size = sizeof peer;
    has_peer = has_peer && raw(SYS_getpeername, fd, (long)&peer, (long)&size, 0, 0) == 0;
    print_result(opener->name, returned, error);
    printf(", %s, pending error %d\n", has_peer ? "a peer" : "no peer", raw_option(fd, SOL_SOCKET, SO_ERROR));
    close_now(fd);
}

// The lengths at which results change: of a family, of an address of either IP version, of a path, of the maximum.
static const int lengths[] = {INT_MIN, -1,  0,   1,   2,   3,   7,   8,   15,  16,  17,  20,   23,  24,
                              25,      27,  28,  29,  108, 109, 110, 111, 127, 128, 129, 130, 4096, INT_MAX};

struct target {
    const char *name;
    struct sockaddr_storage address;
    // An address without a listener.
    int is_refusing;
};

static const struct target *targets(size_t *count) {
    static struct target all[9];
    static const char *const names[] = {"tcp4", "tcp6", "unix-stream", "unix-seqpacket", "udp4"};
    size_t i;
    for (i = 0; i < LENGTH(names); i++) {
        all[i].name = names[i];
        server_of(kind_of(names[i]), &all[i].address);
        all[i].is_refusing = !is_stream(kind_of(names[i]));
    }
    all[i].name = "AF_UNSPEC";
    all[i].address = all[0].address;
    all[i++].address.ss_family = AF_UNSPEC;
    all[i].name = "family 999";
    all[i].address = all[0].address;
    all[i++].address.ss_family = 999;
    all[i].name = "port 0";
    all[i].address = all[0].address;
    all[i].is_refusing = 1;
    ((struct sockaddr_in *)&all[i++].address)->sin_port = 0;
    all[i].name = "broadcast";
    all[i].address = all[0].address;
    ((struct sockaddr_in *)&all[i++].address)->sin_addr.s_addr = -1;
    *count = i;
    return all;
}

// Whether the table contains these sends: for datagrams and raw packets only the ignored flag differs, and a refusal
// reaches an MPTCP socket asynchronously.
static int are_sends_comparable(const struct kind *kind, const struct target *target) {
    return kind->is_tcp && !(kind->protocol == IPPROTO_MPTCP && target->is_refusing);
}

// Every length up to one more than the longest address, for sockets that could connect.
static void every_length(const struct kind *kind, const struct target *target) {
    for (int length = 0; length <= 130; length++) {
        in_context("%s to %s, each of %d bytes", kind->name, target->name, length);
        open_with(kind, &openers[0], &target->address, length);
    }
    drain_servers();
}

static void all_addresses(void) {
    size_t count;
    const struct target *all = targets(&count);
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        if (servers[i] < 0)
            continue;
        for (size_t j = 0; j < count; j++) {
            for (size_t k = 0; k < LENGTH(lengths); k++) {
                in_context("%s to %s, %d bytes", kinds[i].name, all[j].name, lengths[k]);
                for (size_t l = 0; l < LENGTH(openers); l++)
                    if (l == 0 || are_sends_comparable(&kinds[i], &all[j]))
                        open_with(&kinds[i], &openers[l], &all[j].address, lengths[k]);
            }
            drain_servers();
        }
    }
    every_length(kind_of("tcp4"), &all[0]);
    every_length(kind_of("tcp6"), &all[0]);
    every_length(kind_of("tcp6"), &all[1]);
}

// The address extends into unreadable memory.
static void all_memory(void) {
    static const int readable[] = {0, 1, 2, 4, 8, 15, 16, 20, 24, 27, 28, 64};
    static const int given[] = {2, 8, 16, 24, 28, 110, 128, 129};
    static const char *const names[] = {"tcp4", "tcp6", "mptcp4", "udp4", "unix-stream"};
    for (size_t i = 0; i < LENGTH(names); i++) {
        const struct kind *kind = kind_of(names[i]);
        struct sockaddr_storage address;
        if (servers[kind - kinds] < 0)
            continue;
        server_of(kind, &address);
        for (size_t j = 0; j < LENGTH(given); j++) {
            for (size_t k = 0; k < LENGTH(readable); k++) {
                in_context("%s, %d of %d bytes readable", kind->name, readable[k], given[j]);
                for (size_t l = 0; l < (kind->is_tcp ? LENGTH(openers) : 1); l++)
                    open_with(kind, &openers[l], half_readable(&address, readable[k]), given[j]);
            }
            for (size_t k = 0; k < LENGTH(bad_pointers); k++) {
                in_context("%s, %d bytes at %s", kind->name, given[j], bad_pointers[k].name);
                for (size_t l = 0; l < (kind->is_tcp ? LENGTH(openers) : 1); l++)
                    open_with(kind, &openers[l], (void *)bad_pointers[k].pointer, given[j]);
            }
        }
        drain_servers();
    }
    // The messages themselves are in unreadable memory.
    const struct kind *kind = kind_of("tcp4");
    struct mmsghdr message = {.msg_hdr = {.msg_namelen = 16}};
    for (size_t k = 0; k <= sizeof message; k += 4) {
        in_context("%zu bytes of the message readable", k);
        int fd = new_socket(kind);
        TRY("sendmsg", CALL(SENDMSG, fd, (long)half_readable(&message, k), MSG_FASTOPEN));
        TRY("sendmmsg", CALL(SENDMMSG, fd, (long)half_readable(&message, k), 1, MSG_FASTOPEN));
        raw_close(fd);
    }
}
