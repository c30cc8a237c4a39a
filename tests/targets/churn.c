// Opens and closes sockets and other files constantly, so that descriptor numbers are reused immediately. On a byte of
// standard input it stops, prints the number of sockets other than TCP that had keepalive on, and keeps the open
// descriptors until the end of standard input.
#define _GNU_SOURCE
#include "raw.h"

#include <poll.h>
#include <stdlib.h>

enum { SLOTS = 64 };

static int listener;

static int is_stream(int fd) {
    int domain = raw_option(fd, SOL_SOCKET, SO_DOMAIN);
    return domain == AF_INET && raw_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM;
}

static int open_some(void) {
    switch (rand() % 7) {
    case 0: {
        struct sockaddr_storage address;
        socklen_t length = raw_name(listener, &address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fd, (struct sockaddr *)&address, length);
        return fd;
    }
    case 1:
        return accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    case 2:
        return socket(AF_INET, SOCK_STREAM, 0);
    case 3:
        return socket(AF_INET, SOCK_DGRAM, 0);
    case 4:
        return socket(AF_UNIX, SOCK_STREAM, 0);
    case 5:
        return socket(AF_UNIX, SOCK_DGRAM, 0);
    default:
        return open("/dev/null", O_RDONLY);
    }
}

int main(void) {
    int slots[SLOTS];
    long touched = 0, steps = 0;
    memset(slots, -1, sizeof slots);
    listener = raw_listener(AF_INET);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    PRINT("ready\n");
    struct pollfd input = {0, POLLIN, 0};
    for (; poll(&input, 1, 0) == 0; steps++) {
        int *slot = &slots[rand() % SLOTS];
        if (*slot >= 0) {
            if (!is_stream(*slot) && raw_option(*slot, SOL_SOCKET, SO_KEEPALIVE) > 0)
                touched++;
            // A reset avoids TIME-WAIT, so that ports stay available.
            setsockopt(*slot, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
            close(*slot);
        }
        *slot = open_some();
    }
    PRINT("%ld steps, %ld touched\n", steps, touched);
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}
