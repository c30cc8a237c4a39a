// Makes random sequences of calls on sockets, and prints for each a hash of all results: return values, errno,
// descriptors, data, events, names, and the options that the program has set. Without keepalive two runs print the
// same.
//
//   call_sequences FIRST COUNT LETTERS
//
// makes the sequences FIRST, FIRST+1, ... Letters: v includes the values of options that the program has set; z lets it
// set keepalive to 0, for engines that distinguish this from an unset option; t prints the sequences in full.
#define _GNU_SOURCE
#include "call_sequences/actions.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static int depth;

static void steps(int count);

// Makes one call, in a random way.
static void step(void) {
    choose_way();
    int pick = below(100);
    if (pick < 12)
        do_socket();
    else if (pick < 14)
        do_serve();
    else if (pick < 20)
        do_bind();
    else if (pick < 32)
        do_connect(0);
    else if (pick < 35)
        do_connect(1);
    else if (pick < 38)
        do_listen();
    else if (pick < 53)
        do_accept();
    else if (pick < 61)
        do_set_option();
    else if (pick < 63)
        do_set_other();
    else if (pick < 69)
        do_get_option();
    else if (pick < 72)
        do_get_other();
    else if (pick < 76)
        do_close();
    else if (pick < 80)
        do_dup();
    else if (pick < 82)
        do_shutdown();
    else if (pick < 87)
        do_send();
    else if (pick < 91)
        do_receive();
    else if (pick < 94)
        do_names();
    else if (pick < 95)
        do_flags();
    else if (pick < 98)
        do_poll();
    else if (pick < 99)
        do_pass();
    else if (below(4) == 0)
        do_limit();
    note("\n");
}

static void *in_thread(void *argument) {
    (void)argument;
    step();
    return NULL;
}

static void thread_step(void) {
    pthread_t thread;
    note("thread: ");
    int error = pthread_create(&thread, NULL, in_thread, NULL);
    if (error)
        note("%d\n", error);
    else
        pthread_join(thread, NULL);
}

// Connections are reset, so that their ports become free.
static void close_all(int is_reset) {
    struct linger at_once = {1, 0};
    for (int fd = 3; fd < FDS; fd++) {
        if (is_reset && object_of[fd] >= 0 && is_tcp(fd))
            raw(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, (long)&at_once, sizeof at_once);
        raw_close(fd);
        object_of[fd] = -1;
    }
}

// A child continues the sequence, while this process waits for it.
static int continue_in_child(int count) {
    note("fork\n");
    trace->is_alone = 0;
    pid_t child = fork();
    if (child == 0) {
        while (!__atomic_load_n(&trace->is_alone, __ATOMIC_ACQUIRE))
            sched_yield();
        depth++;
        steps(count);
        _exit(7);
    }
    close_all(0);
    barrier();
    __atomic_store_n(&trace->is_alone, 1, __ATOMIC_RELEASE);
    int status = -1;
    pid_t ended = waitpid(child, &status, 0);
    note("ended %d with %x\n", ended == child, status);
    return child;
}

// A child makes calls on inherited descriptors, then this process continues.
static void calls_in_child(void) {
    note("child: ");
    pid_t child = fork();
    if (child == 0) {
        int fd = tcp_fd();
        int flags = raw(SYS_fcntl, fd, F_GETFL, 0, 0, 0);
        // A listener that was closed elsewhere could be full and block.
        raw(SYS_fcntl, fd, F_SETFL, flags | O_NONBLOCK, 0, 0);
        struct sockaddr_storage address;
        socklen_t length = some_address(&address);
        if (listener_at(&address, length) < 0 && !may_be_itself(fd, &address))
            note_result("connect", fd, CALL(CONNECT, fd, (long)&address, length));
        barrier();
        do_get_other();
        do_set_other();
        note("\n");
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    barrier();
    note("with %x\n", status);
}

static void steps(int count) {
    while (count-- > 0) {
        int pick = below(60);
        if (pick == 0 && depth < 2) {
            continue_in_child(count);
            return;
        }
        if (pick == 1)
            calls_in_child();
        else if (pick < 5)
            thread_step();
        else
            step();
    }
    // The descriptors that are open at the end.
    for (int fd = 0; fd < FDS; fd++)
        note("%ld", raw(SYS_fcntl, fd, F_GETFD, 0, 0, 0));
    close_all(1);
    barrier();
}

static void sequence(uint64_t number) {
    trace->length = 0;
    trace->random = number * 0x2545f4914f6cdd1d;
    object_count = port_count = depth = 0;
    for (int fd = 0; fd < FDS; fd++)
        object_of[fd] = -1;
    choose_way();
    do_serve();
    do_socket();
    note("\n");
    steps(10 + below(50));
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 1024;
    setrlimit(RLIMIT_NOFILE, &limit);
    // No child may be left, and no unexpected one.
    pid_t left = waitpid(-1, NULL, WNOHANG | __WALL);
    note("\nwait %d errno %d\n", left, left < 0 ? errno : 0);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    uint64_t first = strtoull(argv[1], NULL, 10);
    int count = atoi(argv[2]), prints_all = strchr(argv[3], 't') != NULL;
    prints_values = strchr(argv[3], 'v') != NULL;
    sets_zeros = strchr(argv[3], 'z') != NULL;
    signal(SIGPIPE, SIG_IGN);
    map_trace();
    open_barrier();
    for (int i = 0; i < count; i++) {
        sequence(first + i);
        // A sequence that takes so long has a call that blocks.
        alarm(60);
        printf("%llu %016llx\n", (unsigned long long)first + i, (unsigned long long)hash_of_trace());
        if (prints_all)
            printf("%.*s", trace->length, trace->text);
    }
    return 0;
}
