// The results of a sequence, as text in memory that its child processes share, and the random numbers that choose the
// calls.
#pragma once

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#define TRACE_SIZE (1 << 18)

static struct trace {
    int length;
    // The parent of the continuing process has closed its descriptors.
    int is_alone;
    uint64_t random;
    char text[TRACE_SIZE];
} *trace;

static void map_trace(void) {
    trace = mmap(NULL, sizeof *trace, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int room = TRACE_SIZE - trace->length;
    int length = vsnprintf(trace->text + trace->length, room, format, arguments);
    trace->length += length < room ? length : room - 1;
    va_end(arguments);
}

// FNV-1a.
static uint64_t hash_of_trace(void) {
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0; i < trace->length; i++)
        hash = (hash ^ (unsigned char)trace->text[i]) * 0x100000001b3;
    return hash;
}

// splitmix64.
static uint64_t next_random(void) {
    uint64_t z = trace->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// A number below `limit`.
static int below(int limit) {
    return next_random() % limit;
}
