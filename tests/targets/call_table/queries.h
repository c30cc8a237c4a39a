// prctl(2) queries about filters, and calls whose arguments have more bits than the kernel uses.
#pragma once

#include "socket.h"

#include <linux/seccomp.h>

static void all_queries(void) {
    in_context("prctl");
    TRY("no operation", CALL(PRCTL, -1));
    TRY("no new privileges", CALL(PRCTL, PR_GET_NO_NEW_PRIVS));
    TRY("no new privileges, and more", CALL(PRCTL, PR_GET_NO_NEW_PRIVS, 1));
    TRY("a filter from nowhere", CALL(PRCTL, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0));
    TRY("a filter from a bad pointer", CALL(PRCTL, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 8));
    TRY("an unknown mode", CALL(PRCTL, PR_SET_SECCOMP, 9));
    in_context("seccomp");
    int action = SECCOMP_RET_USER_NOTIF;
    short sizes[3] = {0};
    TRY("an action", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    action = 0x12340000;
    TRY("an unknown action", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    TRY("sizes", syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, sizes));
    TRY("sizes with flags", syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 1, sizes));
    TRY("no filter", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0));
    TRY("no filter with unknown flags", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1 << 30, 0));
    TRY("no operation", syscall(SYS_seccomp, 77, 0, 0));
    TRY("no system call", syscall(9999, 1, 2, 3, 4, 5, 6));
#if __SIZEOF_LONG__ == 8
    // The kernel uses the lower half of an int argument.
    const long more = 0x1234567800000000;
    struct sockaddr_storage address;
    int value = 1;
    socklen_t length = server_of(kind_of("tcp4"), &address);
    in_context("words with an upper half");
    int fd = new_socket(kind_of("tcp4"));
    TRY("setsockopt", CALL(SETSOCKOPT, fd | more, SOL_SOCKET | more, SO_KEEPALIVE | more, (long)&value, 4 | more));
    TRY("setsockopt of a bad length", CALL(SETSOCKOPT, fd | more, SOL_SOCKET | more, SO_KEEPALIVE | more, (long)&value, more));
    TRY("connect of a bad length", CALL(CONNECT, fd | more, (long)&address, 7 | more));
    TRY("connect", CALL(CONNECT, fd | more, (long)&address, length | more));
    close_now(fd);
    fd = new_socket(kind_of("tcp4"));
    TRY("sendto", CALL(SENDTO, fd | more, (long)"data", 4, MSG_FASTOPEN | more, (long)&address, length | more));
    close_now(fd);
    fd = new_socket(kind_of("tcp4"));
    TRY("listen", CALL(LISTEN, fd | more, 8 | more));
    TRY("accept", CALL(ACCEPT, fd | more, 0, 0));
    close_now(fd);
    drain_servers();
#endif
}
