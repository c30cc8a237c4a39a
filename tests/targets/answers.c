// Prints the kernel's results of calls that mostly fail, on sockets of every kind. usage: answers WHAT
//
//   setsockopt   every option that keepalive sets: lengths, values, pointers
//   connect      families, lengths, pointers; and the options that the program has set, after a failed call
//   listen       sockets that cannot listen; and the options that the program has set
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum { PAGE = 4096, ROOM = 32 * PAGE };
// Descriptors from KEPT on stay open; all others are closed after each call. CLOSED is never open.
enum { KEPT = 500, CLOSED = 999 };

// The end of readable memory.
static char *end;
static struct sockaddr_storage address, address6;

static int bound(int type, int protocol, const struct sockaddr_storage *where) {
    int one = 1, fd = socket(where->ss_family, type, protocol);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bind(fd, (const struct sockaddr *)where, sizeof(struct sockaddr_in6));
    return fd;
}

static int listener(int protocol) {
    int fd = socket(AF_INET, SOCK_STREAM, protocol);
    raw_bind(fd);
    listen(fd, 8);
    return fd;
}

static int accepted(int protocol) {
    struct sockaddr_storage where;
    int fd = listener(protocol);
    socklen_t length = raw_name(fd, &where);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    connect(client, (struct sockaddr *)&where, length);
    // The accepted end may wait for data (TCP_DEFER_ACCEPT).
    write(client, "x", 1);
    return accept(fd, NULL, NULL);
}

// The listener does not answer, so the socket is connecting.
static int connecting(void) {
    struct sockaddr_storage full;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), queue = socket(AF_INET, SOCK_STREAM, 0);
    raw_bind(queue);
    listen(queue, 0);
    raw_name(queue, &full);
    for (int i = 0; i < 2; i++)
        connect(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), (struct sockaddr *)&full, sizeof(struct sockaddr_in));
    connect(fd, (struct sockaddr *)&full, sizeof(struct sockaddr_in));
    return fd;
}

static int tcp(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); }
static int tcp6(void) { return socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0); }
static int mptcp(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_MPTCP); }
static int tcp_listener(void) { return listener(0); }
static int tcp_accepted(void) { return accepted(0); }
static int mptcp_listener(void) { return listener(IPPROTO_MPTCP); }
static int mptcp_accepted(void) { return accepted(IPPROTO_MPTCP); }
static int udp(void) { return socket(AF_INET, SOCK_DGRAM, 0); }
static int raw_tcp(void) { return socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_TCP); }
static int sctp(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_SCTP); }
static int local(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static int file(void) { return open("/proc/self/exe", O_RDONLY); }
static int path(void) { return open("/proc/self/exe", O_PATH); }
static int closed(void) { return CLOSED; }
static int negative(void) { return -1; }

static int pipe_end(void) {
    int ends[2];
    return pipe(ends) < 0 ? -1 : ends[0];
}

// Another socket already listens at this address.
static int conflicting(void) {
    struct sockaddr_storage where;
    int first = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(first, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    raw_bind(first);
    raw_name(first, &where);
    int second = bound(SOCK_STREAM, 0, &where);
    listen(first, 8);
    return second;
}

static const struct kind {
    const char *name;
    int (*open)(void);
} kinds[] = {
    {"tcp", tcp},
    {"tcp6", tcp6},
    {"tcp-listener", tcp_listener},
    {"tcp-accepted", tcp_accepted},
    {"tcp-connecting", connecting},
    {"tcp-conflicting", conflicting},
    {"mptcp", mptcp},
    {"mptcp-listener", mptcp_listener},
    {"mptcp-accepted", mptcp_accepted},
    {"udp", udp},
    {"raw", raw_tcp},
    {"sctp", sctp},
    {"unix", local},
    {"pipe", pipe_end},
    {"file", file},
    {"path", path},
    {"closed", closed},
    {"negative", negative},
};

static const struct option {
    int level, name;
} options[] = {
    {SOL_SOCKET, SO_KEEPALIVE},     {IPPROTO_TCP, TCP_KEEPIDLE}, {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},     {IPPROTO_TCP, TCP_SYNCNT},   {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
};

#define EACH(index, list) (size_t index = 0; index < sizeof list / sizeof *list; index++)

static void close_all(void) {
    for (int fd = 3; fd < 50; fd++)
        raw_close(fd);
}

static int keep(int fd, int as) {
    dup2(fd, as);
    raw_close(fd);
    return as;
}

static void set_once(const struct kind *kind, const struct option *option, const void *value, int length, const char *what) {
    int fd = kind->open();
    int result = setsockopt(fd, option->level, option->name, value, length);
    PRINT("%s %d/%d %s length %d: %d\n", kind->name, option->level, option->name, what, length, result == 0 ? 0 : errno);
    close_all();
}

static void try_setsockopt(const struct kind *kind) {
    static const int lengths[] = {INT_MIN, -1,   0,    1,     2,     3,      4,      5,
                                  7,       8,    9,    PAGE - 1, PAGE, PAGE + 1, ROOM, INT_MAX};
    static const int values[] = {0, 1, 2, -1, 127, 128, 255, 256, 600, 32767, 32768, 65536, 65537, INT_MAX, INT_MIN};
    for EACH(j, options) {
        const struct option *option = &options[j];
        int *room = (int *)(end - ROOM);
        for EACH(k, values) {
            char what[32];
            snprintf(what, sizeof what, "value %d", values[k]);
            *room = values[k];
            set_once(kind, option, room, sizeof *room, what);
        }
        *room = 600;
        for EACH(k, lengths)
            set_once(kind, option, room, lengths[k], "value 600");
        for (int left = 0; left <= 5; left++) {
            char what[32];
            snprintf(what, sizeof what, "left %d", left);
            memset(end - 8, 1, 8);
            set_once(kind, option, end - left, 4, what);
        }
        set_once(kind, option, NULL, 4, "nothing");
        set_once(kind, option, NULL, 0, "nothing");
    }
}

static void set(int fd, int level, int name, int value) {
    setsockopt(fd, level, name, &value, sizeof value);
}

static void set_own(int fd) {
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 600);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 33);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 7);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
    set(fd, IPPROTO_TCP, TCP_SYNCNT, 3);
}

static void print_own(const char *call, const char *kind, const char *what, int result, int fd) {
    // The test has established a pending connection itself.
    if (result == 0 || errno == EINPROGRESS) {
        PRINT("%s %s %s: %d\n", call, kind, what, result == 0 ? 0 : errno);
        return;
    }
    int error = errno;
    PRINT("%s %s %s: %d, has %d %d %d %d %d %d %d\n", call, kind, what, error, raw_option(fd, SOL_SOCKET, SO_KEEPALIVE),
          raw_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), raw_option(fd, IPPROTO_TCP, TCP_KEEPINTVL),
          raw_option(fd, IPPROTO_TCP, TCP_KEEPCNT), raw_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT),
          raw_option(fd, IPPROTO_TCP, TCP_SYNCNT), raw_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT));
}

static void try_connect(const struct kind *kind) {
    static const int families[] = {AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, 255};
    static const int lengths[] = {INT_MIN, -1, 0, 1, 15, 16, 20, 23, 24, 27, 28, 110, 128, 129, INT_MAX};
    // The number of readable bytes of the address.
    static const int parts[] = {256, 28, 16, 0};
    for EACH(f, families) {
        for EACH(l, lengths) {
            for EACH(p, parts) {
                char what[64];
                int fd = kind->open();
                const struct sockaddr_storage *from = families[f] == AF_INET6 ? &address6 : &address;
                memset(end - 256, 0, 256);
                memcpy(end - parts[p], from, parts[p] < 128 ? parts[p] : 128);
                if (parts[p] >= 2)
                    ((struct sockaddr *)(end - parts[p]))->sa_family = families[f];
                set_own(fd);
                fcntl(fd, F_SETFL, O_NONBLOCK);
                snprintf(what, sizeof what, "family %d length %d of %d", families[f], lengths[l], parts[p]);
                int result = connect(fd, (struct sockaddr *)(end - parts[p]), lengths[l]);
                print_own("connect", kind->name, what, result, fd);
                close_all();
            }
        }
    }
}

static void try_listen(const struct kind *kind) {
    int fd = kind->open();
    set_own(fd);
    set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 3);
    int result = listen(fd, 8);
    print_own("listen", kind->name, "8", result, fd);
    close_all();
}

int main(int count, char **words) {
    if (count != 2)
        return 2;
    char *room = mmap(NULL, ROOM + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED || munmap(room + ROOM, PAGE) < 0)
        return 1;
    end = room + ROOM;
    raw_name(keep(raw_listener(AF_INET), KEPT), &address);
    raw_name(keep(raw_listener(AF_INET6), KEPT + 1), &address6);
    for EACH(i, kinds) {
        if (strcmp(words[1], "setsockopt") == 0)
            try_setsockopt(&kinds[i]);
        else if (strcmp(words[1], "connect") == 0)
            try_connect(&kinds[i]);
        else
            try_listen(&kinds[i]);
    }
    return 0;
}
