// Creates one socket of each kind in its arguments. Prints the result of socket(2), errno, and the socket's options.
// usage: socket_kinds NAME=VALUE... -- CHANGE... -- DOMAIN:TYPE:PROTOCOL...
//
// It first executes itself with exactly that environment, in that order (a name may occur twice, or have no value), and
// changes the environment before the first socket: NAME=VALUE sets a variable, NAME removes it.
#define _GNU_SOURCE
#include "raw.h"

#include <errno.h>
#include <stdlib.h>

// No system call sets this errno, so it shows whether the library changes errno.
#define NO_ERRNO 4242

static char **after_dashes(char **words) {
    while (strcmp(*words, "--") != 0)
        words++;
    *words = NULL;
    return words + 1;
}

static void make(const char *kind) {
    int domain, type, protocol;
    sscanf(kind, "%d:%d:%d", &domain, &type, &protocol);
    errno = NO_ERRNO;
    int fd = socket(domain, type, protocol);
    int error = errno;
    PRINT("%d %d %d %d %d %d\n", fd, error, raw_option(fd, SOL_SOCKET, SO_KEEPALIVE),
          raw_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), raw_option(fd, IPPROTO_TCP, TCP_KEEPINTVL),
          raw_option(fd, IPPROTO_TCP, TCP_KEEPCNT));
    if (fd >= 0)
        raw_close(fd);
}

int main(int count, char **words) {
    if (strcmp(words[0], "again") != 0) {
        char **rest = after_dashes(words + 1);
        char *again[count];
        again[0] = "again";
        memcpy(again + 1, rest, (words + count + 1 - rest) * sizeof *rest);
        execve("/proc/self/exe", again, words + 1);
        return 127;
    }
    char **kinds = after_dashes(words + 1);
    for (char **change = words + 1; *change; change++)
        putenv(*change);
    for (; *kinds; kinds++)
        make(*kinds);
    return 0;
}
