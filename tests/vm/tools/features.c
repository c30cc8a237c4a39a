// features: whether the running kernel has a feature, determined without keepalive.
//
// usage: features NAME          exit status: 0 yes, 1 no, 2 unknown name
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

int main(int argc, char **argv) {
    const char *name = argc == 2 ? argv[1] : "";
    if (!strcmp(name, "netns-cookie")) { // Linux 5.14
        unsigned long long cookie;
        socklen_t size = sizeof cookie;
        return getsockopt(socket(AF_INET, SOCK_STREAM, 0), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0;
    }
    if (!strcmp(name, "seccomp-wait-killable")) { // Linux 5.19; a known flag fails because of the missing filter
        unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        return !(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) && errno == EFAULT);
    }
    if (!strcmp(name, "memcg-accounting")) { // Linux 5.11: eBPF is not charged to RLIMIT_MEMLOCK
        struct rlimit nothing = {0, 0};
        struct { unsigned type, key, value, count; } map = {2, 4, 4, 1}; // BPF_MAP_TYPE_ARRAY
        setrlimit(RLIMIT_MEMLOCK, &nothing);
        return syscall(SYS_bpf, 0, &map, sizeof map) < 0;
    }
    return 2;
}
