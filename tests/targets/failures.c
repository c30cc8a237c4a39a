// Makes the calls that the library hooks fail in every way that is quick, and succeed. Prints the result of each and
// errno. All numbers are the same in each run, also descriptors.
#define _GNU_SOURCE
#include "ways.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

// No system call sets this errno.
#define NO_ERRNO 4242

// An invalid pointer.
#define BAD ((void *)8)

static const struct way *way;
static const char *origin;
static int (*make)(int domain, int type, int protocol);

static void report(const char *what, long returned) {
    int error = errno;
    PRINT("%s, %s%s: %ld errno %d\n", origin, way->name, what, returned, error);
    errno = NO_ERRNO;
}

// errno is NO_ERRNO before each call.
#define TRY(what, call) report(what, (errno = NO_ERRNO, (call)))

static int tcp(int flags) {
    return make(AF_INET, SOCK_STREAM | flags, 0);
}

static struct sockaddr_storage address;
static socklen_t length;

static int dial(int fd) {
    return way->connect(fd, (struct sockaddr *)&address, length);
}

// From here on `address` is a listener that does not answer: its queue is full.
static int silent_listener(void) {
    int listener = raw_socket(AF_INET, SOCK_STREAM, 0);
    raw_bind(listener);
    raw(SYS_listen, listener, 0, 0, 0, 0);
    length = raw_name(listener, &address);
    raw_client(listener);
    return listener;
}

static int so_error(int fd) {
    struct pollfd poller = {fd, POLLOUT, 0};
    int error = -1;
    socklen_t size = sizeof error;
    poll(&poller, 1, 10000);
    int returned = way->getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return returned == 0 ? error : returned;
}

static void ignore(int signal) {
    (void)signal;
}

// Interrupts the next call that waits, repeatedly: the first signal may come before the call.
static void interrupt(int on) {
    struct sigaction action = {.sa_handler = ignore};
    struct itimerval timer = {{0, 20000 * on}, {0, 20000 * on}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void sockets(void) {
    TRY("socket", way->socket(AF_INET, SOCK_STREAM, 0));
    TRY("socket of no domain", way->socket(999, SOCK_STREAM, 0));
    TRY("socket of no type", way->socket(AF_INET, 12, 0));
    TRY("socket with unknown flags", way->socket(AF_INET, SOCK_STREAM | 0x100000, 0));
    TRY("socket of no protocol", way->socket(AF_INET, SOCK_STREAM, 77));
    TRY("datagrams of TCP", way->socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
    TRY("non-blocking socket", way->socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

static void connects(void) {
    struct sockaddr_un nowhere = {AF_UNIX, "/nowhere"};
    int pipes[2];
    int listener = raw_listener(AF_INET);
    length = raw_name(listener, &address);
    int fd = tcp(0);

    TRY("connect of no descriptor", dial(-1));
    TRY("connect of a closed descriptor", dial(1000));
    TRY("connect of a pipe", (pipe(pipes), dial(pipes[0])));
    TRY("connect to a bad pointer", way->connect(fd, BAD, length));
    TRY("connect to nothing", way->connect(fd, NULL, 0));
    TRY("connect to a short address", way->connect(fd, (struct sockaddr *)&address, 7));
    TRY("connect to a long address", way->connect(fd, (struct sockaddr *)&address, 4096));
    TRY("connect to another domain", way->connect(fd, (struct sockaddr *)&nowhere, sizeof nowhere));
    TRY("connect to no file", way->connect(make(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&nowhere, sizeof nowhere));
    TRY("connect", dial(fd));
    TRY("connect again", dial(fd));
    TRY("connect of a listener", dial(listener));
    fd = tcp(SOCK_NONBLOCK);
    TRY("connect that goes on", dial(fd));
    TRY("its error", so_error(fd));
    TRY("connect when it is complete", dial(fd));
    TRY("connect once more", dial(fd));
    TRY("connect of UDP", dial(make(AF_INET, SOCK_DGRAM, 0)));

    raw_close(listener);
    fd = tcp(0);
    TRY("connect that is refused", dial(fd));
    TRY("its error, which was told", so_error(fd));
    fd = tcp(SOCK_NONBLOCK);
    TRY("connect that will be refused", dial(fd));
    TRY("its error", so_error(fd));
    TRY("its error, which was told", so_error(fd));
    TRY("connect to broadcast", (((struct sockaddr_in *)&address)->sin_addr.s_addr = -1, dial(tcp(0))));

    silent_listener();
    fd = tcp(SOCK_NONBLOCK);
    TRY("connect to silence", dial(fd));
    TRY("connect while it goes on", dial(fd));
    fd = tcp(0);
    interrupt(1);
    TRY("connect that is interrupted", dial(fd));
    TRY("connect that was going on", dial(fd));
    interrupt(0);
    struct timeval soon = {0, 20000};
    fd = tcp(0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    TRY("connect that waits not long", dial(fd));
}

static void listens(void) {
    int pipes[2];
    TRY("listen of no descriptor", way->listen(-1, 1));
    TRY("listen of a pipe", (pipe(pipes), way->listen(pipes[0], 1)));
    TRY("listen of UDP", way->listen(make(AF_INET, SOCK_DGRAM, 0), 1));
    TRY("listen of a connection", way->listen(raw_client(raw_listener(AF_INET)), 1));
    silent_listener();
    int fd = tcp(SOCK_NONBLOCK);
    dial(fd);
    TRY("listen of what will be a connection", way->listen(fd, 1));
    TRY("listen", way->listen(tcp(0), -1));
    int unix_socket = make(AF_UNIX, SOCK_STREAM, 0);
    TRY("listen without a name", way->listen(unix_socket, 1));
}

static void accepts(void) {
    int pipes[2];
    struct sockaddr_storage peer = {0};
    socklen_t size = sizeof peer;
    TRY("accept of no descriptor", way->accept(-1, NULL, NULL));
    TRY("accept of a pipe", (pipe(pipes), way->accept(pipes[0], NULL, NULL)));
    TRY("accept of UDP", way->accept(make(AF_INET, SOCK_DGRAM, 0), NULL, NULL));
    TRY("accept of what does not listen", way->accept(tcp(0), NULL, NULL));

    int listener = tcp(SOCK_NONBLOCK);
    raw_bind(listener);
    raw(SYS_listen, listener, 8, 0, 0, 0);
    TRY("accept of nobody", way->accept(listener, NULL, NULL));
    raw_client(listener);
    TRY("accept to a bad pointer", way->accept(listener, BAD, &size));
    raw_client(listener);
    TRY("accept with a bad length", way->accept(listener, (struct sockaddr *)&peer, BAD));
    raw_client(listener);
    TRY("accept4 with unknown flags", way->accept4(listener, NULL, NULL, 1));
    TRY("accept4", way->accept4(listener, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    TRY("its domain", peer.ss_family);
    TRY("its length", size);
    raw_client(listener);
    size = 3;
    TRY("accept with little room", way->accept(listener, (struct sockaddr *)&peer, &size));
    TRY("its length", size);

    int waiting = raw_listener(AF_INET);
    interrupt(1);
    TRY("accept that is interrupted", way->accept(waiting, NULL, NULL));
    TRY("accept4 that is interrupted", way->accept4(waiting, NULL, NULL, 0));
    interrupt(0);
    struct timeval soon = {0, 20000};
    setsockopt(waiting, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    TRY("accept that waits not long", way->accept(waiting, NULL, NULL));
}

static void options(void) {
    int pipes[2], value = 7;
    socklen_t size = sizeof value;
    int fd = tcp(0);
    TRY("getsockopt of no descriptor", way->getsockopt(-1, SOL_SOCKET, SO_ERROR, &value, &size));
    TRY("getsockopt of a pipe", (pipe(pipes), way->getsockopt(pipes[0], SOL_SOCKET, SO_ERROR, &value, &size)));
    TRY("getsockopt of no option", way->getsockopt(fd, SOL_SOCKET, 9999, &value, &size));
    TRY("getsockopt to a bad pointer", way->getsockopt(fd, SOL_SOCKET, SO_ERROR, BAD, &size));
    TRY("getsockopt with a bad length", way->getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, BAD));
    TRY("getsockopt with a negative length", (size = -1, way->getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size)));
    value = -1;
    TRY("getsockopt with a short length", (size = 1, way->getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size)));
    TRY("its value", value);
    TRY("getsockopt", (size = sizeof value, way->getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size)));
    TRY("its value", value);
    value = 1;
    TRY("setsockopt", way->setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    TRY("setsockopt with a short length", way->setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, 1));
    TRY("setsockopt from a bad pointer", way->setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, BAD, sizeof value));
    TRY("setsockopt of no descriptor", way->setsockopt(-1, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    value = 0;
    TRY("setsockopt out of range", way->setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, sizeof value));
}

// With a full table, the library can open no descriptor either.
static void without_descriptors(void) {
    int listener = raw_listener(AF_INET);
    length = raw_name(listener, &address);
    raw_client(listener);
    int fd = tcp(0);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 300;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (dup(0) >= 0)
        ;
    TRY("socket without descriptors", way->socket(AF_INET, SOCK_STREAM, 0));
    TRY("accept without descriptors", way->accept(listener, NULL, NULL));
    TRY("connect without descriptors", dial(fd));
    TRY("listen without descriptors", way->listen(fd, 1));
}

static void prctls(void) {
    char name[16] = "";
    TRY("prctl of no operation", prctl(-1, 0, 0, 0, 0));
    TRY("prctl", prctl(PR_SET_NAME, "failures!", 0, 0, 0));
    TRY("prctl that gives a text", (prctl(PR_GET_NAME, name, 0, 0, 0), strcmp(name, "failures!")));
    TRY("prctl that gives a number", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    TRY("prctl to a bad pointer", prctl(PR_GET_NAME, BAD, 0, 0, 0));
    TRY("prctl with all arguments", prctl(PR_SET_MM, PR_SET_MM_MAP, 1, 2, 3));
    TRY("filter from nowhere", way->filter(NULL));
    TRY("filter from a bad pointer", way->filter(BAD));
    TRY("unknown mode of seccomp", prctl(PR_SET_SECCOMP, 9, 0, 0, 0));
}

// System calls that are not hooked are passed on unchanged, with all six arguments.
static void other_calls(void) {
    TRY("no system call", syscall(9999, 1, 2, 3, 4, 5, 6));
    TRY("getpid", syscall(SYS_getpid) == getpid());
    FILE *file = tmpfile();
    fseek(file, 4096, SEEK_SET);
    fputs("second page", file);
    fflush(file);
    char *page = (char *)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, fileno(file), 4096);
    TRY("mmap", strcmp(page, "second page"));
    TRY("mmap of nothing", syscall(SYS_mmap, NULL, 0, PROT_READ, MAP_PRIVATE, fileno(file), 0));
    unsigned words[2] = {5, 0};
    TRY("futex", syscall(SYS_futex, &words[0], 4 /* FUTEX_CMP_REQUEUE */, 1, 1, &words[1], 6));
    TRY("futex of the sixth argument", syscall(SYS_futex, &words[0], 4, 1, 1, &words[1], 5));

    // Only with the signal set in its sixth argument is pselect6 interrupted, instead of waiting.
    sigset_t none, alarm;
    struct sigaction action = {.sa_handler = ignore};
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm, NULL);
    raise(SIGALRM);
    struct {
        sigset_t *set;
        size_t size;
    } mask = {&none, 8};
    struct timespec wait = {10, 0};
    TRY("pselect6", syscall(SYS_pselect6, 0, NULL, NULL, NULL, &wait, &mask));
    sigprocmask(SIG_UNBLOCK, &alarm, NULL);

    // The child returns on the parent's stack while the parent waits in the call.
    int status;
    long child = syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        raw(SYS_exit_group, 7, 0, 0, 0, 0);
    TRY("child of a vfork", waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
}

static void in_child(void (*part)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        part();
        exit(0);
    }
    waitpid(child, &status, 0);
    PRINT("ended with %x\n", status);
}

int main(void) {
    static const struct way *const ways[] = {&directly, &by_syscall};
    for (int i = 0; i < 4; i++) {
        way = ways[i / 2];
        origin = i % 2 ? "from elsewhere" : "own";
        make = i % 2 ? raw_socket : way->socket;
        in_child(sockets);
        in_child(connects);
        in_child(listens);
        in_child(accepts);
        in_child(options);
        in_child(prctls);
        in_child(without_descriptors);
    }
    in_child(other_calls);
    return 0;
}
