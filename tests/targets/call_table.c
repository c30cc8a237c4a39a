// Makes each call that an engine hooks or catches in every way in which it can fail or succeed. Prints a line for each:
// the result, errno, and the options that the program has set. The arguments are the way to make the calls
// (make_call.h) and the part of the table. Without keepalive two runs print the same.
#define _GNU_SOURCE
#include "call_table/addresses.h"
#include "call_table/fds.h"
#include "call_table/options.h"
#include "call_table/queries.h"
#include "call_table/states.h"

#include <signal.h>

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {{"fds", all_bad_fds}, {"addresses", all_addresses}, {"memory", all_memory},
             {"states", all_states}, {"options", all_options},   {"queries", all_queries}};

// Prints the options of a connection on which the program has set nothing, which show the policy.
static void print_witness(void) {
    int fd = in_state(kind_of("tcp4"), CONNECTED, set_nothing);
    show("witness", fd);
    close_now(fd);
    drain_servers();
}

int main(int argc, char **argv) {
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < LENGTH(ways) && argc > 1; i++)
        if (strcmp(ways[i].name, argv[1]) == 0)
            make = ways[i].make;
    if (make == NULL)
        return 2;
    open_barrier();
    start_servers();
    map_memory();
    print_witness();
    for (size_t i = 0; i < LENGTH(parts); i++)
        for (int j = 2; j < argc; j++)
            if (strcmp(parts[i].name, argv[j]) == 0) {
                parts[i].run();
                fflush(stdout);
            }
    return 0;
}
