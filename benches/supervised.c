// Repeats and times the action that each byte of standard input selects.
// usage: supervised MILLISECONDS
//
//   c  creates a TCP socket and connects it to a listener of this process; prints the median and the mean, in nanoseconds
//   g  calls getppid(2), which the supervisor does not catch; prints the time of one call, twice
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TIMES = 100000, BATCH = 1000 };

static struct sockaddr_in address = {.sin_family = AF_INET};
static int listener;
static double times[MAX_TIMES];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double connect_once(void) {
    double start = now();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    double end = now();
    int accepted = accept(listener, NULL, NULL);
    // Reset, so that no port stays in TIME_WAIT.
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
    close(accepted);
    return end - start;
}

static int compare(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

static void connects(double limit) {
    double end = now() + limit, sum = 0;
    int count = 0;
    while (count < MAX_TIMES && now() < end)
        sum += times[count++] = connect_once();
    qsort(times, count, sizeof *times, compare);
    printf("%.1f %.1f\n", times[count / 2], sum / count);
}

static void calls(double limit) {
    double start = now();
    long count = 0;
    for (; now() < start + limit; count += BATCH)
        for (int i = 0; i < BATCH; i++)
            syscall(SYS_getppid);
    double each = (now() - start) / count;
    printf("%.1f %.1f\n", each, each);
}

int main(int count, char **words) {
    double limit = count == 2 ? atof(words[1]) * 1e6 : 1e6;
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        fail("listen");
    for (char order; read(0, &order, 1) == 1;) {
        if (order == 'c')
            connects(limit);
        else
            calls(limit);
        fflush(stdout);
    }
    return 0;
}
