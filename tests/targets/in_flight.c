// Threads use sockets without pause; then another thread sets a seccomp filter for all (SECCOMP_FILTER_FLAG_TSYNC) that
// kills at setsockopt(2), getsockopt(2) and other calls that only a library would make here. A filter that the kernel
// refuses is set first. Prints "alive". usage: in_flight HOW
//
//   prctl      each thread sets the filter by prctl(2), while the others work
//   seccomp    one thread sets it for all by syscall(2)
//   signal     as seccomp, from a signal handler, which may interrupt a call
//   fork       a child, which was forked during the calls of the others, sets it
#define _GNU_SOURCE
#include "ways.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>

#define KILL(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    KILL(setsockopt),
    KILL(getsockopt),
    KILL(getpeername),
    KILL(getsockname),
    KILL(statx),
    KILL(openat),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

static struct sockaddr_storage address;
static socklen_t length;
static int listener, installed;
enum { THREADS = 4 };
static pthread_barrier_t barrier;

static long install(void) {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

static void on_signal(int signal) {
    (void)signal;
    if (!__atomic_exchange_n(&installed, 1, __ATOMIC_SEQ_CST) && install() != 0)
        _exit(3);
}

static void use(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        connect(fd, (struct sockaddr *)&address, length);
        close(fd);
    }
    fd = accept(listener, NULL, NULL);
    if (fd >= 0)
        close(fd);
}

static void *work(void *own_filter) {
    pthread_barrier_wait(&barrier);
    // The same number of calls before and after the filter.
    for (int i = 0; i < 40; i++) {
        if (i == 20 && own_filter)
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
        use();
    }
    return NULL;
}

int main(int count, char **words) {
    const char *how = count == 2 ? words[1] : "";
    pthread_t threads[THREADS];
    listener = raw_listener(AF_INET);
    length = raw_name(listener, &address);
    raw(SYS_fcntl, listener, F_SETFL, O_NONBLOCK, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    signal(SIGUSR1, on_signal);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, strcmp(how, "prctl") == 0 ? words : NULL);
    pthread_barrier_wait(&barrier);
    // At some point during the calls of the other threads.
    for (volatile int spin = 0, end = getpid() % 64 * 1000; spin < end; spin++)
        ;
    if (strcmp(how, "seccomp") == 0 && install() != 0)
        return 3;
    if (strcmp(how, "signal") == 0)
        for (int i = 0; i < THREADS; i++)
            pthread_kill(threads[i], SIGUSR1);
    if (strcmp(how, "fork") == 0) {
        int child = fork();
        if (child == 0) {
            if (install() != 0)
                _exit(3);
            for (int i = 0; i < 20; i++)
                use();
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status != 0)
            return 4;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    raw_print("alive\n", 6);
    return 0;
}
