// setsockopt(2) and getsockopt(2) with every level, option, value, length and pointer, for sockets of every kind.
#pragma once

#include "memory.h"
#include "socket.h"

#include <limits.h>

static const struct {
    int level, name;
} options[] = {
    {SOL_SOCKET, SO_KEEPALIVE},       {IPPROTO_TCP, TCP_KEEPIDLE},     {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},       {IPPROTO_TCP, TCP_USER_TIMEOUT}, {IPPROTO_TCP, TCP_SYNCNT},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},  {IPPROTO_TCP, TCP_MAXSEG},       {IPPROTO_TCP, TCP_WINDOW_CLAMP},
    {IPPROTO_TCP, TCP_NODELAY},       {SOL_SOCKET, SO_REUSEADDR},      {SOL_SOCKET, SO_LINGER},
    {SOL_SOCKET, SO_ERROR},           {IPPROTO_TCP, 999},              {SOL_SOCKET, 999},
    {0, 4},                           {255, 4},                        {IPPROTO_MPTCP, 4},
    {-1, 9},                          {INT_MIN, 18},
};

static const int values[] = {0, 1, -1, 2, 4, 5, 13, 60, 61, 62, 127, 128, 600, 30000, 32767, 32768, INT_MAX, INT_MIN};
static const int option_lengths[] = {-1, 0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 4095, 4096, 4097, 8192, INT_MAX, INT_MIN};

// Returns the index of an option that a policy can set; -1 for others.
static int own_index(size_t option) {
    return option < OWN_OPTIONS ? (int)option : -1;
}

static void read_all(int fd, int *has) {
    for (int i = 0; i < OWN_OPTIONS; i++)
        has[i] = raw_option(fd, own_options[i].level, own_options[i].option);
}

static void set(int fd, int is_final, size_t option, const char *what, const void *value, int length) {
    int before[OWN_OPTIONS], after[OWN_OPTIONS];
    int own = own_index(option);
    read_all(fd, before);
    errno = NO_ERRNO;
    long returned = CALL(SETSOCKOPT, fd, options[option].level, options[option].name, (long)value, length);
    int error = errno;
    read_all(fd, after);
    print_result(what, returned, error);
    // A call changes only its own option, and none if it fails. The policy's user timeout may be set at any time.
    for (int i = 0; i < OWN_OPTIONS; i++)
        if ((i != own || returned != 0) && before[i] != after[i] && (is_own[i] || i != USER_TIMEOUT))
            printf(", changes %s from %d to %d", own_options[i].name, before[i], after[i]);
    if (own < 0)
        printf(", reads %d", raw_option(fd, options[option].level, options[option].name));
    else if (returned == 0)
        is_own[own] = 1;
    print_own(fd, is_final);
    putchar('\n');
}

static void sets(int fd, int is_final, size_t option) {
    static int buffer[8192 / sizeof(int)];
    char what[60];
    for (size_t i = 0; i < LENGTH(values); i++) {
        snprintf(what, sizeof what, "set to %d", values[i]);
        set(fd, is_final, option, what, &values[i], sizeof values[i]);
    }
    for (size_t i = 0; i < LENGTH(option_lengths); i++)
        for (int value = 0; value <= 67; value += 67) {
            buffer[0] = value;
            snprintf(what, sizeof what, "set to %d in %d bytes", value, option_lengths[i]);
            set(fd, is_final, option, what, buffer, option_lengths[i]);
        }
    static const int few_lengths[] = {-1, 0, 3, 4, 8, 4097};
    for (size_t i = 0; i < LENGTH(few_lengths); i++)
        for (size_t j = 0; j < LENGTH(bad_pointers); j++) {
            snprintf(what, sizeof what, "set from %s, %d bytes", bad_pointers[j].name, few_lengths[i]);
            set(fd, is_final, option, what, (void *)bad_pointers[j].pointer, few_lengths[i]);
        }
    buffer[0] = 68;
    for (int readable = 0; readable <= 8; readable++)
        for (int length = 3; length <= 8; length++) {
            snprintf(what, sizeof what, "set to %d of %d bytes readable", readable, length);
            set(fd, is_final, option, what, half_readable(buffer, readable), length);
        }
}

// Prints the results of getsockopt for options that a policy does not set, and its errors for all.
static void gets(int fd, size_t option) {
    static char buffer[8192];
    char what[60];
    for (size_t i = 0; i < LENGTH(option_lengths); i++) {
        socklen_t length = option_lengths[i];
        memset(buffer, 0x55, sizeof buffer);
        errno = NO_ERRNO;
        long returned = CALL(GETSOCKOPT, fd, options[option].level, options[option].name, (long)buffer, (long)&length);
        snprintf(what, sizeof what, "get with %d bytes", option_lengths[i]);
        print_result(what, returned, errno);
        // MPTCP returns a short value in one byte if there is no space for four.
        if (own_index(option) < 0)
            printf(", %u bytes %02x%02x%02x%02x", length, buffer[0] & 255, buffer[1] & 255, buffer[2] & 255, buffer[3] & 255);
        else if (option_lengths[i] >= 4)
            printf(", %u bytes", length);
        putchar('\n');
    }
    socklen_t length = 4;
    for (size_t i = 0; i < LENGTH(bad_pointers); i++) {
        snprintf(what, sizeof what, "get to %s", bad_pointers[i].name);
        TRY(what, CALL(GETSOCKOPT, fd, options[option].level, options[option].name, bad_pointers[i].pointer, (long)&length));
        snprintf(what, sizeof what, "get with the length at %s", bad_pointers[i].name);
        TRY(what, CALL(GETSOCKOPT, fd, options[option].level, options[option].name, (long)buffer, bad_pointers[i].pointer));
    }
}

static void all_options(void) {
    static const enum state states[] = {NEW, CONNECTED, CONNECTING, ACCEPTED, LISTENING};
    static const char *const names[] = {"tcp4", "mptcp6", "udp4", "raw4", "sctp4", "unix-stream"};
    for (size_t i = 0; i < LENGTH(names); i++) {
        const struct kind *kind = kind_of(names[i]);
        for (size_t j = 0; j < (kind->is_tcp ? LENGTH(states) : 2); j++) {
            if (servers[kind - kinds] < 0)
                continue;
            for (size_t k = 0; k < LENGTH(options); k++) {
                in_context("%s %s, option %d %d", kind->name, state_names[states[j]], options[k].level, options[k].name);
                int fd = in_state(kind, states[j], set_nothing);
                gets(fd, k);
                sets(fd, kind->is_tcp && states[j] >= CONNECTED, k);
                close_now(fd);
            }
            drain_servers();
        }
    }
}
