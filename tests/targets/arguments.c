// Calls connect(2) with addresses that the kernel accepts and many that it refuses: each family, length and kind of
// memory on each kind of socket, twice. Prints the result of each call and errno. No call blocks.
#define _GNU_SOURCE
#include "loopback_barrier.h"
#include "ways.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/un.h>

static const struct kind {
    const char *name;
    int domain, type, protocol;
} kinds[] = {
    {"tcp", AF_INET, SOCK_STREAM, 0},
    {"tcp6", AF_INET6, SOCK_STREAM, 0},
    {"mptcp", AF_INET, SOCK_STREAM, 262},
    {"mptcp6", AF_INET6, SOCK_STREAM, 262},
    {"udp", AF_INET, SOCK_DGRAM, 0},
    {"udp6", AF_INET6, SOCK_DGRAM, 0},
    {"raw", AF_INET, SOCK_RAW, IPPROTO_TCP},
    {"sctp", AF_INET, SOCK_STREAM, IPPROTO_SCTP},
    {"unix", AF_UNIX, SOCK_STREAM, 0},
    {"unix-datagram", AF_UNIX, SOCK_DGRAM, 0},
    {"netlink", AF_NETLINK, SOCK_RAW, 0},
};

static const socklen_t lengths[] = {0,  1,  2,   3,   7,   8,   15,  16,  17,   20,   23,         24,        27,
                                    28, 29, 109, 110, 111, 127, 128, 129, 4096, 8192, 0x80000000, (socklen_t)-1};

static const struct way *way;
// The address at which a readable page ends and an unreadable one begins.
static char *edge;

static struct target {
    const char *name;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
        char bytes[128];
    } address;
} targets[7];

static void prepare(void) {
    struct sockaddr_storage v4 = {0}, v6 = {0};
    int listener = raw_listener(AF_INET), listener6 = raw_listener(AF_INET6);
    raw_name(listener, &v4);
    raw_name(listener6, &v6);
    memcpy(&targets[0].address, &v4, sizeof(struct sockaddr_in));
    targets[0].name = "IPv4";
    memcpy(&targets[1].address, &v6, sizeof(struct sockaddr_in6));
    targets[1].name = "IPv6";
    memcpy(&targets[2].address, &v4, sizeof(struct sockaddr_in));
    targets[2].address.any.sa_family = AF_INET6;
    targets[2].name = "IPv4 as IPv6";
    targets[3].name = "no family";
    targets[4].name = "local";
    targets[4].address.local = (struct sockaddr_un){AF_UNIX, "/nowhere"};
    targets[5].name = "unknown family";
    targets[5].address.any.sa_family = 999;
    // With bytes after the address, which a copy would lose.
    memcpy(&targets[6].address, &v6, sizeof(struct sockaddr_in6));
    targets[6].address.v6.sin6_scope_id = 0x7ffffff;
    memset(targets[6].address.bytes + 28, 'x', 100);
    targets[6].name = "IPv6 with a scope";
}

static void attempt(const struct kind *kind, const char *target, const char *memory, const void *address, socklen_t length) {
    int fd = way->socket(kind->domain, kind->type | SOCK_NONBLOCK, kind->protocol);
    if (fd < 0) {
        PRINT("%s: errno %d\n", kind->name, errno);
        return;
    }
    errno = 4242;
    long returned = way->connect(fd, address, length);
    int error = errno;
    barrier();
    errno = 4242;
    long again = way->connect(fd, address, length);
    int error_again = errno;
    PRINT("%s%s to %s, %s, length %d: %ld errno %d, again %ld errno %d\n", way->name, kind->name, target, memory, (int)length,
          returned, error, again, error_again);
    raw_close(fd);
}

int main(void) {
    const struct way *ways[] = {
        &directly,
        &by_syscall,
#ifdef SYS_socketcall
        &by_socketcall,
#endif
    };
    edge = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge += 4096;
    mprotect(edge, 4096, PROT_NONE);
    open_barrier();
    prepare();
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        way = ways[w];
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            const struct kind *kind = &kinds[k];
            for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
                static char page[2 * 4096] __attribute__((aligned(4096)));
                const struct target *target = &targets[t];
                memset(page, 0, sizeof page);
                memcpy(page, target->address.bytes, sizeof target->address);
                for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
                    attempt(kind, target->name, "whole", page, lengths[l]);
                // Across two pages, at every relevant position.
                memcpy(page + 4096 - 10, target->address.bytes, sizeof target->address);
                attempt(kind, target->name, "split", page + 4096 - 10, kind->domain == AF_INET6 ? 28 : 16);
                // Only the beginning is readable.
                static const int there[] = {1, 2, 8, 15, 16, 17, 24, 28, 64, 110, 127};
                for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
                    memcpy(edge - there[i], target->address.bytes, there[i]);
                    static const socklen_t some[] = {16, 28, 110, 128};
                    for (size_t l = 0; l < sizeof some / sizeof *some; l++)
                        attempt(kind, target->name, there[i] < (int)some[l] ? "cut" : "at the edge", edge - there[i], some[l]);
                }
            }
            static const struct {
                const char *name;
                intptr_t address;
            } nowhere[] = {{"null", 0}, {"page 0", 8}, {"the kernel's", -4096}, {"the last", -1}, {"odd", 3}};
            for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
                for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
                    attempt(kind, nowhere[i].name, "not there", (void *)nowhere[i].address, lengths[l]);
            attempt(kind, "nowhere", "not there", edge, 16);
        }
#ifdef SYS_socketcall
        // The array of arguments itself.
        for (long call = 0; call <= 21 && way == &by_socketcall; call++) {
            long bad[] = {0, 8, -4096, -1, (long)edge, (long)edge - 4, (long)edge - 8, (long)edge - 9};
            memset(edge - 12, 0xff, 12);
            for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                errno = 4242;
                long returned = syscall(SYS_socketcall, call, bad[i]);
                PRINT("socketcall %ld, bad array %d: %ld errno %d\n", call, (int)i, returned, errno);
            }
        }
#endif
        // Descriptors that are not sockets, or not open.
        static const int fds[] = {-1, 1000, 0x7fffffff, (int)0x80000000};
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                errno = 4242;
                long returned = way->connect(fds[i], &targets[0].address.any, lengths[l]);
                PRINT("%sfd %d, length %d: %ld errno %d\n", way->name, fds[i], (int)lengths[l], returned, errno);
            }
    }
    return 0;
}
