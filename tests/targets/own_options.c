// Sets options itself, then makes calls that fail or that end a connection, and prints the options afterwards.
#define _GNU_SOURCE
#include "ways.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

static const struct option {
    const char *name;
    int level, number, value;
} options[] = {
    {"user timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 7000},
    {"syn count", IPPROTO_TCP, TCP_SYNCNT, 3},
    {"defer accept", IPPROTO_TCP, TCP_DEFER_ACCEPT, 3},
    {"segment", IPPROTO_TCP, TCP_MAXSEG, 700},
    {"clamp", IPPROTO_TCP, TCP_WINDOW_CLAMP, 30000},
};
enum { COUNT = sizeof options / sizeof *options, DEFERS = 1 << 2 };

// The options that the program sets, one bit each.
static unsigned set;

static int make(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    for (int i = 0; i < COUNT; i++)
        if (set & 1u << i)
            setsockopt(fd, options[i].level, options[i].number, &options[i].value, sizeof(int));
    return fd;
}

static void print(const char *when, int fd) {
    PRINT("%s, %02x:", when, set);
    for (int i = 0; i < COUNT; i++)
        PRINT(" %s %d", options[i].name, raw_option(fd, options[i].level, options[i].number));
    PRINT("\n");
}

int main(void) {
    struct sockaddr_storage address;
    int busy = raw_listener(AF_INET);
    socklen_t length = raw_name(busy, &address);
    // A socket that the library remembers.
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    raw_bind(listener);
    listen(listener, 8);
    for (set = 0; set < 1u << COUNT; set++) {
        // Its port is in use: listen(2) fails with EADDRINUSE.
        int fd = make();
        int one = 1;
        struct sockaddr_storage same = {0};
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        raw_bind(fd);
        socklen_t same_length = raw_name(fd, &same);
        int other = raw_socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        raw(SYS_bind, other, (long)&same, same_length, 0, 0);
        raw(SYS_listen, other, 1, 0, 0, 0);
        int listened = listen(fd, 1);
        PRINT("listen: %d errno %d\n", listened, listened < 0 ? errno : 0);
        print("after listen that failed", fd);
        raw_close(fd);
        raw_close(other);

        // A client with TCP_DEFER_ACCEPT answers the handshake a second later (tcp(7)).
        if (set & DEFERS)
            continue;
        // listen(2) on a connection fails.
        fd = make();
        raw_connect(fd, &address, length);
        struct pollfd poller = {fd, POLLOUT, 0};
        poll(&poller, 1, 10000);
        raw_close(raw_accept(busy));
        print("connected", fd);
        listened = listen(fd, 1);
        PRINT("listen: %d errno %d\n", listened, listened < 0 ? errno : 0);
        print("after listen of a connection", fd);
        // connect(2) on a listener fails, and on a connection too.
        int before[COUNT], same_options = 1;
        for (int i = 0; i < COUNT; i++)
            before[i] = raw_option(listener, options[i].level, options[i].number);
        int connected = connect(listener, (struct sockaddr *)&address, length);
        PRINT("connect of a listener: %d errno %d\n", connected, connected < 0 ? errno : 0);
        for (int i = 0; i < COUNT; i++)
            same_options &= before[i] == raw_option(listener, options[i].level, options[i].number);
        PRINT("its options are the same: %d\n", same_options);
        connect(fd, (struct sockaddr *)&address, length);
        connected = connect(fd, (struct sockaddr *)&address, length);
        PRINT("connect of a connection: %d errno %d\n", connected, connected < 0 ? errno : 0);
        raw_close(fd);
    }
    return 0;
}
