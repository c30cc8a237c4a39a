// A slice repeats batches of work for a few milliseconds, in two or three ways in turn. For each slice the harness
// writes one byte to standard input and reads one line: for each way the nanoseconds of one iteration, as the median
// over the batches. An interrupt or another process affects single batches, not the median.
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

// Ends the process if a call that must not fail has failed: a failing call could look fast.
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

// Does `iterations` iterations in one way. Returns the nanoseconds of the measured part.
typedef uint64_t batch_fn(int way, int iterations);

static void slice(batch_fn *batch, int ways, int iterations, int milliseconds) {
    static double samples[MAX_WAYS][MAX_BATCHES];
    uint64_t end = now_ns() + (uint64_t)milliseconds * 1000000;
    int count = 0;
    do {
        // Each way comes first equally often.
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
