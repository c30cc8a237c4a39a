// A slice: batches of work over and over for a few milliseconds, two or three ways in turn. The harness writes one byte to
// standard input for each slice that it wants and reads one line: for each way the nanoseconds of one iteration, the median
// over the slice's batches, so that an interrupt or another process spoils the batches it hits and not the figure.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP_BATCHES = 8, MAX_BATCHES = 4096, MAX_WAYS = 3 };

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

// Ends the process when a call that must not fail has failed: the figure of a failing call would look like a good one.
static inline int must(int result, const char *call) {
    if (result < 0) {
        perror(call);
        exit(1);
    }
    return result;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// A batch does `iterations` iterations in one way and returns the nanoseconds that the measured part of them took.
typedef uint64_t batch_fn(int way, int iterations);

static void slice(batch_fn *batch, int ways, int iterations, int milliseconds) {
    static double samples[MAX_WAYS][MAX_BATCHES];
    uint64_t end = now_ns() + (uint64_t)milliseconds * 1000000;
    int count = 0;
    do {
        // Each way comes first as often as any other.
        for (int i = 0; i < ways; i++) {
            int way = (i + count) % ways;
            samples[way][count] = (double)batch(way, iterations) / iterations;
        }
        count++;
    } while (now_ns() < end && count < MAX_BATCHES);
    for (int way = 0; way < ways; way++) {
        qsort(samples[way], (size_t)count, sizeof samples[way][0], compare_doubles);
        printf("%.3f ", samples[way][count / 2]);
    }
    puts("");
    fflush(stdout);
}

static int serve_slices(batch_fn *batch, int ways, int iterations, int milliseconds) {
    char wanted;
    for (int i = 0; i < WARM_UP_BATCHES; i++)
        batch(i % ways, iterations);
    while (read(STDIN_FILENO, &wanted, 1) == 1)
        slice(batch, ways, iterations, milliseconds);
    return 0;
}
