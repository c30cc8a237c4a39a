// Makes every call that the library hooks, in the given context, and prints the options of its socket.
// usage: calls main|thread|handler|fork|vfork|signals|nothing
//
// Compiled with CONSTRUCTOR it is a library that makes the calls in its constructor.
#define _GNU_SOURCE
#include "ways.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>

static int syscall_seccomp(struct sock_fprog *program) {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program);
}

static void report(const struct way *way, const char *call, int fd) {
    char name[64];
    snprintf(name, sizeof name, "%s%s", way->name, call);
    show(name, fd);
}

// After a filter of its own, even one that allows everything, a program's sockets are left unchanged. A child gets the
// filter, because it cannot be removed.
static void confine(const struct way *way, int (*filter)(struct sock_fprog *), const char *call) {
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    long child = raw(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        raw(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (filter(&program) != 0)
            PRINT("%s: failed, errno %d\n", call, errno);
        report(way, call, way->socket(AF_INET, SOCK_STREAM, 0));
        raw(SYS_exit_group, 0, 0, 0, 0, 0);
    }
    raw(SYS_wait4, child, 0, 0, 0, 0);
}

static void calls(const struct way *way) {
    int fd = way->socket(AF_INET, SOCK_STREAM, 0);
    report(way, "socket", fd);
    raw_close(fd);

    int listener = raw_listener(AF_INET);
    struct sockaddr_storage address;
    socklen_t length = raw_name(listener, &address);
    fd = raw_socket(AF_INET, SOCK_STREAM, 0);
    way->connect(fd, (struct sockaddr *)&address, length);
    report(way, "connect", fd);
    raw_close(fd);
    raw_close(raw_accept(listener));

    // The connection is pending until getsockopt(SO_ERROR) shows that it is complete; only then is the user timeout
    // set.
    fd = way->socket(AF_INET, SOCK_STREAM, 0);
    raw_connect(fd, &address, length);
    report(way, "raw connect", fd);
    int error = -1;
    length = sizeof error;
    way->getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    report(way, error == 0 ? "getsockopt" : "connection failed", fd);
    raw_close(fd);
    raw_close(raw_accept(listener));

    int client = raw_client(listener);
    fd = way->accept(listener, NULL, NULL);
    report(way, "accept", fd);
    raw_close(fd);
    raw_close(client);

    client = raw_client(listener);
    fd = way->accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    report(way, "accept4", fd);
    raw_close(fd);
    raw_close(client);
    raw_close(listener);

    listener = raw_socket(AF_INET, SOCK_STREAM, 0);
    raw_bind(listener);
    way->listen(listener, 1);
    report(way, "listen", listener);
    client = raw_client(listener);
    fd = raw_accept(listener);
    report(way, "raw accept", fd);
    raw_close(fd);
    raw_close(client);
    raw_close(listener);
}

static void all_calls(void) {
    calls(&directly);
    calls(&by_syscall);
#ifdef SYS_socketcall
    calls(&by_socketcall);
#endif
    confine(&directly, by_prctl, "prctl");
    confine(&by_syscall, syscall_prctl, "prctl");
    confine(&by_syscall, syscall_seccomp, "seccomp");
}

#ifdef CONSTRUCTOR

// Repeated signals whose handler creates a socket, some microseconds apart. On a slow computer the program may make no
// progress between two signals, so their number is limited.
static struct itimerval next_signal;
static volatile int signals_left = 300;

static void on_signal(int signal) {
    (void)signal;
    int saved = errno;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, NULL, 0);
    close(fd);
    if (--signals_left > 0)
        setitimer(ITIMER_REAL, &next_signal, NULL);
    errno = saved;
}

static void send_signals(suseconds_t interval) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    next_signal.it_value.tv_usec = interval;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &next_signal, NULL);
}

__attribute__((constructor)) static void constructed(void) {
    const char *interval = getenv("SIGNAL_INTERVAL");
    if (interval != NULL)
        send_signals(atoi(interval));
    else
        all_calls();
}

#else

static void handler(int signal) {
    (void)signal;
    all_calls();
}

static void *thread(void *argument) {
    all_calls();
    return argument;
}

static void wait_for(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        exit(1);
}

int main(int count, char **arguments) {
    const char *context = count == 2 ? arguments[1] : "";
    if (strcmp(context, "main") == 0) {
        all_calls();
    } else if (strcmp(context, "handler") == 0) {
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
    } else if (strcmp(context, "fork") == 0) {
        pid_t child = fork();
        if (child == 0) {
            all_calls();
            return 0;
        }
        wait_for(child);
    } else if (strcmp(context, "vfork") == 0) {
        pid_t child = vfork();
        if (child == 0) {
            all_calls();
            _exit(0);
        }
        wait_for(child);
        // The child shared the memory; its descriptors were its own.
        show("parent", socket(AF_INET, SOCK_STREAM, 0));
    } else if (strcmp(context, "signals") == 0) {
        show("main", socket(AF_INET, SOCK_STREAM, 0));
    } else if (strcmp(context, "thread") == 0) {
#ifdef THREADS
        pthread_t id;
        pthread_create(&id, NULL, thread, NULL);
        pthread_join(id, NULL);
#else
        (void)thread;
#endif
    } else if (strcmp(context, "nothing") != 0) {
        return 2;
    }
    return 0;
}

#endif
