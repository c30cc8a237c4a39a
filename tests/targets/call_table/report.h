// Prints a line for each case: the call, its result, errno, and the options that the program has set.
#pragma once

#include "../make_call.h"

#include <stdarg.h>

// No system call sets this errno.
#define NO_ERRNO 4242

// The options that a policy can set.
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

// The options that the program has set on the socket of this case.
static int is_own[OWN_OPTIONS];

static void set_nothing(int fd) {
    (void)fd;
    memset(is_own, 0, sizeof is_own);
}

// Sets values of which a policy of 61/13/4 and 30 s permits some.
static void set_own(int fd) {
    for (int i = 0; i < OWN_OPTIONS; i++) {
        int value = own_options[i].value;
        is_own[i] = CALL(SETSOCKOPT, fd, own_options[i].level, own_options[i].option, (long)&value, sizeof value) == 0;
    }
}

// Prints the options that the program has set, by name: `holds` if the values are final, `has` if the policy may not
// have been applied yet.
static void print_own(int fd, int is_final) {
    const char *word = is_final ? " | holds" : " | has";
    for (int i = 0; i < OWN_OPTIONS; i++)
        if (is_own[i]) {
            printf("%s %s=%d", word, own_options[i].name, raw_option(fd, own_options[i].level, own_options[i].option));
            word = "";
        }
}

static char context[200];

// Sets the name of the following cases.
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

// errno is NO_ERRNO before the call.
#define TRY(what, ...) report(what, (errno = NO_ERRNO, __VA_ARGS__))
