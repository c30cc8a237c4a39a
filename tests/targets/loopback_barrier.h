// Waits for everything that was sent over loopback, so that results do not depend on the time when packets arrive.
#pragma once

#include "raw.h"

#include <sched.h>

static int barrier_fd;

// All packets of one processor pass one queue in order, so the process stays on one processor.
static void open_barrier(void) {
    struct sockaddr_storage address;
    int fd = raw(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0, 0, 0);
    barrier_fd = raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 500, 0, 0);
    raw_close(fd);
    raw_bind(barrier_fd);
    raw_connect(barrier_fd, &address, raw_name(barrier_fd, &address));
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

// Returns when all packets that were sent before have arrived, and the packets that these caused: a handshake has
// three, and a reset may follow.
static void barrier(void) {
    char byte = 0;
    for (int i = 0; i < 4; i++) {
        raw(SYS_write, barrier_fd, (long)&byte, 1, 0, 0);
        raw(SYS_read, barrier_fd, (long)&byte, 1, 0, 0);
    }
}
