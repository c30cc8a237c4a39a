// peek: prints the options of TCP connections of other processes, read through pidfd_getfd(2) (Linux 5.6).
//
// usage: peek [-p] PORT [PID]
// Prints "client KEEPALIVE IDLE INTERVAL COUNT USER-TIMEOUT" for each connection to PORT and "server ..." for each that was
// accepted at PORT, with ", " between them, clients first; -p prints the pids of the clients instead. PID: only those of this
// process. Exit status: 1 if there is none.
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

static int found, prints_pids;

static int port_of(int socket, int (*which)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (which(socket, (struct sockaddr *)&address, &size))
        return -1;
    if (address.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&address)->sin_port);
    return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port) : -1;
}

static int is_established(int socket) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    return !getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) && info.tcpi_state == TCP_ESTABLISHED;
}

static int peer(int socket, struct sockaddr *address, socklen_t *size) { return getpeername(socket, address, size); }
static int own(int socket, struct sockaddr *address, socklen_t *size) { return getsockname(socket, address, size); }

// Prints the clients or servers of one process.
static void look_at(int pid, int port, int is_client) {
    char path[64];
    int process = syscall(SYS_pidfd_open, pid, 0);
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char target[16] = "";
        if (readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1) < 0 || strncmp(target, "socket:", 7))
            continue;
        int socket = syscall(SYS_pidfd_getfd, process, atoi(entry->d_name), 0);
        if (socket < 0)
            continue;
        if (is_established(socket) && port_of(socket, is_client ? peer : own) == port) {
            if (prints_pids) {
                printf("%s%d", found++ ? " " : "", pid);
            } else {
                printf("%s%s ", found++ ? ", " : "", is_client ? "client" : "server");
                print_values(socket);
            }
        }
        close(socket);
    }
    if (directory)
        closedir(directory);
    if (process >= 0)
        close(process);
}

static void look_at_all(int port, int is_client, int only) {
    if (only)
        return look_at(only, port, is_client);
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));)
        if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != getpid())
            look_at(atoi(entry->d_name), port, is_client);
    if (processes)
        closedir(processes);
}

int main(int argc, char **argv) {
    prints_pids = argc > 1 && !strcmp(argv[1], "-p");
    argc -= prints_pids;
    argv += prints_pids;
    if (argc != 2 && argc != 3)
        return 2;
    int port = atoi(argv[1]), only = argc == 3 ? atoi(argv[2]) : 0;
    look_at_all(port, 1, only);
    if (!prints_pids)
        look_at_all(port, 0, only);
    if (found)
        puts("");
    return !found;
}
