// Threads that meet themselves, over and over: each connects to a listener of its own, accepts, and looks at what both
// ends have; then both ends ask for an idle time of their own, and it looks at what they got.
// usage: crowd THREADS
//
// The threads take turns at four ways: IPv4, IPv6, IPv4 to a listener for both, and IPv4 in IPv6 to one for IPv4. A line
// of standard input begins a new phase, which is told as soon as every thread has met itself some times in it; meetings
// count for the phase in which they began. At the end of input it prints
//   PHASE connect|accept KEEPALIVE IDLE INTERVAL COUNT USER-TIMEOUT then IDLE: TIMES
// for all that it has seen, and then how many meetings failed.
#define _GNU_SOURCE
#include "raw.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST_THREADS = 16, MOST_PHASES = 16, MOST_KINDS = 2000, TIMES = 20, OWN_IDLE = 9999, OPTIONS = 5 };

// What an end had, and how often.
struct kind {
    int phase, is_accepted, has[OPTIONS], then;
    long times;
};

static struct member {
    pthread_t thread;
    int number;
    atomic_long met[MOST_PHASES], failed;
    int kinds;
    struct kind kind[MOST_KINDS];
} members[MOST_THREADS];

static atomic_int phase, over;
static const int options[OPTIONS][2] = {{SOL_SOCKET, SO_KEEPALIVE},
                                        {IPPROTO_TCP, TCP_KEEPIDLE},
                                        {IPPROTO_TCP, TCP_KEEPINTVL},
                                        {IPPROTO_TCP, TCP_KEEPCNT},
                                        {IPPROTO_TCP, TCP_USER_TIMEOUT}};

// Where each way listens, and where it connects to.
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
    // What is accepted is reset when it is closed, so that no port is left waiting.
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 16) != 0)
        exit(1);
    freeaddrinfo(address);
    return fd;
}

// Counts what `fd` has, and what it has after it has asked for more.
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
    if (member->kinds == MOST_KINDS)
        exit(1);
    member->kind[member->kinds++] = kind;
    return 0;
}

static int meet(struct member *member, int listener, const struct addrinfo *address) {
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
        member->failed += meet(member, listener, address);
    freeaddrinfo(address);
    return NULL;
}

int main(int count, char **words) {
    int threads = count == 2 ? atoi(words[1]) : 0;
    if (threads < 1 || threads > MOST_THREADS)
        return 2;
    for (int i = 0; i < threads; i++) {
        members[i].number = i;
        pthread_create(&members[i].thread, NULL, run, &members[i]);
    }
    for (char byte; phase + 1 < MOST_PHASES && read(0, &byte, 1) == 1;) {
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
