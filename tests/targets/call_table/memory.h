// Memory that is readable only in part, or not at all.
#pragma once

#include <string.h>
#include <sys/mman.h>

#define PAGES 32768

static char *end_of_memory;

static void map_memory(void) {
    char *start = mmap(NULL, PAGES + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    end_of_memory = start + PAGES;
    munmap(end_of_memory, 4096);
}

// Returns an address at which the first `readable` of these bytes are; the following bytes are unreadable.
static void *half_readable(const void *bytes, int readable) {
    return memcpy(end_of_memory - readable, bytes, readable);
}

static const struct {
    const char *name;
    long pointer;
} bad_pointers[] = {{"NULL", 0}, {"8", 8}, {"-1", -1}, {"the last page", -4096}, {"the kernel's", -(1L << (8 * sizeof(long) - 2))}};
