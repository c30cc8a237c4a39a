// Sets options by system calls that the library does not see, on a descriptor number that the library remembers. Prints
// the options of the sockets after calls that the library does see.
#include "raw.h"

static void set_raw(int fd, int level, int name, int value) {
    raw(SYS_setsockopt, fd, level, name, (long)&value, sizeof value);
}

// The program sets a user timeout before listen(2).
static void listener(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    raw_bind(fd);
    set_raw(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 60000);
    listen(fd, 8);
    show("listener", fd);
}

// A connection's descriptor number is closed and reused by another socket, on which the program sets a count.
static void reused_number(const struct sockaddr_storage *address, socklen_t length) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, (const struct sockaddr *)address, length);
    show("connection", fd);
    raw_close(fd);
    int other = raw_socket(AF_INET, SOCK_STREAM, 0);
    set_raw(other, IPPROTO_TCP, TCP_KEEPCNT, 1);
    set_raw(other, IPPROTO_TCP, TCP_USER_TIMEOUT, 60000);
    raw(SYS_dup3, other, fd, 0, 0, 0);
    connect(fd, (const struct sockaddr *)address, length);
    show("another socket", fd);
}

int main(void) {
    struct sockaddr_storage address;
    int server = raw_listener(AF_INET);
    socklen_t length = raw_name(server, &address);
    listener();
    reused_number(&address, length);
    return 0;
}
