// Threads connect to a listener of the process, repeatedly, and read the options of the socket.
// usage: connect_load THREADS COUNT
//
// Each thread makes this many connections, or with 0 as many as possible until standard input ends. The program prints
// the numbers of connections, of failed ones, of those that took longer than five seconds, and of those without
// keepalive.
#define _GNU_SOURCE
#include "raw.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static atomic_long made, failed, slow, unset;
static atomic_int over;
static struct sockaddr_storage address;
static socklen_t length;
static long wanted;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void connect_once(void) {
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    double start = now();
    made++;
    if (connect(fd, (struct sockaddr *)&address, length) != 0)
        failed++;
    else if (raw_option(fd, SOL_SOCKET, SO_KEEPALIVE) != 1)
        unset++;
    if (now() - start > 5)
        slow++;
    // Reset, so that no port stays in TIME_WAIT.
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
}

static void *connect_often(void *nothing) {
    for (long i = 0; wanted == 0 ? !over : i < wanted; i++)
        connect_once();
    return nothing;
}

static void *accept_all(void *listener) {
    for (;;)
        close(accept((int)(long)listener, NULL, NULL));
    return NULL;
}

int main(int count, char **words) {
    if (count != 3)
        return 2;
    int threads = atoi(words[1]);
    wanted = atol(words[2]);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    raw_bind(listener);
    if (listen(listener, 4096) != 0)
        return 1;
    length = raw_name(listener, &address);
    pthread_t acceptor, ids[threads];
    pthread_create(&acceptor, NULL, accept_all, (void *)(long)listener);
    for (int i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, connect_often, NULL);
    if (wanted == 0) {
        char byte;
        PRINT("ready\n");
        while (read(0, &byte, 1) > 0)
            ;
        over = 1;
    }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    PRINT("%ld made, %ld failed, %ld slow, %ld unset\n", (long)made, (long)failed, (long)slow, (long)unset);
    return 0;
}
