// Ways to make a call: by the C library's function, by its syscall(2), by the system call instruction, and on i386 by
// socketcall(2). A call takes its arguments as six words.
#pragma once

#include "raw.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#ifdef SYS_socketcall
#include <linux/net.h>
#endif

enum call {
    SOCKET,
    CONNECT,
    LISTEN,
    ACCEPT,
    ACCEPT4,
    GETSOCKOPT,
    SETSOCKOPT,
    SENDTO,
    SENDMSG,
    SENDMMSG,
    PRCTL,
};

static const char *const call_names[] = {"socket",     "connect", "listen",  "accept",   "accept4", "getsockopt",
                                         "setsockopt", "sendto",  "sendmsg", "sendmmsg", "prctl"};

static const long numbers[] = {
    SYS_socket,
    SYS_connect,
    SYS_listen,
#ifdef SYS_accept
    SYS_accept,
#else
    SYS_accept4,
#endif
    SYS_accept4, SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_prctl,
};

static long by_function(enum call call, const long *a) {
    switch (call) {
    case SOCKET:
        return socket(a[0], a[1], a[2]);
    case CONNECT:
        return connect(a[0], (void *)a[1], a[2]);
    case LISTEN:
        return listen(a[0], a[1]);
    case ACCEPT:
        return accept(a[0], (void *)a[1], (void *)a[2]);
    case ACCEPT4:
        return accept4(a[0], (void *)a[1], (void *)a[2], a[3]);
    case GETSOCKOPT:
        return getsockopt(a[0], a[1], a[2], (void *)a[3], (void *)a[4]);
    case SETSOCKOPT:
        return setsockopt(a[0], a[1], a[2], (void *)a[3], a[4]);
    case SENDTO:
        return sendto(a[0], (void *)a[1], a[2], a[3], (void *)a[4], a[5]);
    case SENDMSG:
        return sendmsg(a[0], (void *)a[1], a[2]);
    case SENDMMSG:
        return sendmmsg(a[0], (void *)a[1], a[2], a[3]);
    case PRCTL:
        return prctl(a[0], a[1], a[2], a[3], a[4]);
    }
    abort();
}

static long by_syscall(enum call call, const long *a) {
    return syscall(numbers[call], a[0], a[1], a[2], a[3], a[4], a[5]);
}

#if defined(__x86_64__)
static long by_instruction(enum call call, const long *a) {
    long result;
    register long r10 __asm__("r10") = a[3];
    register long r8 __asm__("r8") = a[4];
    register long r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(numbers[call]), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result >= 0 || result < -4095)
        return result;
    errno = -result;
    return -1;
}
#endif

#ifdef SYS_socketcall
static long by_socketcall(enum call call, const long *a) {
    static const int selectors[] = {SYS_SOCKET,     SYS_CONNECT,    SYS_LISTEN, SYS_ACCEPT,  SYS_ACCEPT4,
                                    SYS_GETSOCKOPT, SYS_SETSOCKOPT, SYS_SENDTO, SYS_SENDMSG, SYS_SENDMMSG};
    return call == PRCTL ? by_syscall(call, a) : syscall(SYS_socketcall, selectors[call], a);
}
#endif

typedef long (*way)(enum call, const long *);

static const struct {
    const char *name;
    way make;
} ways[] = {
    {"function", by_function},
    {"syscall", by_syscall},
#if defined(__x86_64__)
    {"instruction", by_instruction},
#endif
#ifdef SYS_socketcall
    {"socketcall", by_socketcall},
#endif
};

// The way of this run.
static way make;

#define CALL(call, ...) make(call, (const long[6]){__VA_ARGS__})
