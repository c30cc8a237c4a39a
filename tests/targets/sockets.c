// Executes its arguments, in order, on sockets:
//
//   tcp tcp6 mptcp udp ... creates a socket, which becomes current; cloexec, nonblock: the next socket has this flag
//   fd=N first             makes descriptor N, or the first created socket, current, and the listener
//   raw-tcp raw-listen raw-connect=PORT    creates a socket, listens and connects, by system calls that no library sees
//   pass                   sends the current socket to itself (SCM_RIGHTS); the received one becomes current, and the listener
//   keepalive=N idle=N interval=N count=N user-timeout=N fastopen-connect=N     sets an option
//   bind                   binds to a port of loopback; the second time to the same port
//   listen                 binds to loopback and listens; the current socket becomes the listener
//   client accept          a client connects to the listener; its connection is accepted and becomes current
//   connect=PORT connect   connects to a port of loopback, or to the program's listener, and prints errno
//   writable so_error      waits until the current socket is writable; prints its SO_ERROR
//   write                  writes one byte
//   show flags             prints the settings or the flags of the current socket
//   peer                   prints the number of unread bytes at the other end of the connection to the program's listener
//   dup=N close=N          dup2(2), close(2)
//   fds signals            prints the open descriptors; the number of blocked or pending signals
//   wide-idle=N            sets idle, with an optlen of two numbers
//   clearenv limit=N       clearenv(3); limits the size of files to N bytes (files=N: the number of descriptors)
//   hold                   prints "holding" and waits for the end of standard input
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif

static const struct kind {
    const char *name;
    int domain, type, protocol;
} kinds[] = {
    {"tcp", AF_INET, SOCK_STREAM, 0},
    {"tcp-by-number", AF_INET, SOCK_STREAM, IPPROTO_TCP},
    {"tcp6", AF_INET6, SOCK_STREAM, 0},
    {"mptcp", AF_INET, SOCK_STREAM, IPPROTO_MPTCP},
    {"mptcp6", AF_INET6, SOCK_STREAM, IPPROTO_MPTCP},
    {"sctp", AF_INET, SOCK_STREAM, IPPROTO_SCTP},
    {"seqpacket", AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP},
    {"udp", AF_INET, SOCK_DGRAM, 0},
    {"udp6", AF_INET6, SOCK_DGRAM, 0},
    {"udplite", AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE},
    {"ping", AF_INET, SOCK_DGRAM, IPPROTO_ICMP},
    {"icmp", AF_INET, SOCK_RAW, IPPROTO_ICMP},
    // The protocol of a raw socket may be TCP, but it is not a TCP socket.
    {"raw", AF_INET, SOCK_RAW, IPPROTO_TCP},
    {"packet", AF_PACKET, SOCK_DGRAM, 0},
    {"unix", AF_UNIX, SOCK_STREAM, 0},
    {"unix-datagram", AF_UNIX, SOCK_DGRAM, 0},
    {"unix-packet", AF_UNIX, SOCK_SEQPACKET, 0},
    {"netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE},
    // For this family the number of TCP means something else.
    {"xfrm", AF_NETLINK, SOCK_RAW, NETLINK_XFRM},
    {"vsock", AF_VSOCK, SOCK_STREAM, 0},
};

static const struct option {
    const char *name;
    int level, number;
} options[] = {
    {"keepalive", SOL_SOCKET, SO_KEEPALIVE},
    {"idle", IPPROTO_TCP, TCP_KEEPIDLE},
    {"interval", IPPROTO_TCP, TCP_KEEPINTVL},
    {"count", IPPROTO_TCP, TCP_KEEPCNT},
    {"user-timeout", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {"fastopen-connect", IPPROTO_TCP, TCP_FASTOPEN_CONNECT},
};

static int current = -1, first = -1, listener = -1, own_listener = -1, peer = -1, flags;

static void fail(const char *word) {
    PRINT("%s: %s\n", word, strerror(errno));
    exit(1);
}

// Parses the argument of a word such as dup=7. Returns false for another word.
static int is(const char *word, const char *name, int *value) {
    size_t length = strlen(name);
    if (strncmp(word, name, length) != 0 || word[length] != '=')
        return 0;
    *value = atoi(word + length + 1);
    return 1;
}

static void wait_until_writable(void) {
    struct pollfd poller = {current, POLLOUT, 0};
    while (poll(&poller, 1, -1) < 0)
        ;
}

// Connects to the program's own listener if no port is given.
static void connect_to(int port) {
    struct sockaddr_storage address = {0};
    socklen_t length;
    if (port == 0) {
        own_listener = raw_listener(raw_option(current, SOL_SOCKET, SO_DOMAIN));
        length = raw_name(own_listener, &address);
    } else {
        struct sockaddr_in *loopback = (struct sockaddr_in *)&address;
        loopback->sin_family = AF_INET;
        loopback->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        loopback->sin_port = htons(port);
        length = sizeof *loopback;
    }
    int result = connect(current, (struct sockaddr *)&address, length);
    PRINT("connect: %d\n", result == 0 ? 0 : errno);
}

static void bind_to_same_port(void) {
    static struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(current, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(current, (struct sockaddr *)&address, length) < 0)
        fail("bind");
    getsockname(current, (struct sockaddr *)&address, &length);
}

static void pass(void) {
    int pair[2];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    char byte = 0;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.header), &current, sizeof current);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || sendmsg(pair[0], &message, 0) < 0)
        fail("pass");
    raw_close(current);
    if (recvmsg(pair[1], &message, 0) < 0)
        fail("pass");
    memcpy(&current, CMSG_DATA(&control.header), sizeof current);
    listener = current;
}

static void print_descriptors(void) {
    char line[256] = "fds:";
    for (int fd = 0; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            sprintf(line + strlen(line), " %d", fd);
    PRINT("%s\n", line);
}

static void print_signals(void) {
    sigset_t blocked, pending;
    int count = 0;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    for (int signal = 1; signal < 32; signal++)
        count += sigismember(&blocked, signal) + sigismember(&pending, signal);
    PRINT("signals: %d\n", count);
}

static void do_word(const char *word, const char **name) {
    int value;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(word, kinds[i].name) == 0) {
            *name = word;
            current = socket(kinds[i].domain, kinds[i].type | flags, kinds[i].protocol);
            flags = 0;
            if (first < 0)
                first = current;
            if (current < 0)
                PRINT("%s: %s\n", word, strerror(errno));
            return;
        }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (is(word, options[i].name, &value)) {
            if (setsockopt(current, options[i].level, options[i].number, &value, sizeof value) < 0)
                fail(word);
            return;
        }
    if (is(word, "wide-idle", &value)) {
        int wide[2] = {value, 0};
        if (setsockopt(current, IPPROTO_TCP, TCP_KEEPIDLE, wide, sizeof wide) < 0)
            fail(word);
        return;
    }
    if (strcmp(word, "cloexec") == 0) {
        flags |= SOCK_CLOEXEC;
    } else if (strcmp(word, "nonblock") == 0) {
        flags |= SOCK_NONBLOCK;
    } else if (is(word, "fd", &value)) {
        *name = word;
        current = listener = value;
    } else if (strcmp(word, "first") == 0) {
        *name = word;
        current = listener = first;
    } else if (strcmp(word, "raw-tcp") == 0) {
        *name = word;
        current = raw_socket(AF_INET, SOCK_STREAM, 0);
    } else if (strcmp(word, "pass") == 0) {
        *name = word;
        pass();
    } else if (strcmp(word, "bind") == 0) {
        bind_to_same_port();
    } else if (strcmp(word, "raw-listen") == 0) {
        raw_bind(current);
        raw(SYS_listen, current, 8, 0, 0, 0);
        listener = current;
    } else if (strcmp(word, "listen") == 0) {
        raw_bind(current);
        if (listen(current, 8) < 0)
            PRINT("listen: %d\n", errno);
        listener = current;
    } else if (strcmp(word, "client") == 0) {
        raw_client(listener);
    } else if (strcmp(word, "accept") == 0) {
        *name = word;
        current = accept(listener, NULL, NULL);
        if (current < 0)
            fail(word);
    } else if (strcmp(word, "connect") == 0) {
        connect_to(0);
    } else if (is(word, "connect", &value)) {
        connect_to(value);
    } else if (is(word, "raw-connect", &value)) {
        struct sockaddr_storage address = {0};
        *(struct sockaddr_in *)&address =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(value), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        if (raw_connect(current, &address, sizeof(struct sockaddr_in)) < 0)
            fail(word);
    } else if (strcmp(word, "writable") == 0) {
        wait_until_writable();
    } else if (strcmp(word, "so_error") == 0) {
        socklen_t length = sizeof value;
        wait_until_writable();
        if (getsockopt(current, SOL_SOCKET, SO_ERROR, &value, &length) < 0)
            fail(word);
        PRINT("so_error: %d\n", value);
    } else if (strcmp(word, "write") == 0) {
        if (write(current, word, 1) != 1)
            fail(word);
    } else if (strcmp(word, "show") == 0) {
        show(*name, current);
    } else if (strcmp(word, "flags") == 0) {
        PRINT("%s: %s %s\n", *name, fcntl(current, F_GETFD) & FD_CLOEXEC ? "cloexec" : "-",
              fcntl(current, F_GETFL) & O_NONBLOCK ? "nonblock" : "-");
    } else if (strcmp(word, "peer") == 0) {
        if (peer < 0)
            peer = raw_accept(own_listener);
        ioctl(peer, FIONREAD, &value);
        PRINT("peer: %d\n", value);
    } else if (is(word, "dup", &value)) {
        dup2(current, value);
        current = listener = value;
    } else if (is(word, "close", &value)) {
        close(value);
    } else if (strcmp(word, "fds") == 0) {
        print_descriptors();
    } else if (strcmp(word, "signals") == 0) {
        print_signals();
    } else if (strcmp(word, "clearenv") == 0) {
        clearenv();
    } else if (is(word, "limit", &value)) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){value, value});
    } else if (is(word, "files", &value)) {
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){value, value});
    } else if (strcmp(word, "hold") == 0) {
        char byte;
        PRINT("holding\n");
        while (read(0, &byte, 1) > 0)
            ;
    } else {
        PRINT("unknown word: %s\n", word);
        exit(2);
    }
}

int main(int count, char **words) {
    const char *name = "";
    for (int i = 1; i < count; i++)
        do_word(words[i], &name);
    return 0;
}
