// connect(2), listen(2), accept(2) and sends that connect, for sockets in every state, with options that the program
// has set.
#pragma once

#include "addresses.h"

static void report_with_own(const char *what, long returned, int fd, int is_final) {
    print_result(what, returned, errno);
    print_own(fd, is_final);
    putchar('\n');
}

// Whether a connection is open (TCP_ESTABLISHED); an MPTCP socket then has a peer.
static int is_open(int fd) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    await(fd, POLLOUT);
    return raw_option(fd, SOL_SOCKET, SO_ERROR) == 0 && raw(SYS_getpeername, fd, (long)&peer, (long)&size, 0, 0) == 0;
}

static void open_in_state(const struct kind *kind, enum state state, const struct opener *opener, int length,
                          void (*prepare)(int)) {
    int fd = in_state(kind, state, prepare);
    struct sockaddr_storage address;
    socklen_t real = server_of(kind, &address);
    errno = NO_ERRNO;
    long returned = opener->open(fd, &address, length < 0 ? (int)real : length);
    int error = errno;
    int is_final = (returned == 0 || error == EINPROGRESS) && kind->is_tcp && state != CONNECTING && is_open(fd);
    errno = error;
    report_with_own(opener->name, returned, fd, is_final);
    close_now(fd);
    drain_servers();
}

static void listen_in_state(const struct kind *kind, enum state state, int backlog, void (*prepare)(int)) {
    char what[40];
    snprintf(what, sizeof what, "listen with %d", backlog);
    int fd = in_state(kind, state, prepare);
    errno = NO_ERRNO;
    long returned = CALL(LISTEN, fd, backlog);
    // Before the call, the port of an unbound socket is unknown, and so is the rule that matches it.
    report_with_own(what, returned, fd, returned == 0 && kind->is_tcp && state != NEW);
    close_now(fd);
    drain_servers();
}

// Prints the result of accept, and the options that the accepted socket has from its listener.
static void accept_in_state(const struct kind *kind, enum state state, int flags, const struct sockaddr *name,
                            socklen_t *size, const char *what, void (*prepare)(int)) {
    int fd = in_state(kind, state, prepare), client = -1;
    struct sockaddr_storage address;
    socklen_t length = raw_name(fd, &address);
    if (state == LISTENING) {
        client = raw(SYS_socket, kind->domain, kind->type, kind->protocol, 0, 0);
        raw(SYS_connect, client, (long)&address, length, 0, 0);
        await(fd, POLLIN);
    }
    errno = NO_ERRNO;
    long returned = flags < 0 ? CALL(ACCEPT, fd, (long)name, (long)size)
                              : CALL(ACCEPT4, fd, (long)name, (long)size, flags);
    int accepted = returned;
    // Descriptors have the same numbers in every run.
    report_with_own(what, returned, accepted, returned >= 0 && kind->is_tcp);
    close_now(client);
    close_now(accepted);
    close_now(fd);
    drain_servers();
}

static void accepts_in_state(const struct kind *kind, enum state state, void (*prepare)(int)) {
    static const int sizes[] = {-1, 0, 3, 16, 128};
    static const int flags[] = {-1, 0, SOCK_NONBLOCK, SOCK_CLOEXEC, 1, INT_MIN};
    struct sockaddr_storage name;
    char what[60];
    for (size_t i = 0; i < LENGTH(flags); i++) {
        snprintf(what, sizeof what, "accept with flags %d", flags[i]);
        accept_in_state(kind, state, flags[i], NULL, NULL, what, prepare);
        snprintf(what, sizeof what, "accept with flags %d to a bad pointer", flags[i]);
        socklen_t room = sizeof name;
        accept_in_state(kind, state, flags[i], (void *)8, &room, what, prepare);
    }
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        socklen_t size = sizes[i];
        memset(&name, 0, sizeof name);
        snprintf(what, sizeof what, "accept with room for %d bytes", sizes[i]);
        accept_in_state(kind, state, -1, (void *)&name, &size, what, prepare);
        printf("%s, its name: family %d, %u bytes\n", context, name.ss_family, size);
    }
    accept_in_state(kind, state, -1, (void *)&name, (void *)8, "accept with a bad length", prepare);
}

static void all_states(void) {
    static const int backlogs[] = {8, 0, -1, 4096, INT_MIN};
    static const int openings[] = {-1, 0, 8, 15, 20, 110, 129};
    static void (*const prepares[])(int) = {set_nothing, set_own};
    for (size_t i = 0; i < LENGTH(kinds); i++)
        for (enum state state = NEW; state < STATES; state++) {
            if (servers[i] < 0 || !can_be(&kinds[i], state))
                continue;
            for (size_t own = 0; own < LENGTH(prepares); own++) {
                in_context("%s %s %s", own ? "own" : "plain", kinds[i].name, state_names[state]);
                for (size_t j = 0; j < LENGTH(backlogs); j++)
                    listen_in_state(&kinds[i], state, backlogs[j], prepares[own]);
                accepts_in_state(&kinds[i], state, prepares[own]);
                for (size_t j = 0; j < LENGTH(openings); j++) {
                    in_context("%s %s %s to %d bytes", own ? "own" : "plain", kinds[i].name, state_names[state], openings[j]);
                    for (size_t k = 0; k < LENGTH(openers); k++)
                        open_in_state(&kinds[i], state, &openers[k], openings[j], prepares[own]);
                }
            }
        }
}
