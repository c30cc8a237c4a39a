// While one thread opens and closes a file without pause, another connects and listens with existing sockets. The file
// must have the same number each time, and a child that is forked meanwhile no additional descriptor. Prints how often
// the number differed, opening failed, and a child had more descriptors.
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { SOCKETS = 400 };

static int sockets[SOCKETS], listeners[SOCKETS];
static int done, others, failures, children;
static struct sockaddr_storage address;
static socklen_t length;

static void *use(void *unused) {
    for (int i = 0; i < SOCKETS; i++) {
        connect(sockets[i], (struct sockaddr *)&address, length);
        listen(listeners[i], 1);
    }
    __atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
    return unused;
}

static int is_free(int fd) {
    return fcntl(fd, F_GETFD) < 0;
}

int main(void) {
    pthread_t thread;
    struct sockaddr_in nowhere = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memcpy(&address, &nowhere, length = sizeof nowhere);
    for (int i = 0; i < SOCKETS; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        listeners[i] = socket(AF_INET, SOCK_STREAM, 0);
    }
    int lowest = open("/dev/null", O_RDONLY);
    close(lowest);
    // Exactly one descriptor is free.
    struct rlimit limit = {lowest + 1, lowest + 1};
    setrlimit(RLIMIT_NOFILE, &limit);
    pthread_create(&thread, NULL, use, NULL);
    for (int turn = 0; !__atomic_load_n(&done, __ATOMIC_SEQ_CST); turn++) {
        int fd = open("/dev/null", O_RDONLY);
        if (fd < 0)
            failures++;
        else if (fd != lowest)
            others++;
        if (fd >= 0)
            close(fd);
        if (turn % 50 == 0) {
            int status, child = fork();
            if (child == 0)
                _exit(!is_free(lowest));
            waitpid(child, &status, 0);
            children += status != 0;
        }
    }
    pthread_join(thread, NULL);
    PRINT("another number: %d, none: %d, kept by a child: %d\n", others, failures, children);
    return 0;
}
