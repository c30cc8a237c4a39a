// Executes a command whose system calls this program could supervise: it has a filter with a listener, which catches
// nothing.
// usage: foreign COMMAND [ARG...]
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count < 2)
        return 2;
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &allow};
    if (geteuid() != 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    // A process must hold the listener, otherwise it is closed.
    if (listener < 0 || fcntl(listener, F_SETFD, 0) != 0)
        return 3;
    execv(words[1], words + 1);
    return 127;
}
