// Unmaps memory of several sizes, creates a socket, and prints how much of that memory is mapped again.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

int main(void) {
    static const size_t sizes[] = {4096, 65536, 1 << 21, 1 << 23};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    char *places[COUNT];
    for (int i = 0; i < COUNT; i++)
        places[i] = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < COUNT; i++)
        munmap(places[i], sizes[i]);
    int fd = socket(AF_INET, SOCK_STREAM, 0), idle = 0;
    socklen_t length = sizeof idle;
    getsockopt(fd, 6, 4, &idle, &length);
    int mapped = 0;
    for (int i = 0; i < COUNT; i++)
        for (size_t page = 0; page < sizes[i]; page += 4096)
            mapped += msync(places[i] + page, 4096, MS_ASYNC) == 0 || errno != ENOMEM;
    printf("idle %d, mapped again: %d pages\n", idle, mapped);
    return 0;
}
