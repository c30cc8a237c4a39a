// Two ways to make the calls that the library hooks: by the C library's function of that name, and by its syscall(2).

#include "raw.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#ifdef SYS_socketcall
#include <linux/net.h>
#endif

// One way to make the calls that the library hooks.
struct way {
    const char *name;
    int (*socket)(int, int, int);
    int (*connect)(int, const struct sockaddr *, socklen_t);
    int (*accept)(int, struct sockaddr *, socklen_t *);
    int (*accept4)(int, struct sockaddr *, socklen_t *, int);
    int (*listen)(int, int);
    int (*getsockopt)(int, int, int, void *, socklen_t *);
    int (*setsockopt)(int, int, int, const void *, socklen_t);
    int (*filter)(struct sock_fprog *);
};

static int by_prctl(struct sock_fprog *program) {
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0);
}

static const struct way directly = {"",     socket,     connect,    (void *)accept, (void *)accept4,
                                    listen, getsockopt, setsockopt, by_prctl};

static int syscall_socket(int domain, int type, int protocol) {
    return syscall(SYS_socket, domain, type, protocol);
}
static int syscall_connect(int fd, const struct sockaddr *address, socklen_t length) {
    return syscall(SYS_connect, fd, address, length);
}
static int syscall_accept(int fd, struct sockaddr *address, socklen_t *length) {
#ifdef SYS_accept
    return syscall(SYS_accept, fd, address, length);
#else
    // i386 has no accept system call.
    return syscall(SYS_accept4, fd, address, length, 0);
#endif
}
static int syscall_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    return syscall(SYS_accept4, fd, address, length, flags);
}
static int syscall_listen(int fd, int backlog) {
    return syscall(SYS_listen, fd, backlog);
}
static int syscall_getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    return syscall(SYS_getsockopt, fd, level, name, value, length);
}
static int syscall_setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    return syscall(SYS_setsockopt, fd, level, name, value, length);
}
static int syscall_prctl(struct sock_fprog *program) {
    return syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0);
}
static const struct way by_syscall = {"syscall ",       syscall_socket, syscall_connect,    syscall_accept,
                                      syscall_accept4,  syscall_listen, syscall_getsockopt, syscall_setsockopt,
                                      syscall_prctl};

#ifdef SYS_socketcall
// The older way of some architectures for all socket calls: socketcall(2), which takes the arguments as an array.
static int socketcall_socket(int domain, int type, int protocol) {
    return syscall(SYS_socketcall, SYS_SOCKET, (long[]){domain, type, protocol});
}
static int socketcall_connect(int fd, const struct sockaddr *address, socklen_t length) {
    return syscall(SYS_socketcall, SYS_CONNECT, (long[]){fd, (long)address, length});
}
static int socketcall_accept(int fd, struct sockaddr *address, socklen_t *length) {
    return syscall(SYS_socketcall, SYS_ACCEPT, (long[]){fd, (long)address, (long)length});
}
static int socketcall_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    return syscall(SYS_socketcall, SYS_ACCEPT4, (long[]){fd, (long)address, (long)length, flags});
}
static int socketcall_listen(int fd, int backlog) {
    return syscall(SYS_socketcall, SYS_LISTEN, (long[]){fd, backlog});
}
static int socketcall_getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    return syscall(SYS_socketcall, SYS_GETSOCKOPT, (long[]){fd, level, name, (long)value, (long)length});
}
static int socketcall_setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    return syscall(SYS_socketcall, SYS_SETSOCKOPT, (long[]){fd, level, name, (long)value, length});
}
static const struct way by_socketcall = {"socketcall ",      socketcall_socket, socketcall_connect,    socketcall_accept,
                                         socketcall_accept4, socketcall_listen, socketcall_getsockopt, socketcall_setsockopt,
                                         syscall_prctl};
#endif
