// peek: prints what the kernel has on the connections of other processes, read through pidfd_getfd(2) (Linux 5.6).
//
// usage: peek PORT [PID]
// Prints "PID KEEPALIVE IDLE INTERVAL COUNT USER-TIMEOUT" for every established connection to PORT that a process holds,
// or that PID holds. Exit status: 0 one was found; 1 none.
#define _GNU_SOURCE
#include "options.h"
#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static int peer_port(int socket) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (getpeername(socket, (struct sockaddr *)&peer, &size))
        return -1;
    if (peer.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&peer)->sin_port);
    return peer.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&peer)->sin6_port) : -1;
}

// Prints the connections of one process; returns how many there are.
static int look_at(int pid, int port) {
    char path[64];
    int found = 0, process = syscall(SYS_pidfd_open, pid, 0);
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char target[16] = "";
        if (readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1) < 0 || strncmp(target, "socket:", 7))
            continue;
        int socket = syscall(SYS_pidfd_getfd, process, atoi(entry->d_name), 0);
        if (socket < 0)
            continue;
        if (peer_port(socket) == port) {
            printf("%d ", pid);
            print_values(socket);
            puts("");
            found++;
        }
        close(socket);
    }
    if (directory)
        closedir(directory);
    if (process >= 0)
        close(process);
    return found;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    int port = atoi(argv[1]), found = 0;
    if (argc > 2)
        return !look_at(atoi(argv[2]), port);
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));)
        if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != getpid())
            found += look_at(atoi(entry->d_name), port);
    return !found;
}
