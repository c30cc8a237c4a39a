// Repeats one kind of work, in a cgroup that may have a policy.
// usage: cgroup CASE MILLISECONDS
//
//   closed      creates a socket, connects it to a listener of this process, accepts, and closes both ends
//   reset       the same, but resets one end: the shortest life that a connection can have
//   itself      as closed, and sets five options on both ends
//   setsockopt  sets TCP_NODELAY, which no policy sets, on a connection
#include "slice.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

enum { PAIRS = 20, CALLS = 1000 };

static struct sockaddr_in address = {.sin_family = AF_INET};
static int listener, connection;
static bool sets_itself;

static void set(int fd, int level, int option, int value) {
    must(setsockopt(fd, level, option, &value, sizeof value), "setsockopt");
}

static void set_five(int fd) {
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 135000);
}

// Accepted sockets inherit the listener's options.
static void listen_here(bool resets) {
    socklen_t length = sizeof address;
    struct linger linger = {resets, 0};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(setsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), "setsockopt");
    must(bind(listener, (struct sockaddr *)&address, length), "bind");
    must(listen(listener, 16), "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
}

static int connect_once(void) {
    int fd = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    return fd;
}

static uint64_t pairs(int way, int iterations) {
    (void)way;
    uint64_t start = now_ns();
    for (int i = 0; i < iterations; i++) {
        int client = connect_once();
        int accepted = must(accept(listener, NULL, NULL), "accept");
        if (sets_itself) {
            set_five(client);
            set_five(accepted);
        }
        close(accepted);
        close(client);
    }
    return now_ns() - start;
}

static uint64_t calls(int way, int iterations) {
    (void)way;
    uint64_t start = now_ns();
    for (int i = 0; i < iterations; i++)
        set(connection, IPPROTO_TCP, TCP_NODELAY, 1);
    return now_ns() - start;
}

int main(int count, char **words) {
    if (count != 3)
        return 2;
    int milliseconds = atoi(words[2]);
    listen_here(strcmp(words[1], "reset") == 0);
    if (strcmp(words[1], "setsockopt") == 0) {
        connection = connect_once();
        return serve_slices(calls, 1, CALLS, milliseconds);
    }
    sets_itself = strcmp(words[1], "itself") == 0;
    return serve_slices(pairs, 1, PAIRS, milliseconds);
}
