// bounded: runs a command with no more than the named capabilities, as root.
//
// usage: bounded NAME[,NAME...] COMMAND [ARGUMENT...]
// Names as in capabilities(7), in lower case and without "cap_"; "none" is none.
#define _GNU_SOURCE
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *name;
    int number;
} NAMES[] = {{"dac_override", 1}, {"dac_read_search", 2}, {"kill", 5},     {"net_admin", 12}, {"sys_ptrace", 19},
             {"sys_admin", 21},   {"sys_resource", 24},   {"perfmon", 38}, {"bpf", 39},       {"none", -1}};

int main(int argc, char **argv) {
    unsigned long long kept = 0;
    for (char *word = argc > 2 ? strtok(argv[1], ",") : NULL; word; word = strtok(NULL, ",")) {
        size_t i = 0;
        while (i < sizeof NAMES / sizeof *NAMES && strcmp(NAMES[i].name, word))
            i++;
        if (i == sizeof NAMES / sizeof *NAMES)
            return fprintf(stderr, "bounded: unknown capability: %s\n", word), 2;
        if (NAMES[i].number >= 0)
            kept |= 1ULL << NAMES[i].number;
    }
    for (int number = 0; number < 64; number++)
        if (!(kept >> number & 1))
            prctl(PR_CAPBSET_DROP, number); // EINVAL for numbers above the last
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int half = 0; half < 2; half++)
        data[half] = (struct __user_cap_data_struct){.effective = kept >> 32 * half, .permitted = kept >> 32 * half};
    if (argc < 3 || syscall(SYS_capset, &header, data))
        return perror("bounded: capset"), 1;
    execvp(argv[2], argv + 2);
    return perror(argv[2]), 127;
}
