// Threads that connect to themselves repeatedly: each connects to a listener of its own, accepts, and reads the options
// of both ends; then both ends set an idle time of their own, and the thread reads the result.
// usage: self_connect THREADS
//
// The threads use four ways in turn: IPv4, IPv6, IPv4 to a listener for both, and IPv4-mapped IPv6 to one for IPv4. A
// line of standard input begins a new phase, which is reported as soon as every thread has made some connections in it.
// A connection belongs to the phase in which it began. At the end of input the program prints
//   PHASE connect|accept KEEPALIVE IDLE INTERVAL COUNT USER-TIMEOUT then IDLE: TIMES
// for each combination, and then how many connections failed.
#define _GNU_SOURCE
#include "raw.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_THREADS = 16, MAX_PHASES = 16, MAX_KINDS = 2000, TIMES = 20, OWN_IDLE = 9999, OPTIONS = 5 };

// The options of an end, and how often they were seen.
struct kind {
    int phase, is_accepted, has[OPTIONS], then;
    long times;
};

static struct member {
    pthread_t thread;
    int number;
    atomic_long met[MAX_PHASES], failed;
    int kinds;
    struct kind kind[MAX_KINDS];
} members[MAX_THREADS];

static atomic_int phase, over;
static const int options[OPTIONS][2] = {{SOL_SOCKET, SO_KEEPALIVE},
                                        {IPPROTO_TCP, TCP_KEEPIDLE},
                                        {IPPROTO_TCP, TCP_KEEPINTVL},
                                        {IPPROTO_TCP, TCP_KEEPCNT},
                                        {IPPROTO_TCP, TCP_USER_TIMEOUT}};

// The addresses of the listener and of the connect for each way.
static const char *const ways[4][2] = {
    {"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"::", "127.0.0.1"}, {"127.0.0.1", "::ffff:127.0.0.1"}};

static struct addrinfo *address_of(const char *host, int port) {
    char text[8];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found = NULL;
    snprintf(text, sizeof text, "%d", port);
    if (getaddrinfo(host, text, &hints, &found) != 0)
        exit(1);
    return found;
}

static int listen_at(const char *host) {
    struct addrinfo *address = address_of(host, 0);
    int fd = socket(address->ai_family, SOCK_STREAM, 0);
    // Accepted connections are reset on close, so that no port stays in TIME_WAIT.
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 16) != 0)
        exit(1);
    freeaddrinfo(address);
    return fd;
}

// Counts the options of `fd`, with those after it has set its own idle time.
static int look(struct member *member, int now, int is_accepted, int fd) {
    struct kind kind = {.phase = now, .is_accepted = is_accepted, .times = 1};
    for (int i = 0; i < OPTIONS; i++)
        kind.has[i] = raw_option(fd, options[i][0], options[i][1]);
    if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){OWN_IDLE}, sizeof(int)) != 0)
        return -1;
    kind.then = raw_option(fd, IPPROTO_TCP, TCP_KEEPIDLE);
    for (int i = 0; i < member->kinds; i++) {
        struct kind *known = &member->kind[i];
        if (known->phase == kind.phase && known->is_accepted == is_accepted && known->then == kind.then &&
            memcmp(known->has, kind.has, sizeof kind.has) == 0) {
            known->times++;
            return 0;
        }
    }
    if (member->kinds == MAX_KINDS)
        exit(1);
    member->kind[member->kinds++] = kind;
    return 0;
}

static int connect_to_itself(struct member *member, int listener, const struct addrinfo *address) {
    int now = phase, failed = 0;
    int client = socket(address->ai_family, SOCK_STREAM, 0);
    int accepted = -1;
    if (connect(client, address->ai_addr, address->ai_addrlen) != 0 || (accepted = accept(listener, NULL, NULL)) < 0)
        failed = 1;
    else if (look(member, now, 0, client) != 0 || look(member, now, 1, accepted) != 0)
        failed = 1;
    close(accepted);
    close(client);
    member->met[now]++;
    return failed;
}

static void *run(void *words) {
    struct member *member = words;
    const char *const *way = ways[member->number % 4];
    int listener = listen_at(way[0]);
    struct sockaddr_storage name;
    raw_name(listener, &name);
    struct addrinfo *address = address_of(way[1], ntohs(((struct sockaddr_in *)&name)->sin_port));
    while (!over)
        member->failed += connect_to_itself(member, listener, address);
    freeaddrinfo(address);
    return NULL;
}

int main(int count, char **words) {
    int threads = count == 2 ? atoi(words[1]) : 0;
    if (threads < 1 || threads > MAX_THREADS)
        return 2;
    for (int i = 0; i < threads; i++) {
        members[i].number = i;
        pthread_create(&members[i].thread, NULL, run, &members[i]);
    }
    for (char byte; phase + 1 < MAX_PHASES && read(0, &byte, 1) == 1;) {
        phase++;
        for (int i = 0; i < threads; i++)
            while (members[i].met[phase] < TIMES)
                usleep(1000);
        PRINT("phase %d\n", phase);
    }
    over = 1;
    long failed = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(members[i].thread, NULL);
        failed += members[i].failed;
        for (struct kind *kind = members[i].kind; kind < members[i].kind + members[i].kinds; kind++)
            PRINT("%d %s %d %d %d %d %d then %d: %ld\n", kind->phase, kind->is_accepted ? "accept" : "connect",
                  kind->has[0], kind->has[1], kind->has[2], kind->has[3], kind->has[4], kind->then, kind->times);
    }
    PRINT("failed %ld\n", failed);
    return 0;
}
