// killed_at N COMMAND...: runs the command, and kills it before its Nth system call. Prints the number of calls if the
// command ends before. Children are not traced.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    long left = atol(argv[1]);
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execv(argv[2], argv + 2);
        return 127;
    }
    int status;
    waitpid(child, &status, 0);
    ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC);
    // Calls are counted from the exec on; earlier ones are of this program.
    int is_running = 0, is_entry = 0;
    long calls = 0, signal = 0;
    for (;;) {
        ptrace(PTRACE_SYSCALL, child, NULL, signal);
        signal = 0;
        if (waitpid(child, &status, 0) != child)
            return 2;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            printf("%ld\n", calls);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
            // The next stop is the exit of execve.
            is_running = is_entry = 1;
        } else if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            signal = WSTOPSIG(status);
        } else if (is_running) {
            is_entry = !is_entry;
            if (is_entry && ++calls == left) {
                kill(child, SIGKILL);
                waitpid(child, &status, 0);
                return 0;
            }
        }
    }
}
