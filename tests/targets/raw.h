// The kernel without the C library: system calls that no library's hook sees, to create sockets that the library does
// not remember, and to read the options of sockets.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Returns what the kernel returns: a negative number is an error.
static inline long raw(long n, long a, long b, long c, long d, long e) {
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = 0;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#elif defined(__i386__)
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
#else
#error "no system calls for this architecture yet"
#endif
}

static inline void raw_close(int fd) {
    raw(SYS_close, fd, 0, 0, 0, 0);
}

// Creates a socket with a number that no socket had before, because the library remembers numbers.
static inline int raw_socket(int domain, int type, int protocol) {
    static int unused = 100;
    int fd = raw(SYS_socket, domain, type, protocol, 0, 0);
    if (fd < 0)
        return fd;
    int moved = raw(SYS_fcntl, fd, F_DUPFD, unused, 0, 0);
    raw_close(fd);
    unused = moved + 1;
    return moved;
}

static inline int raw_connect(int fd, const struct sockaddr_storage *address, socklen_t length) {
    return raw(SYS_connect, fd, (long)address, length, 0, 0);
}

static inline int raw_accept(int listener) {
    return raw(SYS_accept4, listener, 0, 0, 0, 0);
}

// Returns the value of an option, −1 if the socket does not have it.
static inline int raw_option(int fd, int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return raw(SYS_getsockopt, fd, level, name, (long)&value, (long)&length) < 0 ? -1 : value;
}

static inline socklen_t raw_name(int fd, struct sockaddr_storage *address) {
    socklen_t length = sizeof *address;
    return raw(SYS_getsockname, fd, (long)address, (long)&length, 0, 0) < 0 ? 0 : length;
}

// Binds to loopback, or to a name that the kernel chooses if the domain is not IP. The kernel also chooses the port,
// but for datagrams it is one below the ports of connections: a TCP socket that connects to a datagram port can get
// that port as its own, and then connects to itself (once in 60,000 connects).
static inline int raw_bind(int fd) {
    static in_port_t datagram_port = 20000;
    struct sockaddr_storage address;
    memset(&address, 0, sizeof address);
    int domain = raw_option(fd, SOL_SOCKET, SO_DOMAIN);
    socklen_t length = sizeof address.ss_family;
    in_port_t *port = 0;
    address.ss_family = domain;
    if (domain == AF_INET) {
        struct sockaddr_in *name = (struct sockaddr_in *)&address;
        name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        port = &name->sin_port;
        length = sizeof *name;
    } else if (domain == AF_INET6) {
        struct sockaddr_in6 *name = (struct sockaddr_in6 *)&address;
        name->sin6_addr.s6_addr[15] = 1;
        port = &name->sin6_port;
        length = sizeof *name;
    }
    int is_datagram = port && raw_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM;
    int result;
    do {
        if (is_datagram) {
            datagram_port = datagram_port == 32767 ? 20000 : datagram_port + 1;
            *port = htons(datagram_port);
        }
        result = raw(SYS_bind, fd, (long)&address, length, 0, 0);
    } while (is_datagram && result == -EADDRINUSE);
    return result;
}

// Creates a listener on loopback.
static inline int raw_listener(int domain) {
    int fd = raw_socket(domain, SOCK_STREAM, 0);
    raw_bind(fd);
    return raw(SYS_listen, fd, 8, 0, 0, 0) < 0 ? -1 : fd;
}

// Creates a client whose connection is in the listener's queue.
static inline int raw_client(int listener) {
    struct sockaddr_storage address;
    socklen_t length = raw_name(listener, &address);
    int fd = raw_socket(address.ss_family, SOCK_STREAM, 0);
    return raw_connect(fd, &address, length) < 0 ? -1 : fd;
}

static inline void raw_print(const char *line, int length) {
    raw(SYS_write, 1, (long)line, length, 0, 0);
}

#define PRINT(...)                                                    \
    do {                                                              \
        char line_[256];                                              \
        raw_print(line_, snprintf(line_, sizeof line_, __VA_ARGS__)); \
    } while (0)

// Prints NAME: keepalive idle interval count user-timeout, with −1 for options that the socket does not have.
static inline void show(const char *name, int fd) {
    PRINT("%s: %d %d %d %d %d\n", name, raw_option(fd, SOL_SOCKET, SO_KEEPALIVE),
          raw_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), raw_option(fd, IPPROTO_TCP, TCP_KEEPINTVL),
          raw_option(fd, IPPROTO_TCP, TCP_KEEPCNT), raw_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
}
