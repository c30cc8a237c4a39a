// Repeats one call, in a process that may have a library preloaded.
// usage: calls CASE MILLISECONDS PORT
//
// Calls that a library may hook are made in three ways, in turn, in this process: as the program makes them, so that
// the library sees them; directly in libc; and directly in libc with the options that the library would set.
#define _GNU_SOURCE
#include "slice.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

// The harness sets the same values in KEEPIDLE, KEEPINTVL and KEEPCNT.
enum { IDLE = 60, INTERVAL = 15, COUNT = 5 };

enum { PROGRAM, LIBC, ITSELF };

static struct way {
    int (*socket)(int, int, int);
    int (*connect)(int, const struct sockaddr *, socklen_t);
    int (*accept)(int, struct sockaddr *restrict, socklen_t *restrict);
    int (*setsockopt)(int, int, int, const void *, socklen_t);
    bool sets_keepalive, sets_timings;
} ways[MAX_WAYS] = {[PROGRAM] = {socket, connect, accept, setsockopt, false, false}};

static struct sockaddr_in loopback = {.sin_family = AF_INET};
static int zero, null, listener;
static struct pollfd idle_pipe = {.events = POLLIN};

static void find_libc(void) {
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    if (libc == NULL)
        libc = dlopen("libc.so", RTLD_NOW);
    must(libc == NULL ? -1 : 0, "dlopen libc");
    ways[LIBC] = (struct way){dlsym(libc, "socket"), dlsym(libc, "connect"), dlsym(libc, "accept"),
                              dlsym(libc, "setsockopt"), false, false};
    ways[ITSELF] = ways[LIBC];
    ways[ITSELF].sets_keepalive = true;
    ways[ITSELF].sets_timings = getenv("KEEPIDLE") != NULL;
}

static void set(const struct way *way, int fd, int level, int option, int value) {
    must(way->setsockopt(fd, level, option, &value, sizeof value), "setsockopt");
}

static int get(int fd, int level, int option) {
    int value = 0;
    must(getsockopt(fd, level, option, &value, &(socklen_t){sizeof value}), "getsockopt");
    return value;
}

static int tcp_socket(const struct way *way) {
    int fd = must(way->socket(AF_INET, SOCK_STREAM, 0), "socket");
    if (way->sets_keepalive)
        set(way, fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (way->sets_timings) {
        set(way, fd, IPPROTO_TCP, TCP_KEEPIDLE, IDLE);
        set(way, fd, IPPROTO_TCP, TCP_KEEPINTVL, INTERVAL);
        set(way, fd, IPPROTO_TCP, TCP_KEEPCNT, COUNT);
    }
    return fd;
}

static int connection(const struct way *way) {
    int fd = tcp_socket(way);
    must(way->connect(fd, (struct sockaddr *)&loopback, sizeof loopback), "connect");
    return fd;
}

static void tcp(const struct way *way) { close(tcp_socket(way)); }

static void udp(const struct way *way) { close(must(way->socket(AF_INET, SOCK_DGRAM, 0), "socket")); }

static void unix_stream(const struct way *way) { close(must(way->socket(AF_UNIX, SOCK_STREAM, 0), "socket")); }

static void connect_and_close(const struct way *way) { close(connection(way)); }

static void call_getpid(const struct way *way) {
    (void)way;
    getpid();
}

static void call_read(const struct way *way) {
    char byte;
    (void)way;
    must((int)read(zero, &byte, 1), "read");
}

static void call_write(const struct way *way) {
    (void)way;
    must((int)write(null, "", 1), "write");
}

static void call_poll(const struct way *way) {
    (void)way;
    must(poll(&idle_pipe, 1, 0), "poll");
}

static void (*call)(const struct way *way);

static uint64_t calls(int way, int iterations) {
    uint64_t start = now_ns();
    for (int i = 0; i < iterations; i++)
        call(&ways[way]);
    return now_ns() - start;
}

// The listener accepts connections in their order: when it has closed the last one, it has no more work.
static uint64_t connections(int way, int iterations) {
    char end;
    uint64_t start = now_ns();
    for (int i = 1; i < iterations; i++)
        call(&ways[way]);
    int last = connection(&ways[way]);
    must(shutdown(last, SHUT_WR), "shutdown");
    (void)!read(last, &end, 1);
    close(last);
    return now_ns() - start;
}

// The peers connect by raw system calls, which no library sees, before the measured part. They stay open until the
// listener has closed their connection: the inherited SO_LINGER of 0 then leaves no TIME_WAIT.
static uint64_t accepts(int way, int iterations) {
    int peers[iterations];
    for (int i = 0; i < iterations; i++) {
        peers[i] = must((int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0), "socket");
        must((int)syscall(SYS_connect, peers[i], &loopback, sizeof loopback), "connect");
    }
    uint64_t start = now_ns();
    for (int i = 0; i < iterations; i++)
        close(must(ways[way].accept(listener, NULL, NULL), "accept"));
    uint64_t elapsed = now_ns() - start;
    for (int i = 0; i < iterations; i++)
        close(peers[i]);
    return elapsed;
}

static void listen_on_loopback(void) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    loopback.sin_port = 0;
    listener = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(setsockopt(listener, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), "setsockopt");
    must(bind(listener, (struct sockaddr *)&loopback, sizeof loopback), "bind");
    must(listen(listener, 1024), "listen");
    must(getsockname(listener, (struct sockaddr *)&loopback, &(socklen_t){sizeof loopback}), "getsockname");
}

// Prints the keepalive options of one socket, then waits until the end of standard input.
static int one_socket(void) {
    char end;
    int fd = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    printf("%d %d %d %d\n", get(fd, SOL_SOCKET, SO_KEEPALIVE), get(fd, IPPROTO_TCP, TCP_KEEPIDLE),
           get(fd, IPPROTO_TCP, TCP_KEEPINTVL), get(fd, IPPROTO_TCP, TCP_KEEPCNT));
    fflush(stdout);
    return read(STDIN_FILENO, &end, 1) != 0;
}

static const struct {
    const char *name;
    void (*call)(const struct way *);
    batch_fn *batch;
    int ways, iterations;
} CASES[] = {
    {"tcp", tcp, calls, 3, 32},
    {"udp", udp, calls, 2, 32},
    {"unix", unix_stream, calls, 2, 32},
    {"connect", connect_and_close, connections, 3, 64},
    {"accept", NULL, accepts, 2, 64},
    {"getpid", call_getpid, calls, 1, 512},
    {"read", call_read, calls, 1, 512},
    {"write", call_write, calls, 1, 512},
    {"poll", call_poll, calls, 1, 512},
};

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    int milliseconds = atoi(argv[2]), ends[2];
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    loopback.sin_port = htons((uint16_t)atoi(argv[3]));
    if (strcmp(argv[1], "one-socket") == 0)
        return one_socket();

    find_libc();
    must(pipe(ends), "pipe");
    idle_pipe.fd = ends[0];
    zero = must(open("/dev/zero", O_RDONLY), "/dev/zero");
    null = must(open("/dev/null", O_WRONLY), "/dev/null");
    if (strcmp(argv[1], "accept") == 0)
        listen_on_loopback();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        if (strcmp(argv[1], CASES[i].name) == 0) {
            call = CASES[i].call;
            return serve_slices(CASES[i].batch, CASES[i].ways, CASES[i].iterations, milliseconds);
        }
    }
    fprintf(stderr, "calls: no case '%s'\n", argv[1]);
    return 2;
}
