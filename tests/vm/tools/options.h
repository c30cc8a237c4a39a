// The five options, by name, and how their values are printed.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const struct {
    const char *name;
    int level, number;
} OPTIONS[] = {
    {"keepalive", SOL_SOCKET, SO_KEEPALIVE},
    {"idle", IPPROTO_TCP, TCP_KEEPIDLE},
    {"interval", IPPROTO_TCP, TCP_KEEPINTVL},
    {"count", IPPROTO_TCP, TCP_KEEPCNT},
    {"user-timeout", IPPROTO_TCP, TCP_USER_TIMEOUT},
};
enum { OPTION_COUNT = sizeof OPTIONS / sizeof *OPTIONS };

// Prints the values in the order of the table, "-" for one that getsockopt(2) refuses.
static void print_values(int socket) {
    for (int i = 0; i < OPTION_COUNT; i++) {
        int value;
        socklen_t size = sizeof value;
        if (getsockopt(socket, OPTIONS[i].level, OPTIONS[i].number, &value, &size))
            printf("%s-", i ? " " : "");
        else
            printf("%s%d", i ? " " : "", value);
    }
}
