// What commands are measured on: sockets, processes and connections.
// usage: load hold SOCKETS              holds connected TCP sockets, both ends; a byte on standard input resets their options
//        load processes COUNT           holds so many processes, each with a listening TCP socket
//        load connect PROCESSES THREADS MILLISECONDS
//                                       connects in so many processes, each with so many threads; prints the nanoseconds
//                                       for each connection of all
// Each prints a line when it is ready, and ends with its input.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int must(int result, const char *call) {
    if (result < 0) {
        perror(call);
        exit(1);
    }
    return result;
}

static void ready(void) {
    puts("ready");
    fflush(stdout);
}

static int listener(struct sockaddr_in *address) {
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof *address;
    int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    must(bind(fd, (struct sockaddr *)address, length), "bind");
    must(listen(fd, 16), "listen");
    must(getsockname(fd, (struct sockaddr *)address, &length), "getsockname");
    return fd;
}

static void set(int fd, int level, int option, int number) {
    must(setsockopt(fd, level, option, &number, sizeof number), "setsockopt");
}

static void hold(int count) {
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
    struct sockaddr_in address;
    int from = listener(&address), *fds = calloc((size_t)count + 1, sizeof *fds);
    for (int i = 0; i < count; i += 2) {
        fds[i] = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
        must(connect(fds[i], (struct sockaddr *)&address, sizeof address), "connect");
        fds[i + 1] = must(accept(from, NULL, NULL), "accept");
    }
    char byte;
    do {
        for (int i = 0; i < count; i++) {
            set(fds[i], SOL_SOCKET, SO_KEEPALIVE, 0);
            set(fds[i], IPPROTO_TCP, TCP_KEEPIDLE, 7200);
            set(fds[i], IPPROTO_TCP, TCP_KEEPINTVL, 75);
            set(fds[i], IPPROTO_TCP, TCP_KEEPCNT, 9);
        }
        ready();
    } while (read(0, &byte, 1) == 1);
}

static void processes(int count) {
    struct sockaddr_in address;
    for (int i = 0; i < count; i++) {
        if (must(fork(), "fork") == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            listener(&address);
            for (;;)
                pause();
        }
    }
    ready();
    for (char byte; read(0, &byte, 1) == 1;)
        ready();
}

static atomic_long *connections;
static atomic_int *is_over;

static void *connect_repeatedly(void *unused) {
    struct sockaddr_in address;
    int from = listener(&address);
    while (!*is_over) {
        int fd = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
        must(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
        int accepted = must(accept(from, NULL, NULL), "accept");
        // Reset, so that no port stays in TIME_WAIT.
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        close(fd);
        close(accepted);
        ++*connections;
    }
    close(from);
    return unused;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void run_threads(int threads) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    pthread_t other;
    for (int i = 1; i < threads; i++)
        if (pthread_create(&other, &small, connect_repeatedly, NULL) != 0)
            must(-1, "pthread_create");
    connect_repeatedly(NULL);
}

static void measure(int count, int threads, int milliseconds) {
    void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        must(-1, "mmap");
    connections = shared;
    is_over = (atomic_int *)(connections + 1);
    for (int i = 0; i < count; i++) {
        if (must(fork(), "fork") == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run_threads(threads);
            // The other threads are within one connection of their ends.
            pause();
        }
    }
    // Threads that start are not measured.
    while (*connections < (long)count * threads) {
        if (waitpid(-1, NULL, WNOHANG) > 0)
            exit(1);
        usleep(1000);
    }
    ready();
    for (char byte; read(0, &byte, 1) == 1;) {
        long before = *connections;
        double start = now();
        usleep((useconds_t)milliseconds * 1000);
        long done = *connections - before;
        printf("%.1f\n", (now() - start) / (double)(done > 0 ? done : 1));
        fflush(stdout);
    }
    *is_over = 1;
}

int main(int count, char **words) {
    if (count == 3 && strcmp(words[1], "hold") == 0)
        hold(atoi(words[2]));
    else if (count == 3 && strcmp(words[1], "processes") == 0)
        processes(atoi(words[2]));
    else if (count == 5 && strcmp(words[1], "connect") == 0)
        measure(atoi(words[2]), atoi(words[3]), atoi(words[4]));
    else
        return 2;
    return 0;
}
