// A line for each case: what was called, what it returned, errno, and what became of the options that the program set.
#pragma once

#include "../make_call.h"

#include <stdarg.h>

// No system call gives this number.
#define UNTOUCHED 4242

// The options that a policy is about.
static const struct own {
    const char *name;
    int level, option, value;
} own_options[] = {
    {"keepalive", SOL_SOCKET, SO_KEEPALIVE, 1},
    {"idle", IPPROTO_TCP, TCP_KEEPIDLE, 600},
    {"interval", IPPROTO_TCP, TCP_KEEPINTVL, 5},
    {"count", IPPROTO_TCP, TCP_KEEPCNT, 8},
    {"user-timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 5000},
};

#define OWN_OPTIONS 5
#define USER_TIMEOUT 4

// Which of them the program has set on the socket of the present case.
static int is_own[OWN_OPTIONS];

static void set_nothing(int fd) {
    (void)fd;
    memset(is_own, 0, sizeof is_own);
}

// Gives a socket what a policy of 61/13/4 and 30 s allows and what it does not.
static void set_own(int fd) {
    for (int i = 0; i < OWN_OPTIONS; i++) {
        int value = own_options[i].value;
        is_own[i] = CALL(SETSOCKOPT, fd, own_options[i].level, own_options[i].option, (long)&value, sizeof value) == 0;
    }
}

// What the program has set on the socket, by name. `holds` where the policy has had its say by now, `has` before.
static void print_own(int fd, int is_settled) {
    const char *word = is_settled ? " | holds" : " | has";
    for (int i = 0; i < OWN_OPTIONS; i++)
        if (is_own[i]) {
            printf("%s %s=%d", word, own_options[i].name, raw_option(fd, own_options[i].level, own_options[i].option));
            word = "";
        }
}

static char context[200];

// Names the cases that follow.
static void in_context(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
}

static void print_result(const char *what, long returned, int error) {
    printf("%s, %s: %ld errno %d", context, what, returned, error);
}

static void report(const char *what, long returned) {
    print_result(what, returned, errno);
    putchar('\n');
}

// errno is UNTOUCHED before the call.
#define TRY(what, ...) report(what, (errno = UNTOUCHED, __VA_ARGS__))
