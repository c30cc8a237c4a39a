// Uses its own connection constantly: one thread sends numbers, one checks them, and two wait in read(2) and poll(2)
// for data that never comes. At the end of standard input it prints the number of received numbers, of wrong ones, and
// of interrupted calls.
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_long sent, wrong, interrupted;
static atomic_int over;

static void note(void) {
    if (errno == EINTR)
        interrupted++;
    else
        wrong++;
}

static void *send_numbers(void *fd) {
    for (long number = 0; !over; number++)
        if (write((int)(long)fd, &number, sizeof number) != sizeof number)
            note();
        else
            sent++;
    shutdown((int)(long)fd, SHUT_WR);
    return NULL;
}

static void *check_numbers(void *fd) {
    long number, expected = 0;
    ssize_t length;
    while ((length = recv((int)(long)fd, &number, sizeof number, MSG_WAITALL)) != 0)
        if (length < 0)
            note();
        else if (number != expected++)
            wrong++;
    return (void *)expected;
}

static void *wait_in_read(void *fd) {
    char byte;
    for (;;)
        if (read((int)(long)fd, &byte, 1) < 0)
            note();
    return NULL;
}

static void *wait_in_poll(void *fd) {
    for (;;)
        if (poll(&(struct pollfd){(int)(long)fd, POLLIN, 0}, 1, -1) < 0)
            note();
    return NULL;
}

static pthread_t start(void *(*routine)(void *), long fd) {
    pthread_t thread;
    pthread_create(&thread, NULL, routine, (void *)fd);
    return thread;
}

int main(void) {
    int listener = raw_listener(AF_INET);
    long ends[3][2];
    for (int i = 0; i < 3; i++) {
        ends[i][0] = raw_client(listener);
        ends[i][1] = raw_accept(listener);
    }
    pthread_t sender = start(send_numbers, ends[0][0]), checker = start(check_numbers, ends[0][1]);
    start(wait_in_read, ends[1][0]);
    start(wait_in_poll, ends[2][0]);
    PRINT("ready\n");
    char byte;
    ssize_t length;
    while ((length = read(0, &byte, 1)) != 0)
        if (length < 0)
            note();
    over = 1;
    void *received;
    pthread_join(sender, NULL);
    pthread_join(checker, &received);
    if ((long)received != sent)
        wrong++;
    PRINT("%ld numbers, %ld wrong, %ld interrupted\n", (long)received, (long)wrong, (long)interrupted);
    return 0;
}
