// access: which ways to inspect another process of the same user the kernel permits, checked without keepalive.
//
// usage: access child|sibling|allowing
//
// The other process is a child of the inspecting one, a sibling, or a sibling that permits it by PR_SET_PTRACER.
// Prints "pidfd_getfd WORD, process_vm_readv WORD, mem WORD, maps WORD, fd WORD", where WORD is "yes" or the error.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char memory[8] = "memory";

static const char *word(long result) { return result < 0 ? strerrorname_np(errno) : "yes"; }

static long opens(pid_t pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return open(path, O_RDONLY);
}

static long links(pid_t pid) {
    char path[64], target[64];
    snprintf(path, sizeof path, "/proc/%d/fd/0", pid);
    return readlink(path, target, sizeof target);
}

static void look(pid_t pid) {
    char copy[8];
    struct iovec to = {copy, sizeof copy}, from = {memory, sizeof memory};
    int handle = syscall(SYS_pidfd_open, pid, 0);
    printf("pidfd_getfd %s, ", word(syscall(SYS_pidfd_getfd, handle, 0, 0)));
    printf("process_vm_readv %s, ", word(process_vm_readv(pid, &to, 1, &from, 1, 0)));
    printf("mem %s, ", word(opens(pid, "mem")));
    printf("maps %s, ", word(opens(pid, "maps")));
    printf("fd %s\n", word(links(pid)));
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *how = argc == 2 ? argv[1] : "";
    int ready[2], end[2];
    char byte;
    if (pipe(ready) || pipe(end))
        return 1;
    pid_t other = fork();
    if (other == 0) {
        close(end[1]);
        if (!strcmp(how, "allowing"))
            prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
        if (write(ready[1], "", 1) == 1)
            (void)!read(end[0], &byte, 1);
        _exit(0);
    }
    if (other < 0 || read(ready[0], &byte, 1) != 1)
        return 1;
    if (!strcmp(how, "child")) {
        look(other);
    } else {
        pid_t sibling = fork();
        if (sibling == 0) {
            look(other);
            _exit(0);
        }
        waitpid(sibling, NULL, 0);
    }
    close(end[1]);
    waitpid(other, NULL, 0);
    return 0;
}
