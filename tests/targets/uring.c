// Executes its arguments, in order, on sockets through io_uring, without visible system calls:
//
//   async                  from now on, a kernel thread does the work
//   connect                creates a socket and connects it to a listener on loopback
//   accept                 creates a socket, listens on loopback and accepts a client
//   keepalive=N idle=N     sets an option (SOCKET_URING_OP_SETSOCKOPT, Linux 6.7), and prints the result
//   long-idle=N            the same with a value of 8 KiB, whose first four bytes are the number
//   show                   prints the settings of the socket
//   hold                   prints "holding" and waits for the end of standard input
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

// Older headers do not define all of them (include/uapi/linux/io_uring.h).
enum { OP_ACCEPT = 13, OP_CONNECT = 16, OP_SOCKET = 45, OP_URING_CMD = 46, OP_BIND = 56, OP_LISTEN = 57 };
enum { SETSOCKOPT = 3 };

static int ring;
static unsigned char flags;
static struct io_uring_params params;
static char *queues;
static struct io_uring_sqe *entry;

static void fail(const char *what, int error) {
    PRINT("%s: %s\n", what, strerror(error));
    exit(1);
}

static void set_up(void) {
    ring = syscall(SYS_io_uring_setup, 1, &params);
    if (ring < 0)
        fail("io_uring_setup", errno);
    size_t submission = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    size_t completion = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    size_t size = submission > completion ? submission : completion;
    queues = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    entry = mmap(NULL, params.sq_entries * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                 IORING_OFF_SQES);
    if (queues == MAP_FAILED || entry == MAP_FAILED)
        fail("mmap", errno);
}

static volatile uint32_t *at(uint32_t offset) {
    return (volatile uint32_t *)(queues + offset);
}

// Submits the entry. Returns the kernel's result.
static int submit(void) {
    uint32_t tail = *at(params.sq_off.tail), head = *at(params.cq_off.head);
    entry->flags = flags;
    at(params.sq_off.array)[tail & *at(params.sq_off.ring_mask)] = 0;
    __atomic_store_n(at(params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
    while (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        if (errno != EINTR)
            fail("io_uring_enter", errno);
    struct io_uring_cqe *all = (struct io_uring_cqe *)(queues + params.cq_off.cqes);
    int result = all[head & *at(params.cq_off.ring_mask)].res;
    __atomic_store_n(at(params.cq_off.head), head + 1, __ATOMIC_RELEASE);
    return result;
}

// The meaning of `off` and `len` depends on the operation.
static int operate(int operation, int fd, const void *address, uint64_t off, uint32_t len) {
    memset(entry, 0, sizeof *entry);
    entry->opcode = operation;
    entry->fd = fd;
    entry->addr = (uintptr_t)address;
    entry->off = off;
    entry->len = len;
    int result = submit();
    if (result < 0)
        fail(operation == OP_CONNECT ? "connect" : "io_uring", -result);
    return result;
}

static int make_socket(void) {
    return operate(OP_SOCKET, AF_INET, NULL, SOCK_STREAM, 0);
}

static int connect_one(void) {
    struct sockaddr_storage address;
    socklen_t length = raw_name(raw_listener(AF_INET), &address);
    int fd = make_socket();
    operate(OP_CONNECT, fd, &address, length, 0);
    return fd;
}

static int accept_one(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = make_socket();
    operate(OP_BIND, listener, &address, sizeof address, 0);
    operate(OP_LISTEN, listener, NULL, 0, 8);
    raw_client(listener);
    return operate(OP_ACCEPT, listener, NULL, 0, 0);
}

// The fields of struct io_uring_sqe for this command: level and optname in `addr`, optlen in `splice_fd_in`, and optval
// after that.
static int set(int fd, int level, int name, const void *value, uint32_t length) {
    memset(entry, 0, sizeof *entry);
    entry->opcode = OP_URING_CMD;
    entry->fd = fd;
    entry->off = SETSOCKOPT;
    memcpy((char *)entry + 16, (uint32_t[]){level, name}, 8);
    memcpy((char *)entry + 44, &length, 4);
    memcpy((char *)entry + 48, &(uint64_t){(uintptr_t)value}, 8);
    return submit();
}

int main(int count, char **words) {
    static int value[2048];
    int fd = -1;
    set_up();
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "async") == 0)
            flags = IOSQE_ASYNC;
        else if (strcmp(words[i], "connect") == 0)
            fd = connect_one();
        else if (strcmp(words[i], "accept") == 0)
            fd = accept_one();
        else if (sscanf(words[i], "keepalive=%d", value) == 1)
            PRINT("%s: %d\n", words[i], set(fd, SOL_SOCKET, SO_KEEPALIVE, value, sizeof *value));
        else if (sscanf(words[i], "idle=%d", value) == 1)
            PRINT("%s: %d\n", words[i], set(fd, IPPROTO_TCP, TCP_KEEPIDLE, value, sizeof *value));
        else if (sscanf(words[i], "long-idle=%d", value) == 1)
            PRINT("%s: %d\n", words[i], set(fd, IPPROTO_TCP, TCP_KEEPIDLE, value, sizeof value));
        else if (strcmp(words[i], "show") == 0)
            show("socket", fd);
        else if (strcmp(words[i], "hold") == 0) {
            PRINT("holding\n");
            while (read(0, value, sizeof value) > 0)
                ;
        } else
            return 2;
    }
    return 0;
}
