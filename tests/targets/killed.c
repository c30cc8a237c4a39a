// Runs a command, and kills, signals or stops it just before one of its system calls.
// usage: killed kill|hold|SIGNAL every|lasting|NAME NUMBER COMMAND [ARGUMENT...]
//
// NUMBER counts from 1: all system calls but read(2), which has no lasting effect, or only those that may have an
// effect after the process, or those with this name in the lists below. Prints the call. After "kill" the exit status
// is 0; a command that is held continues when standard input is closed; a command that ends by itself keeps its status.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Calls with an effect after the process, or on other processes.
static const struct name {
    long number;
    const char *text;
} lasting[] = {
    {SYS_mkdirat, "mkdir"},
    {SYS_unlinkat, "unlink"},
    {SYS_mount, "mount"},
    {SYS_flock, "flock"},
    {SYS_clone, "clone"},
    {SYS_write, "write"},
    {SYS_exit_group, "exit_group"},
#ifdef SYS_mkdir
    {SYS_mkdir, "mkdir"},
    {SYS_unlink, "unlink"},
    {SYS_rmdir, "rmdir"},
#endif
};

// The same for bpf(2), by its first argument, and the call that takes longest.
static const struct name lasting_bpf[] = {
    {5, "BPF_PROG_LOAD"},
    {2, "BPF_MAP_UPDATE_ELEM"}, {6, "BPF_OBJ_PIN"},     {8, "BPF_PROG_ATTACH"},
    {28, "BPF_LINK_CREATE"},    {29, "BPF_LINK_UPDATE"}, {34, "BPF_LINK_DETACH"},
};

static const char *find(const struct name *names, int count, long number) {
    for (int i = 0; i < count; i++)
        if (names[i].number == number)
            return names[i].text;
    return NULL;
}

static const char *name_of(long number, long argument) {
    if (number == SYS_bpf)
        return find(lasting_bpf, sizeof lasting_bpf / sizeof *lasting_bpf, argument);
    return find(lasting, sizeof lasting / sizeof *lasting, number);
}

static void fail(const char *what) {
    perror(what);
    exit(125);
}

// Declared here, because the C library's header conflicts with the kernel's.
static long trace(long request, pid_t pid, long address, void *data) {
    return syscall(SYS_ptrace, request, (long)pid, address, data);
}

// Lets `pid` continue to its next stop.
static void resume(pid_t pid, int signal) {
    // Another process may have killed it.
    if (trace(PTRACE_SYSCALL, pid, 0, (void *)(long)signal) != 0 && errno != ESRCH)
        fail("ptrace");
}

static int is_at_call(pid_t pid, struct ptrace_syscall_info *info) {
    return trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof *info, info) > 0 && info->op == PTRACE_SYSCALL_INFO_ENTRY;
}

int main(int count, char **words) {
    if (count < 5)
        return 125;
    const char *action = words[1], *which = words[2];
    int every = strcmp(which, "every") == 0, is_any = strcmp(which, "lasting") == 0;
    long wanted = atol(words[3]), calls = 0;
    pid_t child = fork();
    if (child == 0) {
        if (trace(PTRACE_TRACEME, 0, 0, NULL) != 0)
            fail("ptrace");
        raise(SIGSTOP);
        execvp(words[4], words + 4);
        fail("exec");
    }
    int status;
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC;
    if (trace(PTRACE_SETOPTIONS, child, 0, (void *)(options | PTRACE_O_EXITKILL)) != 0)
        fail("ptrace");
    resume(child, 0);
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0)
            fail("waitpid");
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == child)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
            continue;
        }
        int signal = WSTOPSIG(status);
        if (signal != (SIGTRAP | 0x80)) {
            // The SIGTRAPs about its threads, and the SIGSTOP with which they begin, are not passed on.
            resume(pid, signal == SIGTRAP || signal == SIGSTOP ? 0 : signal);
            continue;
        }
        struct ptrace_syscall_info info;
        if (is_at_call(pid, &info)) {
            long number = (long)info.entry.nr;
            const char *name = name_of(number, (long)info.entry.args[0]);
            int is_counted = every ? number != SYS_read : name != NULL && (is_any || strcmp(name, which) == 0);
            calls += is_counted;
            if (is_counted && calls == wanted) {
                if (name == NULL)
                    name = "another";
                if (strcmp(action, "kill") == 0) {
                    // The killed process does not execute the call.
                    kill(child, SIGKILL);
                    while (waitpid(child, &status, __WALL) != child || !WIFSIGNALED(status))
                        ;
                    printf("killed before %s (%ld)\n", name, number);
                    return 0;
                }
                if (strcmp(action, "hold") == 0) {
                    printf("held before %s: %d\n", name, child);
                    fflush(stdout);
                    while (getchar() != EOF)
                        ;
                } else {
                    kill(child, atoi(action));
                    printf("signal before %s (%ld)\n", name, number);
                    fflush(stdout);
                }
            }
        }
        resume(pid, 0);
    }
}
