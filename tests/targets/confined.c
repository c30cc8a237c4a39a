// Sets a seccomp filter that kills at every system call which the program does not make itself, and uses sockets.
// usage: confined HOW
//
//   prctl syscall-prctl seccomp    by prctl(2), by syscall(2) of prctl, of seccomp(2)
//   listener                       by seccomp(2), which then returns a descriptor for user notification (not 0)
//   strict syscall-strict          strict mode, with only read(2), write(2) and exit(2)
//   failing                        a filter that the kernel refuses: nothing changes
//   exec                           a filter against all socket calls, and then a program without sockets
#define _GNU_SOURCE
#include "ways.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define BEGIN BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))

static struct sock_filter own_calls_only[] = {
    BEGIN,
    ALLOW(socket),
    ALLOW(connect),
    ALLOW(accept),
    ALLOW(accept4),
    ALLOW(listen),
    ALLOW(write),
    ALLOW(exit_group),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};
static struct sock_filter no_sockets[] = {
    BEGIN,
    KILL(socket),
    KILL(setsockopt),
    KILL(getsockopt),
    KILL(getsockname),
    KILL(getpeername),
    KILL(statx),
    KILL(ppoll),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

#define PROGRAM(filter) &(struct sock_fprog){sizeof filter / sizeof *filter, filter}

static void must(long result) {
    if (result < 0) {
        PRINT("no filter: %s\n", strerror(errno));
        exit(1);
    }
}

int main(int count, char **words) {
    const char *how = count == 2 ? words[1] : "";
    if (strcmp(how, "nothing") == 0) {
        PRINT("alive\n");
        return 0;
    }
    struct sockaddr_storage address;
    int listener = raw_listener(AF_INET);
    socklen_t length = raw_name(listener, &address);
    // Some of the connections were established before.
    raw_client(listener);
    raw_client(listener);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));

    struct sock_fprog *program = PROGRAM(own_calls_only);
    if (strcmp(how, "prctl") == 0) {
        must(by_prctl(program));
    } else if (strcmp(how, "syscall-prctl") == 0) {
        must(syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0));
    } else if (strcmp(how, "seccomp") == 0) {
        must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program));
    } else if (strcmp(how, "listener") == 0) {
        must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, program));
    } else if (strcmp(how, "strict") == 0) {
        must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
        raw_print("alive\n", 6);
        raw(SYS_exit, 0, 0, 0, 0, 0);
    } else if (strcmp(how, "syscall-strict") == 0) {
        must(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL));
        raw_print("alive\n", 6);
        raw(SYS_exit, 0, 0, 0, 0, 0);
    } else if (strcmp(how, "failing") == 0) {
        by_prctl(NULL);
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL);
        syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &(unsigned){SECCOMP_RET_ALLOW});
        prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
        show("socket", socket(AF_INET, SOCK_STREAM, 0));
        return 0;
    } else if (strcmp(how, "exec") == 0) {
        must(by_prctl(PROGRAM(no_sockets)));
        execl(words[0], words[0], "nothing", (char *)NULL);
        return 127;
    } else {
        return 2;
    }

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int connected = connect(fd, (struct sockaddr *)&address, length);
    int accepted = accept(listener, NULL, NULL) >= 0;
    int accepted4 = accept4(listener, NULL, NULL, SOCK_CLOEXEC) >= 0;
    int listening = listen(socket(AF_INET, SOCK_STREAM, 0), 1);
    int by_number = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) >= 0;
    PRINT("alive: %d %d %d %d %d %d\n", fd >= 0, connected, accepted, accepted4, listening, by_number);
    raw(SYS_exit_group, 0, 0, 0, 0, 0);
}
