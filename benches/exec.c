// Starts a program and waits for it. This process never has a library preloaded: it passes the environment to the
// program. It measures the processor time of both processes, with the kernel's work for them, because other programs
// run at the same time.
// usage: exec MILLISECONDS PROGRAM [NAME=VALUE…]
#define _DEFAULT_SOURCE
#include "slice.h"

#include <errno.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

static char **program;
static char **environment;

static uint64_t nanoseconds(struct timeval t) { return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_usec * 1000; }

static uint64_t own_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t spawn_and_wait(int way, int iterations) {
    uint64_t of_programs = 0, start = own_cpu_ns();
    (void)way;
    for (int i = 0; i < iterations; i++) {
        char *arguments[] = {*program, NULL};
        struct rusage usage;
        pid_t pid;
        int status;
        if ((errno = posix_spawn(&pid, *program, NULL, NULL, arguments, environment)) != 0)
            must(-1, "posix_spawn");
        must(wait4(pid, &status, 0, &usage), "wait4");
        if (status != 0) {
            fprintf(stderr, "%s: wait status %#x\n", *program, status);
            exit(1);
        }
        of_programs += nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
    }
    return own_cpu_ns() - start + of_programs;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    program = &argv[2];
    environment = &argv[3];
    return serve_slices(spawn_and_wait, 1, 1, atoi(argv[1]));
}
