// Every call with descriptors that are not sockets.
#pragma once

#include "memory.h"
#include "socket.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static struct bad_fd {
    const char *name;
    long fd;
} bad_fds[] = {{"-1", -1},       {"INT_MIN", INT_MIN}, {"closed", 1000}, {"INT_MAX", INT_MAX}, {"file", 0},
               {"directory", 0}, {"pipe", 0},          {"O_PATH", 0},    {"epoll", 0},         {"eventfd", 0}};

static void open_bad_fds(void) {
    int pipes[2] = {-1, -1};
    (void)!pipe(pipes);
    int fds[] = {open("/proc/self/exe", O_RDONLY), open("/", O_RDONLY | O_DIRECTORY), pipes[0],
                 open("/", O_PATH),                epoll_create1(0),                  eventfd(0, 0)};
    for (size_t i = 0; i < LENGTH(fds); i++)
        bad_fds[4 + i].fd = fds[i];
}

static void calls_of(long fd) {
    struct sockaddr_storage address;
    socklen_t length = server_of(kind_of("tcp4"), &address);
    char data[] = "data", control[64];
    struct iovec vector = {data, sizeof data};
    struct mmsghdr message = {.msg_hdr = {.msg_name = &address, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1}};
    struct mmsghdr bad = {.msg_hdr = {.msg_name = (void *)8, .msg_namelen = 4096, .msg_iov = (void *)8, .msg_iovlen = 9999}};
    socklen_t sizes[] = {-1, 0, 4, 128};

    static const int lengths[] = {-1, 0, 7, 16, 28, 110, 129};
    for (size_t i = 0; i < LENGTH(lengths); i++) {
        char what[40];
        snprintf(what, sizeof what, "connect of %d bytes", lengths[i]);
        TRY(what, CALL(CONNECT, fd, (long)&address, lengths[i]));
        snprintf(what, sizeof what, "connect of %d bad bytes", lengths[i]);
        TRY(what, CALL(CONNECT, fd, 8, lengths[i]));
        snprintf(what, sizeof what, "sendto of %d bytes", lengths[i]);
        TRY(what, CALL(SENDTO, fd, (long)data, 4, MSG_FASTOPEN, (long)&address, lengths[i]));
        snprintf(what, sizeof what, "sendto of %d bad bytes", lengths[i]);
        TRY(what, CALL(SENDTO, fd, (long)data, 4, MSG_FASTOPEN, 8, lengths[i]));
    }
    TRY("listen", CALL(LISTEN, fd, 8));
    TRY("sendmsg", CALL(SENDMSG, fd, (long)&message, MSG_FASTOPEN));
    TRY("sendmsg of a bad message", CALL(SENDMSG, fd, (long)&bad, MSG_FASTOPEN));
    TRY("sendmsg of a bad pointer", CALL(SENDMSG, fd, 8, MSG_FASTOPEN));
    TRY("sendmmsg", CALL(SENDMMSG, fd, (long)&message, 1, MSG_FASTOPEN));
    TRY("sendmmsg of nothing", CALL(SENDMMSG, fd, (long)&message, 0, MSG_FASTOPEN));
    TRY("sendmmsg of a bad pointer", CALL(SENDMMSG, fd, 8, 1, MSG_FASTOPEN));
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        socklen_t size = sizes[i];
        TRY("accept", CALL(ACCEPT, fd, (long)control, (long)&size));
        TRY("accept4", CALL(ACCEPT4, fd, (long)control, (long)&size, SOCK_CLOEXEC));
    }
    TRY("accept to bad pointers", CALL(ACCEPT, fd, 8, 8));
    TRY("accept4 with bad flags", CALL(ACCEPT4, fd, 0, 0, 1));
    for (int i = 0; i < OWN_OPTIONS; i++) {
        int level = own_options[i].level, option = own_options[i].option, value = own_options[i].value, bad_value = -1;
        in_context("fd %s, %s", context + 3, own_options[i].name);
        for (int length = -1; length <= 8; length++) {
            char what[40];
            snprintf(what, sizeof what, "setsockopt of %d bytes", length);
            TRY(what, CALL(SETSOCKOPT, fd, level, option, (long)&value, length));
            snprintf(what, sizeof what, "setsockopt of %d bad bytes", length);
            TRY(what, CALL(SETSOCKOPT, fd, level, option, 8, length));
            snprintf(what, sizeof what, "getsockopt of %d bytes", length);
            socklen_t size = length;
            TRY(what, CALL(GETSOCKOPT, fd, level, option, (long)control, (long)&size));
        }
        TRY("setsockopt of a bad value", CALL(SETSOCKOPT, fd, level, option, (long)&bad_value, 4));
        TRY("getsockopt of bad pointers", CALL(GETSOCKOPT, fd, level, option, 8, 8));
        *strrchr(context, ',') = 0;
    }
}

static void all_bad_fds(void) {
    open_bad_fds();
    for (size_t i = 0; i < LENGTH(bad_fds); i++) {
        in_context("fd %s", bad_fds[i].name);
        calls_of(bad_fds[i].fd);
    }
}
