// Opens connections by sending (MSG_FASTOPEN), in every way, and prints the options of the socket.
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>

static struct sockaddr_storage address;
static socklen_t length;
static char data[] = "data";
static struct iovec vector = {data, sizeof data};

static long by_sendto(int fd) {
    return sendto(fd, data, sizeof data, MSG_FASTOPEN, (struct sockaddr *)&address, length);
}

static long by_sendmsg(int fd) {
    struct msghdr message = {.msg_name = &address, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1};
    return sendmsg(fd, &message, MSG_FASTOPEN);
}

static long by_sendmmsg(int fd) {
    struct mmsghdr message = {
        .msg_hdr = {.msg_name = &address, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1}};
    return sendmmsg(fd, &message, 1, MSG_FASTOPEN);
}

static const struct way {
    const char *name;
    long (*send)(int);
} ways[] = {{"sendto", by_sendto}, {"sendmsg", by_sendmsg}, {"sendmmsg", by_sendmmsg}};

int main(void) {
    int domains[] = {AF_INET, AF_INET6};
    for (int i = 0; i < 2; i++) {
        int listener = raw_listener(domains[i]);
        length = raw_name(listener, &address);
        for (size_t j = 0; j < sizeof ways / sizeof *ways; j++) {
            int fd = socket(domains[i], SOCK_STREAM, 0);
            if (ways[j].send(fd) < 0)
                PRINT("%s: %s\n", ways[j].name, strerror(errno));
            else
                show(ways[j].name, fd);
        }
    }
    return 0;
}
